#!/usr/bin/env bash
# Try the way back: restore the newest backup into a database of its own, compare, and look for what it names.
#
#   attic-drill
#
#   ATTIC_AGE_IDENTITY  secret key of age. Without it an encrypted copy is fetched and compared with what was sent,
#                       and what is restored is the dump that is kept here
#   ATTIC_DRILL_SAMPLE  20: so many chunks are read from the storage and hashed; 0: none
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=common.sh
. "$here/common.sh"
# shellcheck source=dump.sh
. "$here/dump.sh"
# shellcheck source=offsite.sh
. "$here/offsite.sh"
# shellcheck source=database.sh
. "$here/database.sh"

: "${ATTIC_DRILL_SAMPLE:=20}"
: "${ATTIC_BACKUP_MAX_AGE_HOURS:=50}"
database=${ATTIC_DATABASE:-atticd}
scratch=${database}_drill
plain_name "$database"
plain_name "$ATTIC_ROLE"

began=$(date +%s)
success=$(last_figure attic-drill attic_drill_last_success_timestamp_seconds)
read_chunks=0 lost_chunks=0

finish() {
  local status=$? now
  trap - EXIT
  now=$(date +%s)
  [ "$status" != 0 ] || success=$now
  drop_database "$scratch" || say "warning: the database $scratch could not be dropped"
  rm -rf -- "$work"
  write_figures attic-drill <<EOT || say "warning: the figures cannot be written"
attic_drill_last_success_timestamp_seconds $success When a backup was last restored on trial and found whole.
attic_drill_last_run_failed $((status != 0)) Whether the last trial failed.
attic_drill_last_run_timestamp_seconds $began When the last trial began.
attic_drill_duration_seconds $((now - began)) How long the last trial took.
attic_drill_read_chunks $read_chunks Chunks that were read from the storage.
attic_drill_lost_chunks $lost_chunks Chunks of these that were missing or had another content.
EOT
  exit "$status"
}

one_at_a_time
rm -rf -- "$ATTIC_BACKUP_FOLDER"/.work.*
work=$(mktemp -d "$ATTIC_BACKUP_FOLDER/.work.XXXXXX")
trap finish EXIT
load_secrets

# PostgreSQL's superuser runs what a dump says, and here nobody is asked: it must be one that was kept here, whoever else
# can write to the second bucket.
is_ours() {
  [ "$(jq --sort-keys 'del(.copy)' "$work/$1.json")" = "$(jq --sort-keys . "$ATTIC_BACKUP_FOLDER/$1.json" 2>/dev/null)" ] ||
    die "$1 off-site is not what was kept here (on a new machine, let attic-backup run first)"
}

name=''
if [ -n "$ATTIC_OFFSITE" ]; then
  files=$(again offsite_files) || die "the copies off-site cannot be listed"
  name=$(offsite_names <<<"$files" | tail -n 1)
  [ -n "$name" ] || die "there is no copy off-site"
  if [ -z "${ATTIC_AGE_IDENTITY:-}" ] && [[ $files == *" $name.sql.zst.age"* ]]; then
    offsite_download "$name" "$work" || die "$name off-site is no good"
    is_ours "$name"
    say "$name off-site is what was sent; without an identity it cannot be opened here"
    name=''
  else
    offsite_fetch "$name" "$work" || die "$name off-site is no good"
    is_ours "$name"
    folder=$work
  fi
fi
if [ -z "$name" ]; then
  name=$(kept_names | tail -n 1)
  [ -n "$name" ] || die "no dump is kept in $ATTIC_BACKUP_FOLDER"
  folder=$ATTIC_BACKUP_FOLDER
  as_manifest_says "$folder" "$name" || die "$name is damaged"
fi
[ $((began - $(time_of "$name"))) -lt $((ATTIC_BACKUP_MAX_AGE_HOURS * 3600)) ] || die "the newest backup is too old: $name"

# A disk that is full stops the database that is in use.
needed=$(sql "$database" <<<"SELECT pg_database_size('$database') * 3 / 2;") || die "the database $database cannot be read"
free=$(df --output=avail --block-size=1 -- "$(sql "$database" <<<"SHOW data_directory;")" | tail -n 1) ||
  die "nothing is known of the room on PostgreSQL's disk"
[ "$free" -gt "$needed" ] || die "there is no room for a second database: $free bytes are free, and $needed should be"

say "restoring $name into $scratch"
tables=$(jq --compact-output .tables "$folder/$name.json")
inspect_dump "$folder/$name.sql.zst" >/dev/null || die "$name is no good"
fill_database "$scratch" "$folder/$name.sql.zst" || die "$name cannot be restored"
check_database "$scratch" "$tables" || die "$name is not what its manifest says"

# The key under the storage's root of what Attic calls NAME.
object_path() {
  if [ "$ATTIC_STORAGE_ID" = local: ]; then printf '%s/%s/%s' "${1:0:1}" "${1:0:2}" "$1"; else printf '%s' "$1"; fi
}

if [ "$ATTIC_DRILL_SAMPLE" != 0 ] && [ -n "${ATTIC_STORAGE:-}" ]; then
  : "${ATTIC_STORAGE_ID:?}"
  sql "$scratch" >"$work/sample" <<EOT
SELECT remote_file_id || ' ' || file_hash FROM chunk
WHERE state = 'V' AND file_hash IS NOT NULL AND starts_with(remote_file_id, '$ATTIC_STORAGE_ID')
ORDER BY random() LIMIT $ATTIC_DRILL_SAMPLE;
EOT
  while read -r id hash; do
    object=${id#"$ATTIC_STORAGE_ID"}
    found=$(remote cat "$ATTIC_STORAGE/$(object_path "$object")" | sha256sum | cut -d' ' -f1) || found=missing
    read_chunks=$((read_chunks + 1))
    [ "sha256:$found" != "$hash" ] || continue
    # Since the backup it may have been collected.
    live=$(sql "$database" <<<"SELECT count(*) FROM chunk WHERE remote_file_id = '$id' AND state = 'V';") || live=1
    [ "$live" != 0 ] || continue
    lost_chunks=$((lost_chunks + 1))
    say "$object is missing in the storage, or has another content"
  done <"$work/sample"
fi
[ "$lost_chunks" = 0 ] || die "$lost_chunks of $read_chunks chunks are lost: run attic-verify-storage"
say "$name can be restored: $tables; $read_chunks chunks read"
