#!/usr/bin/env bash
# Deletes the shell executor's checkouts that no job has used for some days, whole: half a checkout would be a broken one.
#
#   BUILDS_FOLDER   where the runner keeps them
#   BUILDS_DAYS     days
#   BUSY            a program that ends with 0 while jobs run; nothing is deleted then
set -euo pipefail

folder=${BUILDS_FOLDER:?}
days=${BUILDS_DAYS:?}

[ -d "$folder" ] || exit 0
if [ -n "${BUSY:-}" ] && "$BUSY"; then
  echo "jobs run: nothing is deleted" >&2
  exit 0
fi

cd "$folder"
# Every job fetches and checks out, which writes files right in .git.
find . -name .git -type d -prune -print0 | while IFS= read -r -d '' git; do
  if [ -z "$(find "$git" -maxdepth 1 -mtime "-$days" -print -quit)" ]; then
    project=$(dirname "$git")
    echo "unused for $days days: $project" >&2
    # GitLab keeps file variables of a job beside its checkout.
    rm -rf -- "$project" "$project.tmp"
    rmdir --parents --ignore-fail-on-non-empty -- "$(dirname "$project")"
  fi
done
