#!/usr/bin/env bash
# Ask the cache server whether it answers, under the name that it answers to.
#
#   attic-health [--local]
#
#   ATTIC_HEALTH_LISTEN   where atticd listens, such as 127.0.0.1:8080
#   ATTIC_HEALTH_HOST     its public name: atticd refuses requests for any other
#   ATTIC_HEALTH_PUBLIC   address as clients use it, such as https://cache.example.org; empty: not asked
#   ATTIC_HEALTH_CACHE    a cache whose nix-cache-info is asked for, which wants the database; empty: the front page
#   ATTIC_METRICS_FOLDER  where the node exporter's textfile collector looks; empty: no figures
#
# --local asks atticd alone and writes no figures.
set -euo pipefail
umask 022

: "${ATTIC_HEALTH_LISTEN:=127.0.0.1:8080}"
: "${ATTIC_HEALTH_HOST:?}"
: "${ATTIC_HEALTH_PUBLIC:=}"
: "${ATTIC_HEALTH_CACHE:=}"
: "${ATTIC_HEALTH_TRIES:=3}"
: "${ATTIC_HEALTH_PAUSE:=2}"
: "${ATTIC_HEALTH_SECONDS:=10}"
: "${ATTIC_METRICS_FOLDER=/var/lib/attic-metrics}"

say() { printf 'attic-health: %s\n' "$*" >&2; }

path=/
[ -z "$ATTIC_HEALTH_CACHE" ] || path=/$ATTIC_HEALTH_CACHE/nix-cache-info

# A private cache says 401 to strangers, and only after it has looked into the database.
is_good() { [ "$1" = 200 ] || { [ -n "$ATTIC_HEALTH_CACHE" ] && [ "$1" = 401 ]; }; }

# ask URL [OPTION…]: leaves the answer's status in $code and its seconds in $seconds.
ask() {
  local answer try
  for ((try = 1; try <= ATTIC_HEALTH_TRIES; try++)); do
    [ "$try" = 1 ] || sleep "$ATTIC_HEALTH_PAUSE"
    answer=$(curl --silent --show-error --noproxy '*' --max-time "$ATTIC_HEALTH_SECONDS" --output /dev/null \
      --write-out '%{http_code} %{time_total}' "${@:2}" "$1$path") || true
    code=${answer%% *} seconds=${answer##* }
    is_good "${code:-000}" && return 0
    say "try $try of $ATTIC_HEALTH_TRIES: $1$path: status ${code:-000} after ${seconds:-?} s"
  done
  return 1
}

failed=0 lines=()
note() { # WHICH UP
  lines+=("attic_health_up{target=\"$1\"} $2" "attic_health_response_seconds{target=\"$1\"} ${seconds:-0}")
}

code='' seconds=''
if ask "http://$ATTIC_HEALTH_LISTEN" --header "Host: $ATTIC_HEALTH_HOST"; then
  note local 1
else
  note local 0
  failed=1
fi
[ "${1:-}" != --local ] || exit "$failed"

if [ -n "$ATTIC_HEALTH_PUBLIC" ]; then
  code='' seconds=''
  if ask "$ATTIC_HEALTH_PUBLIC"; then
    note public 1
  else
    note public 0
    failed=1
  fi
fi

if [ -n "$ATTIC_METRICS_FOLDER" ]; then
  mkdir -p -- "$ATTIC_METRICS_FOLDER"
  {
    printf '# HELP attic_health_up Whether the cache server answered as it should.\n# TYPE attic_health_up gauge\n'
    printf '%s\n' "${lines[@]}" | grep '^attic_health_up'
    printf '# HELP attic_health_response_seconds How long its answer took.\n# TYPE attic_health_response_seconds gauge\n'
    printf '%s\n' "${lines[@]}" | grep '^attic_health_response_seconds'
    printf '# HELP attic_health_last_check_timestamp_seconds When it was last asked.\n'
    printf '# TYPE attic_health_last_check_timestamp_seconds gauge\nattic_health_last_check_timestamp_seconds %s\n' "$(date +%s)"
  } >"$ATTIC_METRICS_FOLDER/attic-health.prom.new"
  mv -- "$ATTIC_METRICS_FOLDER/attic-health.prom.new" "$ATTIC_METRICS_FOLDER/attic-health.prom"
fi
[ "$failed" = 0 ] || say "the cache server does not answer as it should"
exit "$failed"
