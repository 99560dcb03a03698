#!/usr/bin/env bash
# Compare the chunks that Attic's database knows with the objects that the storage has.
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=common.sh
. "$here/common.sh"
# shellcheck source=offsite.sh
. "$here/offsite.sh"
# shellcheck source=database.sh
. "$here/database.sh"

usage() {
  cat <<EOT
attic-verify-storage [--repair] [--even-most] [--elsewhere] [--orphans FILE] [--database NAME]

  (without)       says which objects are missing or have the wrong size; "CACHE STORE-PATH" of every path they break
                  on stdout; exit code 1 if there are any
  --repair        also deletes these paths and chunks from the database, while atticd is stopped for a moment.
                  Until then a push skips them, for Attic believes that it has them; afterwards it sends them again
  --even-most     --repair refuses where more than half is missing: that looks like the wrong bucket or key
  --elsewhere     chunks of another bucket or storage count as missing: for when that one is gone
  --orphans FILE  objects that no row names, one a line, as rclone's --files-from takes them. Uploads that are going
                  on are among them: delete nothing that is younger than a day

ATTIC_STORAGE     the storage as rclone names it, such as storage:bucket, or a folder
ATTIC_STORAGE_ID  what Attic puts before its objects' names: s3:REGION/BUCKET/ or local:
EOT
}

repair='' even_most='' elsewhere=0 orphans='' database=${ATTIC_DATABASE:-atticd}
while [ $# -gt 0 ]; do
  case $1 in
  --repair) repair=1 ;;
  --even-most) even_most=1 ;;
  --elsewhere) elsewhere=1 ;;
  --orphans | --database)
    [ $# -ge 2 ] || die "$1 wants a value"
    if [ "$1" = --orphans ]; then orphans=$2; else database=$2; fi
    shift
    ;;
  --help) usage && exit 0 ;;
  *) usage >&2 && die "unknown: $1" ;;
  esac
  shift
done
plain_name "$database"
: "${ATTIC_STORAGE:?}" "${ATTIC_STORAGE_ID:?}"
load_secrets
one_at_a_time

stopped=''
finish() {
  local status=$?
  trap - EXIT
  [ -z "$stopped" ] || server start || say "error: atticd does not start"
  rm -rf -- "$work"
  exit "$status"
}
rm -rf -- "$ATTIC_BACKUP_FOLDER"/.work.*
work=$(mktemp -d "$ATTIC_BACKUP_FOLDER/.work.XXXXXX")
trap finish EXIT

# Lines "ID SIZE NAME" of chunks that can be used.
chunks() {
  sql "$database" <<<"SELECT id || ' ' || coalesce(file_size, -1) || ' ' || remote_file_id FROM chunk WHERE state = 'V';"
}

chunks >"$work/before" || die "the database $database cannot be read"
say "$(wc -l <"$work/before") chunks in the database; listing the storage"
again remote lsf --recursive --files-only --format sp --separator ' ' "$ATTIC_STORAGE" >"$work/objects" ||
  die "the storage cannot be listed: nothing can be said"
# Attic keeps local files in folders by their first letters.
[ "$ATTIC_STORAGE_ID" != local: ] || sed -i -E '/ VERSION$/d; s|^([0-9]+) .*/|\1 |' "$work/objects"
say "$(wc -l <"$work/objects") objects in the storage"
# What was collected while the storage was listed is missing rightly.
chunks >"$work/after" || die "the database $database cannot be read"

LC_ALL=C awk -v start="$ATTIC_STORAGE_ID" -v gone="$elsewhere" '
  FILENAME ~ /objects$/ { size = $1; sub(/^[0-9]+ /, ""); objects[$0] = size; next }
  FILENAME ~ /before$/ { before[$1] = 1; next }
  {
    id = $1; size = $2; sub(/^[0-9]+ -?[0-9]+ /, "")
    if (!(id in before)) next
    if (substr($0, 1, length(start)) != start) { if (gone) print id, "elsewhere", $0; else elsewhere++; next }
    name = substr($0, length(start) + 1)
    if (!(name in objects)) print id, "missing", name
    else if (size >= 0 && objects[name] != size) print id, "has " objects[name] " bytes instead of " size, name
  }
  END { if (elsewhere) printf "%d chunks are in another storage and were not looked for (see --elsewhere)\n", elsewhere >"/dev/stderr" }
' "$work/objects" "$work/before" "$work/after" >"$work/lost"

if [ -n "$orphans" ]; then
  # Any row at all: an upload that is going on has one too.
  sql "$database" <<<"SELECT remote_file_id FROM chunk;" >"$work/known"
  LC_ALL=C awk -v start="$ATTIC_STORAGE_ID" '
    FILENAME ~ /known$/ { known[$0] = 1; next }
    { sub(/^[0-9]+ /, ""); if (!((start $0) in known)) print }
  ' "$work/known" "$work/objects" >"$orphans"
  say "$(wc -l <"$orphans") orphans are listed in $orphans"
fi

lost=$(wc -l <"$work/lost")
nulls=$(sql "$database" <<<"SELECT count(*) FROM chunkref JOIN nar ON nar.id = nar_id WHERE chunk_id IS NULL AND nar.state = 'V';")
if [ "$lost" = 0 ] && [ "$nulls" = 0 ]; then
  say "every chunk is there, in its size"
  exit 0
fi
head -n 20 "$work/lost" | cut -d' ' -f2- >&2
say "$lost objects are missing or damaged; $nulls places in NARs have no chunk"

# delete WORD: what is hurt, on stdout; ends with ROLLBACK (looking only) or COMMIT.
delete() {
  {
    cat <<EOT
BEGIN;
CREATE TEMPORARY TABLE lost (id bigint PRIMARY KEY);
COPY lost FROM stdin;
EOT
    cut -d' ' -f1 "$work/lost"
    cat <<EOT
\\.
CREATE TEMPORARY TABLE hurt AS
  SELECT chunkref.nar_id AS id FROM chunkref JOIN lost ON lost.id = chunkref.chunk_id
  UNION SELECT chunkref.nar_id FROM chunkref JOIN nar ON nar.id = chunkref.nar_id WHERE chunk_id IS NULL AND nar.state = 'V';
SELECT cache.name || ' ' || object.store_path FROM object
  JOIN hurt ON hurt.id = object.nar_id JOIN cache ON cache.id = object.cache_id ORDER BY 1;
DELETE FROM object USING hurt WHERE object.nar_id = hurt.id;
DELETE FROM chunkref USING hurt WHERE chunkref.nar_id = hurt.id;
DELETE FROM nar USING hurt WHERE nar.id = hurt.id;
DELETE FROM chunk USING lost WHERE chunk.id = lost.id AND chunk.state = 'V';
$1;
EOT
  } | sql "$database"
}

if [ -z "$repair" ]; then
  delete ROLLBACK
  say "--repair deletes these paths from the database, so that pushing them again heals them"
  exit 1
fi
if [ -z "$even_most" ] && [ $((lost * 2)) -gt "$(wc -l <"$work/before")" ]; then
  die "more than half is missing: is this the right bucket and key? If it is so: --even-most"
fi
stopped=1
server stop || die "atticd cannot be stopped; nothing has been changed"
delete COMMIT || die "nothing has been changed"
# The next command of the person at the keyboard asks it.
if ! server start || ! server_is_well; then die "repaired, but atticd does not come up"; fi
stopped=''
say "repaired: push the paths above again; $lost chunks are forgotten"
