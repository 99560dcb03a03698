# shellcheck shell=bash
# Creates and configures the caches on the server, with a token that lives for ten minutes.
#
#   ATTIC_CONFIG        what atticd is configured with; its secrets are in the environment
#   PIPELINEGEN_CONFIG  what the caches should be like
#   CACHES              their names, with blanks between them
#   RUNTIME_DIRECTORY   a folder of our own
#   PATIENCE            seconds in which the server must be there, with a certificate that is trusted
#   PAUSE               seconds between two tries
set -euo pipefail
umask 077

token=$RUNTIME_DIRECTORY/token
trap 'rm -f -- "$token"' EXIT

# Each cache by its exact name, with all rights in one entry: Attic takes one entry of a token and no more.
rights=()
for cache in $CACHES; do
  for right in pull create-cache configure-cache configure-cache-retention; do
    rights+=("--$right" "$cache")
  done
done

provision() {
  # Anew for each try: one that was made long before would have ended.
  atticadm -f "$ATTIC_CONFIG" make-token --sub attic-provision --validity '10 minutes' "${rights[@]}" >"$token" ||
    return
  # Without the secrets that are in this environment.
  env -i "PATH=$PATH" "HOME=$RUNTIME_DIRECTORY" ${SSL_CERT_FILE:+"SSL_CERT_FILE=$SSL_CERT_FILE"} \
    pipelinegen --config "$PIPELINEGEN_CONFIG" cache provision --yes --token-file "$token"
}

until provision; do
  status=$?
  # 2: wrong configuration, 4: refused credentials, 70: a defect. Waiting helps none of them.
  case $status in 2 | 4 | 70) exit "$status" ;; esac
  if ((SECONDS >= PATIENCE)); then
    echo "attic-provision: gave up after $SECONDS s; the server's name, certificate and journal say more" >&2
    exit "$status"
  fi
  echo "attic-provision: trying again in $PAUSE s" >&2
  sleep "$PAUSE"
done
