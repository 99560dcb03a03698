#!/usr/bin/env bash
# Keeps a reserve of free space on the disk of the Nix store: deletes what is missing to it, and no more.
#
# What a root leads to stays, and so does what a running build uses. Jobs in containers leave roots where the
# collector cannot see them, though: the folder that a root points to is in the container. So nothing is deleted while
# jobs run, unless so little is free that they would fail anyway.
#
#   RESERVE_MB     MiB to be free
#   EMERGENCY_MB   MiB below which running jobs are not waited for
#   BUSY           a program that ends with 0 while jobs use the store; empty where none ever do
#   STORE_FOLDER   the store (/nix/store)
#   GENERATIONS    which generations of PROFILE may go where it does not suffice otherwise: `30d`, `+5`; empty for none
#   PROFILE        the system's profile (/nix/var/nix/profiles/system)
#
# Ends with 1 where the reserve cannot be had.
set -euo pipefail

reserve=${RESERVE_MB:?}
emergency=${EMERGENCY_MB:?}
store=${STORE_FOLDER:-/nix/store}
profile=${PROFILE:-/nix/var/nix/profiles/system}
generations=${GENERATIONS:-}

free_mb() {
  local line
  line=$(df --output=avail --block-size=1M "$store" | tail -n 1)
  echo $((line))
}

# Nix counts what it deletes by the sizes of files. The disk may have less of it free, as with files that others are
# linked to, so this looks again, and ends when a round has brought nothing.
collect() {
  local before
  while before=$(free_mb) && [ "$before" -lt "$reserve" ]; do
    nix-store --quiet --gc --max-freed $(((reserve - before) * 1024 * 1024)) >/dev/null
    [ "$(free_mb)" -gt "$before" ] || return 1
  done
}

free=$(free_mb)
if [ "$free" -ge "$reserve" ]; then
  echo "$free MiB are free, $reserve are to be: nothing to do" >&2
  exit 0
fi

if [ -n "${BUSY:-}" ] && "$BUSY"; then
  if [ "$free" -ge "$emergency" ]; then
    echo "$free MiB are free, $reserve are to be: waiting until no job runs" >&2
    exit 0
  fi
  echo "only $free MiB are free: not waiting for the jobs that run; one may find a path gone and fail" >&2
fi

if ! collect && [ -n "$generations" ] && [ -e "$profile" ]; then
  echo "not enough: generations of $profile go ($generations)" >&2
  nix-env --profile "$profile" --delete-generations "$generations"
  collect || true
fi

now=$(free_mb)
if [ "$now" -lt "$reserve" ]; then
  echo "error: only $now MiB are free, $reserve are to be, and nothing more can be deleted" >&2
  echo "hint: see what keeps paths: nix-store --gc --print-roots; what else is there: du -xh / | sort -h | tail" >&2
  exit 1
fi
echo "$now MiB are free now, $free were" >&2
