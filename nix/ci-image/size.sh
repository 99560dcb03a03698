#!/usr/bin/env bash
# Measures the CI image as a registry would hold it, and fails where it is above its budget.
#
#   size.sh FOLDER    an image as an OCI layout, with compressed layers
#
# Takes from the environment:
#   PIPELINEGEN_IMAGE_BUDGET_FILE   a file with the most bytes that all layers may have together, compressed
#   PIPELINEGEN_IMAGE_REGISTRATION  what `nix-store --load-db` would read of the image's store paths; not set: no list
#   PIPELINEGEN_IMAGE_REPORT        folder for layers.txt and closure.txt; default: this one
# Exit codes: 0 within the budget, 1 above it.
set -euo pipefail

folder=${1:?is the OCI layout to measure}
budget=$(tr -dc '0-9' <"${PIPELINEGEN_IMAGE_BUDGET_FILE:?is the file with the budget}")
report=${PIPELINEGEN_IMAGE_REPORT:-.}
mkdir -p "$report"

blob() { printf '%s/blobs/%s' "$folder" "${1/://}"; }

manifest=$(blob "$(jq -r '.manifests[0].digest' "$folder/index.json")")
config=$(blob "$(jq -r '.config.digest' "$manifest")")

# Compressed bytes, digest, and what the layer says that it holds, the largest first.
jq -r --slurpfile config "$config" '
  [$config[0].history // [] | .[] | select(.empty_layer | not) | .comment // ""] as $comments
  | .layers | to_entries | sort_by(-.value.size, .key)[]
  | [.value.size, .value.digest, ($comments[.key] // "" | gsub("/nix/store/[a-z0-9]{32}-"; "") | .[:120])] | @tsv
' "$manifest" >"$report/layers.txt"
total=$(jq '[.layers[].size] | add // 0' "$manifest")

# Its records: path, hash, size, deriver, number of references, references.
if [ -n "${PIPELINEGEN_IMAGE_REGISTRATION:-}" ]; then
  awk '
    left > 0 { left -= 1; next }
    { field += 1 }
    field == 1 { path = $0 }
    field == 3 { printf "%d\t%s\n", $0, path }
    field == 5 { left = $0; field = 0 }
  ' "$PIPELINEGEN_IMAGE_REGISTRATION" | sort -k1,1nr -k2,2 >"$report/closure.txt"
fi

MB() { awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1000000 }'; }

printf 'ci-image: %s compressed in %d layers, of %s allowed\n' \
  "$(MB "$total")" "$(wc -l <"$report/layers.txt")" "$(MB "$budget")"
if [ "$total" -gt "$budget" ]; then
  {
    printf 'error: the image is %s above its budget\n' "$(MB $((total - budget)))"
    printf '  the largest layers:\n'
    head -n 5 "$report/layers.txt" | sed 's/^/    /'
    if [ -s "$report/closure.txt" ]; then
      printf '  the largest store paths:\n'
      head -n 10 "$report/closure.txt" | sed 's/^/    /'
    fi
  } >&2
  exit 1
fi
