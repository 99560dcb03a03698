# shellcheck shell=bash
# Composes the environment file anew, and has atticd take it over where it differs. Where the secrets were missing
# before, the server is started now. Where they cannot be used, everything stays as it is.
#
#   SETTLE  seconds in which nothing may change any more: 1
set -euo pipefail

# Several secrets change one after the other, and systemd does not tell of what changes while this runs.
said=written
while [[ $said == written ]]; do
  sleep "${SETTLE:-1}"
  said=$(attic-environment)
  if ! systemctl --quiet is-active attic-environment.service; then
    systemctl --no-block start atticd.service
  elif [[ $said == written ]]; then
    systemctl --no-block try-restart atticd.service
  fi
done
