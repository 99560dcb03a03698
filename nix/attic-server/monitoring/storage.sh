#!/usr/bin/env bash
# Count what the caches hold, for the node exporter.
#
#   ATTIC_STORAGE_SQL      what PostgreSQL is asked
#   ATTIC_RETENTION        seconds that store paths are kept where their cache says nothing else; 0: for ever
#   ATTIC_DATABASE         name of the database, or a connection string
#   ATTIC_POSTGRES_USER    the system's user that may read it; empty: whoever runs this
#   ATTIC_METRICS_FOLDER   where the textfile collector looks
set -euo pipefail
umask 022

: "${ATTIC_STORAGE_SQL:?}"
: "${ATTIC_RETENTION:=0}"
: "${ATTIC_DATABASE:=atticd}"
: "${ATTIC_POSTGRES_USER=postgres}"
: "${ATTIC_METRICS_FOLDER:=/var/lib/attic-metrics}"

as_postgres() {
  if [ -n "$ATTIC_POSTGRES_USER" ] && [ "$(id -un)" != "$ATTIC_POSTGRES_USER" ]; then
    (cd / && exec setpriv --reuid="$ATTIC_POSTGRES_USER" --regid="$ATTIC_POSTGRES_USER" --init-groups -- "$@")
  else
    "$@"
  fi
}

counted=$(as_postgres psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 \
  --set=retention="$ATTIC_RETENTION" --dbname="$ATTIC_DATABASE" <"$ATTIC_STORAGE_SQL")

# family NAME HELP: samples of one metric stand together.
family() {
  printf '# HELP %s %s\n# TYPE %s gauge\n' "$1" "$2" "$1"
  grep -E "^$1[ {]" <<<"$counted"
}

mkdir -p -- "$ATTIC_METRICS_FOLDER"
new=$ATTIC_METRICS_FOLDER/attic-storage.prom.new
{
  # A server without caches has no samples of these.
  family attic_storage_objects 'Store paths that the cache lists.' || true
  family attic_storage_bytes 'Size of their archives, uncompressed, equal ones once.' || true
  family attic_storage_overdue_seconds 'By how much the most overdue store path has outlived its retention.' || true
  family attic_storage_nars 'Archives.'
  family attic_storage_chunks 'Chunks.'
  family attic_storage_chunk_bytes 'Size of the chunks as stored, compressed.'
  family attic_storage_orphan_chunks 'Valid chunks that no archive refers to.'
  family attic_storage_stuck_chunks 'Chunks whose upload began more than a day ago and never ended.'
  family attic_storage_database_bytes 'Size of the database.'
  printf '# HELP attic_storage_last_success_timestamp_seconds When these were counted.\n'
  printf '# TYPE attic_storage_last_success_timestamp_seconds gauge\n'
  printf 'attic_storage_last_success_timestamp_seconds %s\n' "$(date +%s)"
} >"$new"
mv -- "$new" "$ATTIC_METRICS_FOLDER/attic-storage.prom"
