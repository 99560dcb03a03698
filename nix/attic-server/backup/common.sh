# shellcheck shell=bash
# What every script here begins with: words for people, settings, secrets, one at a time, figures.
#
#   ATTIC_STORAGE_SECRETS_FILE, ATTIC_OFFSITE_SECRETS_FILE
#                          files of KEY=value lines with the keys of the bucket of chunks and of the second bucket
#   ATTIC_OFFSITE_ACCESS_KEY_ID_FILE, ATTIC_OFFSITE_SECRET_ACCESS_KEY_FILE
#                          instead of the latter: files of one line
#   ATTIC_METRICS_FOLDER   where the node exporter's textfile collector looks; empty: no figures
#   ATTIC_BACKUP_FOLDER    where dumps are kept; only root reads it
set -euo pipefail
umask 077

: "${ATTIC_BACKUP_FOLDER:=/var/backup/attic}"
: "${ATTIC_METRICS_FOLDER=/var/lib/attic-metrics}"
: "${ATTIC_RETRIES:=4}"
: "${ATTIC_RETRY_SECONDS:=15}"

program=${ATTIC_PROGRAM:-$(basename "$0" .sh)}

say() { printf '%s: %s\n' "$program" "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# take_keys REMOTE FILE: the remote's keys from lines AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…; other lines are
# somebody else's. The file is not sourced: it is data, not a script.
take_keys() {
  local remote=$1 file=$2 line key value
  [ -r "$file" ] || die "cannot read the secrets in $file (run as root, and after the unit that writes it)"
  while IFS= read -r line || [ -n "$line" ]; do
    key=${line%%=*}
    value=${line#*=}
    [[ $line == *=* && $key =~ ^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY)$ ]] || continue
    if [[ $value =~ ^\"(.*)\"$ || $value =~ ^\'(.*)\'$ ]]; then value=${BASH_REMATCH[1]}; fi
    secrets+=("RCLONE_CONFIG_${remote}_${key#AWS_}=$value")
  done <"$file"
}

# take_key VARIABLE FILE: one line, as it is.
take_key() {
  local value
  [ -r "$2" ] || die "cannot read the secret in $2 (run as root, and after the unit that writes it)"
  IFS= read -r value <"$2" || [ -n "$value" ] || die "$2 is empty"
  secrets+=("$1=$value")
}

# Secrets come by files, never by arguments, and go to rclone alone: `remote` gives it these lines NAME=VALUE.
secrets=()

load_storage_secrets() {
  if [ -n "${ATTIC_STORAGE_SECRETS_FILE:-}" ]; then take_keys STORAGE "$ATTIC_STORAGE_SECRETS_FILE"; fi
}

load_offsite_secrets() {
  if [ -n "${ATTIC_OFFSITE_SECRETS_FILE:-}" ]; then take_keys OFFSITE "$ATTIC_OFFSITE_SECRETS_FILE"; fi
  if [ -n "${ATTIC_OFFSITE_ACCESS_KEY_ID_FILE:-}" ]; then
    take_key RCLONE_CONFIG_OFFSITE_ACCESS_KEY_ID "$ATTIC_OFFSITE_ACCESS_KEY_ID_FILE"
  fi
  if [ -n "${ATTIC_OFFSITE_SECRET_ACCESS_KEY_FILE:-}" ]; then
    take_key RCLONE_CONFIG_OFFSITE_SECRET_ACCESS_KEY "$ATTIC_OFFSITE_SECRET_ACCESS_KEY_FILE"
  fi
}

load_secrets() {
  load_storage_secrets
  load_offsite_secrets
}

# Backup, restore and drill wait for each other. The lock dies with its holder, so nothing stale is left.
one_at_a_time() {
  mkdir -p -- "$ATTIC_BACKUP_FOLDER"
  exec 9>"$ATTIC_BACKUP_FOLDER/.lock"
  flock --timeout "${ATTIC_LOCK_SECONDS:-3600}" 9 || die "another backup, restore or drill has been running for too long"
}

# again COMMAND…: until it succeeds, ATTIC_RETRIES times, waiting twice as long each time.
again() {
  local attempt wait=$ATTIC_RETRY_SECONDS
  for ((attempt = 1; attempt <= ATTIC_RETRIES; attempt++)); do
    "$@" && return 0
    [ "$attempt" -lt "$ATTIC_RETRIES" ] || break
    say "attempt $attempt of $ATTIC_RETRIES failed; again in $wait s"
    sleep "$wait"
    wait=$((wait * 2))
  done
  return 1
}

file_size() { stat --format=%s -- "$1"; }
file_hash() { sha256sum <"$1" | cut -d' ' -f1; }

# The value that this figure had when it was last written; 0 where it never was.
last_figure() {
  local value=
  [ -n "$ATTIC_METRICS_FOLDER" ] || { echo 0; return; }
  value=$(awk -v name="$2" '$1 == name { print $2 }' "$ATTIC_METRICS_FOLDER/$1.prom" 2>/dev/null) || true
  echo "${value:-0}"
}

# write_figures NAME: from lines "figure value help…" on stdin. All at once: the exporter reads at any time.
write_figures() {
  local name=$1 file figure value help last=
  [ -n "$ATTIC_METRICS_FOLDER" ] || { cat >/dev/null; return 0; }
  mkdir -p -- "$ATTIC_METRICS_FOLDER"
  file=$ATTIC_METRICS_FOLDER/$name.prom
  while read -r figure value help; do
    if [ "${figure%%\{*}" != "$last" ]; then
      last=${figure%%\{*}
      printf '# HELP %s %s\n# TYPE %s gauge\n' "$last" "$help" "$last"
    fi
    printf '%s %s\n' "$figure" "$value"
  done >"$file.new" || return
  # No secret is in it, and the exporter is not root.
  chmod 644 "$file.new"
  mv -- "$file.new" "$file"
}
