#!/usr/bin/env bash
# Ends with 0 while a job runs here, and with 1 where none does. Not to know is as if one ran.
#
#   METRICS_URL   of the runner's own metrics
set -euo pipefail

url=${METRICS_URL:?}

if ! metrics=$(curl --silent --show-error --fail --max-time 10 "$url"); then
  echo "the runner does not say whether jobs run; as if some did" >&2
  exit 0
fi
# No line of `gitlab_runner_jobs` is there while nothing runs.
running=$(awk '/^gitlab_runner_jobs[{ ]/ { sum += $NF } END { print sum + 0 }' <<<"$metrics")
echo "jobs that run: $running" >&2
[ "$running" -gt 0 ]
