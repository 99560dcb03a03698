# shellcheck shell=bash
# Dumps: what is a good one, what they are called, which of them stay.
#
# A kept dump is NAME.sql.zst with NAME.json, its manifest, beside it: name, sha256, size, and the number of rows
# of every table. The manifest is written last: a dump without one is not finished and does not count.
# NAME is atticd-TIME-HASH: TIME (UTC) is when the dump was made, so that names sort by age.

# Tables without which a dump is not one of Attic's database.
attic_tables="cache chunk chunkref nar object seaql_migrations"

unpack() {
  case $(head --bytes=4 -- "$1" | od -An -tx1 | tr -d ' ') in
  28b52ffd) zstd -q -dc -- "$1" ;;
  1f8b*) gzip -dc -- "$1" ;;
  *) cat -- "$1" ;;
  esac
}

# inspect_dump FILE: prints {"TABLE": ROWS, …}; fails with the reason where it is not whole, or not of Attic.
inspect_dump() {
  local file=$1 counted table
  [ -s "$file" ] || { say "$file is empty"; return 1; }
  counted=$(unpack "$file" | LC_ALL=C awk '
    copying { if ($0 == "\\.") copying = 0; else rows[table]++; next }
    /^COPY / {
      table = $2; sub(/^public\./, "", table); gsub(/"/, "", table)
      if ($0 !~ / FROM stdin;$/) odd = $0
      rows[table] += 0; copying = 1; body = 1; next
    }
    /^CREATE (TABLE|SEQUENCE|TYPE) / { body = 1 }
    /^\\connect / { if (body) odd = $0; next }
    # psql would run a command of any other line with a backslash.
    /^\\/ { if ($0 !~ /^\\(un)?restrict [A-Za-z0-9]+$/) odd = $0 }
    /^-- PostgreSQL database dump complete/ { complete = 1 }
    END {
      if (copying || !complete) { print "its end is missing"; exit 1 }
      if (odd != "") { print "pg_dump never writes such a line: " substr(odd, 1, 80); exit 1 }
      for (table in rows) print table, rows[table]
    }') || { say "$file is not a whole dump: ${counted:-it cannot be unpacked}"; return 1; }
  for table in $attic_tables; do
    grep -q "^$table " <<<"$counted" || { say "$file is not a dump of Attic's database: no table $table"; return 1; }
  done
  jq --null-input --raw-input --sort-keys --compact-output \
    '[inputs | split(" ") | {(.[0]): (.[1] | tonumber)}] | add' <<<"$counted"
}

# The dump as a script for an empty database of any name: what creates and enters a database is left out.
script_of() {
  unpack "$1" | LC_ALL=C awk '
    begun { print; next }
    /^\\connect / { kept = ""; next }
    /^(ALTER|CREATE) DATABASE / { next }
    { kept = kept $0 "\n" }
    /^(CREATE|COPY|ALTER) / { printf "%s", kept; begun = 1 }
    END { if (!begun) exit 1 }'
}

# make_manifest NAME FILE TABLES
make_manifest() {
  jq --null-input --sort-keys --arg name "$1" --arg sha256 "$(file_hash "$2")" --argjson size "$(file_size "$2")" \
    --arg created "$(date --utc --reference="$2" +%Y-%m-%dT%H:%M:%SZ)" --argjson tables "$3" \
    '{format_version: 1, name: $name, created: $created, sha256: $sha256, size: $size, tables: $tables}'
}

# as_manifest_says FOLDER NAME: the dump there is the one that was kept.
as_manifest_says() {
  [ "$(file_hash "$1/$2.sql.zst")" = "$(jq --raw-output .sha256 "$1/$2.json")" ] ||
    { say "$2 is not what its manifest says"; return 1; }
}

# Names of finished dumps in the folder, the oldest first.
kept_names() {
  local manifest name
  for manifest in "$ATTIC_BACKUP_FOLDER"/*-*Z-*.json; do
    name=$(basename "$manifest" .json)
    if [ -s "$ATTIC_BACKUP_FOLDER/$name.sql.zst" ]; then printf '%s\n' "$name"; fi
  done | LC_ALL=C sort
}

# Seconds since 1970 of a name's time; empty where it has none. Counted here: a process for each name takes long.
time_of() {
  local year month day era of_era of_year
  [[ $1 =~ -([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z- ]] || return 0
  year=$((10#${BASH_REMATCH[1]})) month=$((10#${BASH_REMATCH[2]})) day=$((10#${BASH_REMATCH[3]}))
  # Years that begin in March, so that a leap day is the last of its year; 400 of them are 146097 days.
  year=$((month > 2 ? year : year - 1)) month=$((month > 2 ? month - 3 : month + 9))
  era=$((year / 400)) of_era=$((year % 400)) of_year=$(((153 * month + 2) / 5 + day - 1))
  day=$((era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468))
  echo $((day * 86400 + 10#${BASH_REMATCH[4]} * 3600 + 10#${BASH_REMATCH[5]} * 60 + 10#${BASH_REMATCH[6]}))
}

# outdated DAYS: of "NAME CACHES" lines on stdin (oldest first) the names that may go.
#
# A dump goes when it is more than DAYS older than the newest, and DAYS newer ones with caches in them are there. So
# nothing goes because a clock jumped, because no dump was made for months, or because an empty database has been
# dumped for a while.
outdated() {
  local days=$1 lines=() line name newest age full=0 index
  mapfile -t lines
  for ((index = ${#lines[@]} - 1; index >= 0; index--)); do
    line=${lines[index]}
    name=${line% *}
    age=$(time_of "$name")
    [ -n "$age" ] || continue
    newest=${newest:-$age}
    if [ $((newest - age)) -gt $((days * 86400)) ] && [ "$full" -ge "$days" ]; then
      printf '%s\n' "$name"
    fi
    [ "${line##* }" = 0 ] || full=$((full + 1))
  done
}
