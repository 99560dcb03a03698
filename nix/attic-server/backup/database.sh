# shellcheck shell=bash
# PostgreSQL: a dump into a database of its own, whether it is a good one, and who takes whose name.
#
#   ATTIC_POSTGRES_USER  the system's user that is PostgreSQL's superuser; empty: whoever runs this
#   ATTIC_ROLE           the role that atticd has
#   PGHOST, PGPORT, …    as psql takes them

: "${ATTIC_POSTGRES_USER=postgres}"
: "${ATTIC_ROLE:=atticd}"
: "${ATTIC_SYSTEMCTL:=systemctl}"

as_postgres() {
  if [ -n "$ATTIC_POSTGRES_USER" ] && [ "$(id -un)" != "$ATTIC_POSTGRES_USER" ]; then
    (cd / && exec setpriv --reuid="$ATTIC_POSTGRES_USER" --regid="$ATTIC_POSTGRES_USER" --init-groups -- "$@")
  else
    "$@"
  fi
}

# sql DATABASE [OPTION…]: runs what is on stdin, all or nothing unless it says otherwise; rows without decoration.
sql() {
  local database=$1
  shift
  as_postgres psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname="$database" "$@"
}

# Names go into SQL as they are.
plain_name() { [[ $1 =~ ^[a-z_][a-z0-9_]{0,40}$ ]] || die "$1 cannot be the name of a database or role here"; }

database_exists() { [ "$(sql postgres <<<"SELECT 1 FROM pg_database WHERE datname = '$1';")" = 1 ]; }

drop_database() { sql postgres <<<"DROP DATABASE IF EXISTS $1 WITH (FORCE);" 2>/dev/null; }

# "CACHES PATHS" in the database; "0 0" where Attic's tables are not there.
content_of() {
  if [ -z "$(sql "$1" <<<"SELECT to_regclass('public.object');")" ]; then
    echo 0 0
  else
    sql "$1" <<<"SELECT (SELECT count(*) FROM cache) || ' ' || (SELECT count(*) FROM object);"
  fi
}

# fill_database NAME DUMP: a new database with what is in the dump, belonging to the role.
fill_database() {
  [ "$(sql postgres <<<"SELECT 1 FROM pg_roles WHERE rolname = '$ATTIC_ROLE';")" = 1 ] ||
    { say "PostgreSQL has no role $ATTIC_ROLE: is this the configured server?"; return 1; }
  drop_database "$1" || return 1
  sql postgres <<<"CREATE DATABASE $1 OWNER $ATTIC_ROLE TEMPLATE template0 ENCODING 'UTF8';" || return 1
  script_of "$2" | sql "$1" --single-transaction --output=/dev/null || { say "the dump cannot be restored"; return 1; }
}

# check_database NAME TABLES: the rows of every table, and that the role owns them and may add tables, as atticd does
# when it is updated.
check_database() {
  local counts found
  counts=$(jq --raw-output '[keys[] | "SELECT \u0027\(.)\u0027 AS name, count(*) AS rows FROM public.\"\(.)\""]
    | "SELECT json_object_agg(name, rows) FROM (" + join(" UNION ALL ") + ") AS counted;"' <<<"$2") || return 1
  found=$(sql "$1" <<<"$counts" | jq --sort-keys --compact-output .) || { say "not every table is there"; return 1; }
  [ "$found" = "$(jq --sort-keys --compact-output . <<<"$2")" ] ||
    { say "the rows of its tables are $found and should be $2"; return 1; }
  found=$(sql "$1" <<<"SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'public' AND tableowner <> '$ATTIC_ROLE';")
  [ -z "$found" ] || { say "these tables do not belong to $ATTIC_ROLE: $found"; return 1; }
  sql "$1" --output=/dev/null <<EOT || { say "$ATTIC_ROLE may not work in the database"; return 1; }
BEGIN;
SET LOCAL ROLE $ATTIC_ROLE;
CREATE TABLE public.attic_restore_probe ();
SELECT count(*) FROM object JOIN cache ON cache.id = object.cache_id;
ROLLBACK;
EOT
}

# What was being uploaded when the dump was made is not any more. Attic never collects what somebody holds.
forget_holders() {
  sql "$1" --single-transaction <<EOT
UPDATE chunk SET holders_count = 0 WHERE holders_count <> 0;
UPDATE nar SET holders_count = 0 WHERE holders_count <> 0;
EOT
}

# rename_databases FROM TO [FROM TO]…: all or none, at a moment when nobody is connected.
rename_databases() {
  local attempt statements=''
  local names="'$1'"
  while [ $# -gt 0 ]; do
    statements+="ALTER DATABASE $1 RENAME TO $2;"$'\n'
    names+=", '$1'"
    shift 2
  done
  for attempt in 1 2 3 4 5; do
    [ "$attempt" = 1 ] || sleep 1
    # Exporters and people connect again at any time.
    sql postgres --output=/dev/null <<EOT && return 0
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ($names) AND pid <> pg_backend_pid();
BEGIN;
$statements
COMMIT;
EOT
  done
  return 1
}

# The lock is for scripts: what they start must not hold it.
server() { "$ATTIC_SYSTEMCTL" "$1" atticd.service 9>&-; }

# Up and answering? ATTIC_HEALTH_COMMAND says so; without one, that it stays active.
server_is_well() {
  local second
  for ((second = 0; second < ${ATTIC_START_SECONDS:-60}; second++)); do
    sleep 1
    server is-active >/dev/null || continue
    if [ -n "${ATTIC_HEALTH_COMMAND:-}" ]; then
      "$ATTIC_HEALTH_COMMAND" --local >/dev/null 2>&1 9>&- && return 0
    elif [ "$second" -ge 4 ]; then
      return 0
    fi
  done
  return 1
}
