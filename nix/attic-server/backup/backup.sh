#!/usr/bin/env bash
# Take over the newest dump of Attic's database: check it, keep it under a name of its own, copy it off-site.
#
#   attic-backup
#
#   ATTIC_BACKUP_SOURCE         the dump, such as /var/backup/postgresql/atticd.sql.zstd
#   ATTIC_BACKUP_KEEP_DAYS      30
#   ATTIC_BACKUP_MAX_AGE_HOURS  50: an older dump means that dumping has stopped
#
# May be run at any time and any number of times: a dump that is kept and off-site already is left alone, and what a
# broken-off run left behind is done again. Fails when anything is missing at the end.
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=common.sh
. "$here/common.sh"
# shellcheck source=dump.sh
. "$here/dump.sh"
# shellcheck source=offsite.sh
. "$here/offsite.sh"

: "${ATTIC_BACKUP_SOURCE:=/var/backup/postgresql/atticd.sql.zstd}"
: "${ATTIC_BACKUP_KEEP_DAYS:=30}"
: "${ATTIC_BACKUP_MAX_AGE_HOURS:=50}"

began=$(date +%s)
success=$(last_figure attic-backup attic_backup_last_success_timestamp_seconds)
offsite_success=$(last_figure attic-backup attic_backup_offsite_last_success_timestamp_seconds)
size=$(last_figure attic-backup attic_backup_size_bytes)
kept=0

figures() {
  local failed=$1 offsite=0
  [ -z "$ATTIC_OFFSITE" ] || offsite=1
  write_figures attic-backup <<EOT || say "warning: the figures cannot be written"
attic_backup_last_success_timestamp_seconds $success When the newest kept dump was made.
attic_backup_size_bytes $size Size of the newest kept dump.
attic_backup_kept_count $kept Number of kept dumps.
attic_backup_offsite_enabled $offsite Whether dumps are copied off-site.
attic_backup_offsite_last_success_timestamp_seconds $offsite_success When the newest dump was last seen off-site.
attic_backup_last_run_failed $failed Whether the last run failed.
attic_backup_last_run_timestamp_seconds $began When the last run began.
EOT
}

finish() {
  local status=$?
  rm -f -- "$ATTIC_BACKUP_FOLDER"/.new.*
  figures "$((status != 0))"
}

# Keep the dump at $1; its name is left in $name.
keep() {
  local file=$1 tables
  # By its own time and content, so that the same dump always has the same name.
  name=${ATTIC_DATABASE:-atticd}-$(date --utc --reference="$file" +%Y%m%dT%H%M%SZ)-$(file_hash "$file" | cut -c1-8)
  if [ -s "$ATTIC_BACKUP_FOLDER/$name.json" ] && [ -s "$ATTIC_BACKUP_FOLDER/$name.sql.zst" ] &&
    [ "$(jq --raw-output .sha256 "$ATTIC_BACKUP_FOLDER/$name.json")" = "$(file_hash "$ATTIC_BACKUP_FOLDER/$name.sql.zst")" ]; then
    say "$name is kept already"
    return
  fi
  # The copy is what is inspected: the next dump may replace the file meanwhile.
  cp --preserve=timestamps -- "$file" "$ATTIC_BACKUP_FOLDER/.new.$name" || die "cannot keep $name: is the disk full?"
  tables=$(inspect_dump "$ATTIC_BACKUP_FOLDER/.new.$name") || die "the dump is refused; the ones before are untouched"
  make_manifest "$name" "$ATTIC_BACKUP_FOLDER/.new.$name" "$tables" >"$ATTIC_BACKUP_FOLDER/.new.$name.json" ||
    die "cannot write the manifest of $name: is the disk full?"
  sync -- "$ATTIC_BACKUP_FOLDER/.new.$name" "$ATTIC_BACKUP_FOLDER/.new.$name.json"
  mv -- "$ATTIC_BACKUP_FOLDER/.new.$name" "$ATTIC_BACKUP_FOLDER/$name.sql.zst"
  mv -- "$ATTIC_BACKUP_FOLDER/.new.$name.json" "$ATTIC_BACKUP_FOLDER/$name.json"
  sync -- "$ATTIC_BACKUP_FOLDER"
  [ "$(jq .cache <<<"$tables")" != 0 ] || say "warning: no cache is in this dump"
  say "kept $name ($(file_size "$ATTIC_BACKUP_FOLDER/$name.sql.zst") bytes, rows: $tables)"
}

prune() {
  local old
  [ -n "$(kept_names | sed 's/$/ 1/' | outdated "$ATTIC_BACKUP_KEEP_DAYS")" ] || return 0
  kept_names | while read -r old; do
    printf '%s %s\n' "$old" "$(jq --raw-output '.tables.cache // 0' "$ATTIC_BACKUP_FOLDER/$old.json" 2>/dev/null || echo 0)"
  done | outdated "$ATTIC_BACKUP_KEEP_DAYS" | while read -r old; do
    # The manifest first: what is left then counts as no dump.
    rm -f -- "$ATTIC_BACKUP_FOLDER/$old.json" "$ATTIC_BACKUP_FOLDER/$old.sql.zst"
    say "deleted $old"
  done
}

one_at_a_time
trap finish EXIT
# A run that was killed had no time to clean up.
rm -f -- "$ATTIC_BACKUP_FOLDER"/.new.*

[ -e "$ATTIC_BACKUP_SOURCE" ] || die "there is no dump at $ATTIC_BACKUP_SOURCE: did pg_dump fail?"
age_hours=$(((began - $(stat --format=%Y -- "$ATTIC_BACKUP_SOURCE")) / 3600))
keep "$ATTIC_BACKUP_SOURCE"
size=$(file_size "$ATTIC_BACKUP_FOLDER/$name.sql.zst")
# That of the dump, not of this run: what is pushed after it is not in it.
success=$(stat --format=%Y -- "$ATTIC_BACKUP_FOLDER/$name.sql.zst")
prune
kept=$(kept_names | wc -l)

if [ -n "$ATTIC_OFFSITE" ]; then
  # Not before: a key that is missing is no reason to keep nothing.
  load_offsite_secrets
  offsite_push "$name" || die "$name is kept here and is not off-site"
  offsite_success=$(date +%s)
  say "$name is off-site"
  [ "$ATTIC_OFFSITE_PRUNE" != 1 ] || offsite_prune "$ATTIC_BACKUP_KEEP_DAYS" ||
    say "warning: outdated copies off-site could not be looked for"
fi
[ "$age_hours" -lt "$ATTIC_BACKUP_MAX_AGE_HOURS" ] || die "the newest dump is $age_hours hours old: dumping has stopped"
