# shellcheck shell=bash
# The copies in a second bucket: NAME.sql.zst.age (or .sql.zst where nothing is encrypted) and NAME.json, by rclone.
#
#   ATTIC_OFFSITE         remote and folder as rclone names them, such as offsite:bucket/atticd; empty: none.
#                         The remote is described by RCLONE_CONFIG_OFFSITE_* variables
#   ATTIC_AGE_RECIPIENTS  public keys of age, separated by blanks; a dump holds the signing keys of the caches
#   ATTIC_OFFSITE_PRUNE   1: delete outdated copies (needs a key that may); 0: the bucket's lifecycle does it

: "${ATTIC_OFFSITE:=}"
: "${ATTIC_OFFSITE_PRUNE:=1}"
: "${ATTIC_RCLONE_SECONDS:=3600}"

# No file of settings, no questions, and an end in any case; `again` is what repeats.
remote() (
  # shellcheck disable=SC2154 # an array of common.sh
  export RCLONE_CONFIG=/dev/null "${secrets[@]}"
  exec timeout --foreground --kill-after=10 "$ATTIC_RCLONE_SECONDS" \
    rclone --quiet --ask-password=false --retries=1 --low-level-retries=3 --contimeout=15s --timeout=60s "$@"
)

# "SIZE NAME" of every file there. Fails when it cannot be known; a folder that is not there is an empty one.
offsite_files() {
  local listing status=0
  listing=$(remote lsf --files-only --format sp --separator ' ' "$ATTIC_OFFSITE") || status=$?
  [ "$status" = 0 ] || [ "$status" = 3 ] || return 1
  [ -z "$listing" ] || printf '%s\n' "$listing"
}

# Names of finished copies, the oldest first, from the list of `offsite_files` on stdin.
offsite_names() {
  awk '
    { sub(/^[0-9]+ /, "") }
    /-[0-9]+T[0-9]+Z-[0-9a-f]+\.json$/ { sub(/\.json$/, ""); manifest[$0] = 1; next }
    sub(/\.sql\.zst(\.age)?$/, "") { dump[$0] = 1 }
    END { for (name in manifest) if (name in dump) print name }' | LC_ALL=C sort
}

offsite_manifest() { remote cat "$ATTIC_OFFSITE/$1.json"; }

# Does the copy there have these bytes? Read back whole: hashes that a server tells differ from one kind to another.
same_there() {
  local there
  there=$(remote cat "$ATTIC_OFFSITE/$1" | sha256sum | cut -d' ' -f1) || return 1
  [ "$there" = "$2" ] || { say "the copy of $1 there is not what was sent"; return 1; }
}

send() { remote copyto "$1" "$ATTIC_OFFSITE/$2" && same_there "$2" "$(file_hash "$1")"; }

# Is NAME there, as large as its manifest says, made of the dump that is here and for whom it should be?
offsite_has() {
  local name=$1 files manifest file size
  files=$(offsite_files) || return 1
  grep -qE "^[0-9]+ $name\.json$" <<<"$files" || return 1
  manifest=$(offsite_manifest "$name") || return 1
  [ "$(jq --raw-output .sha256 <<<"$manifest")" = "$(jq --raw-output .sha256 "$ATTIC_BACKUP_FOLDER/$name.json")" ] ||
    return 1
  [ "$(jq --raw-output .copy.recipients <<<"$manifest")" = "${ATTIC_AGE_RECIPIENTS:-}" ] || return 1
  file=$(jq --raw-output '.copy.file' <<<"$manifest")
  size=$(jq --raw-output '.copy.size' <<<"$manifest")
  grep -qxF "$size $file" <<<"$files"
}

# offsite_push NAME: encrypt, send, read back; the manifest last.
offsite_push() {
  local name=$1 source=$ATTIC_BACKUP_FOLDER/$1.sql.zst sent recipient files arguments=() file=$1.sql.zst
  if offsite_has "$name"; then
    say "$name is off-site already"
    return 0
  fi
  sent=$source
  if [ -n "${ATTIC_AGE_RECIPIENTS:-}" ]; then
    for recipient in $ATTIC_AGE_RECIPIENTS; do arguments+=(--recipient "$recipient"); done
    file+=.age
    sent=$ATTIC_BACKUP_FOLDER/.new.$file
    age --encrypt "${arguments[@]}" --output "$sent" "$source" || { say "cannot encrypt $name"; return 1; }
  fi
  jq --sort-keys --arg file "$file" --arg sha256 "$(file_hash "$sent")" --argjson size "$(file_size "$sent")" \
    --arg recipients "${ATTIC_AGE_RECIPIENTS:-}" \
    '. + {copy: {file: $file, sha256: $sha256, size: $size, recipients: $recipients}}' \
    "$ATTIC_BACKUP_FOLDER/$name.json" >"$ATTIC_BACKUP_FOLDER/.new.$name.json" || return 1
  again send "$sent" "$file" && again send "$ATTIC_BACKUP_FOLDER/.new.$name.json" "$name.json" || return 1
  rm -f -- "$ATTIC_BACKUP_FOLDER"/.new.*
  # Sent before there were recipients: anybody could read it.
  files=$(offsite_files) || return 1
  if [[ $file == *.age ]] && grep -qE "^[0-9]+ $name\.sql\.zst$" <<<"$files"; then
    remote deletefile "$ATTIC_OFFSITE/$name.sql.zst" || say "warning: the copy of $name that is not encrypted cannot be deleted"
  fi
}

# offsite_download NAME FOLDER: the copy as it is there, with its manifest; it is what was sent.
offsite_download() {
  local name=$1 folder=$2 file
  again remote copyto "$ATTIC_OFFSITE/$name.json" "$folder/$name.json" || return 1
  file=$(jq --raw-output .copy.file "$folder/$name.json") || return 1
  [[ $file == "$name".sql.zst || $file == "$name".sql.zst.age ]] || { say "$name.json names another file"; return 1; }
  again remote copyto "$ATTIC_OFFSITE/$file" "$folder/$file" || return 1
  [ "$(file_hash "$folder/$file")" = "$(jq --raw-output .copy.sha256 "$folder/$name.json")" ] ||
    { say "$file is not what was sent off-site"; return 1; }
}

# open_dump FILE.age RESULT: decrypt with ATTIC_AGE_IDENTITY.
open_dump() {
  [ -n "${ATTIC_AGE_IDENTITY:-}" ] || { say "$(basename "$1") is encrypted: --identity FILE is needed"; return 1; }
  age --decrypt --identity "$ATTIC_AGE_IDENTITY" --output "$2" "$1" ||
    { say "$(basename "$1") cannot be decrypted with $ATTIC_AGE_IDENTITY"; return 1; }
}

# offsite_fetch NAME FOLDER: the copy into FOLDER/NAME.sql.zst, decrypted, as its manifest says.
offsite_fetch() {
  local name=$1 folder=$2
  offsite_download "$name" "$folder" || return 1
  [ -e "$folder/$name.sql.zst" ] || open_dump "$folder/$name.sql.zst.age" "$folder/$name.sql.zst" || return 1
  as_manifest_says "$folder" "$name"
}

# Delete copies that may go. What cannot be deleted only costs; it is said.
offsite_prune() {
  local files name lines='' gone file
  files=$(offsite_files) || return 1
  # Reading the manifests is a request for each.
  [ -n "$(offsite_names <<<"$files" | sed 's/$/ 1/' | outdated "$1")" ] || return 0
  while read -r name; do
    [ -n "$name" ] || continue
    # A manifest that cannot be read counts as one without caches: it makes no other go.
    lines+="$name $(offsite_manifest "$name" | jq --raw-output '.tables.cache // 0' 2>/dev/null || echo 0)"$'\n'
  done < <(offsite_names <<<"$files")
  gone=$(printf '%s' "$lines" | outdated "$1")
  for name in $gone; do
    # The manifest first: what is left of a copy then counts as none.
    for file in "$name.json" "$name.sql.zst.age" "$name.sql.zst"; do
      grep -qE "^[0-9]+ ${file//./\\.}$" <<<"$files" || continue
      remote deletefile "$ATTIC_OFFSITE/$file" || say "warning: $file is outdated and cannot be deleted off-site"
    done
  done
}
