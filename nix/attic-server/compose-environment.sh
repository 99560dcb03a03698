# shellcheck shell=bash
# Writes the environment file of atticd, whole or not at all, and says `written` or `unchanged`.
#
#   OUTPUT                     the file to write
#   NEEDS_S3                   1 where credentials of a bucket are needed
#   ENVIRONMENT_FILE           a complete file, which is checked and taken over; or these parts:
#   TOKEN_SECRET_FILE          an RSA key in PEM, or the same in base64 on one line
#   S3_ACCESS_KEY_ID_FILE      one line
#   S3_SECRET_ACCESS_KEY_FILE  one line
#   SOURCE_HINT                what to look at where a file is missing
#
# What files hold is never said, and is never an argument of a program.
set -euo pipefail
umask 077
export LC_ALL=C

fail() {
  printf 'attic-environment: %s\n' "$1" >&2
  exit 1
}

# FILE → content, without newlines at its end.
read_file() {
  [[ -n $1 ]] || fail "no file with $2 is configured"
  [[ -e $1 ]] || fail "$1, which should hold $2, does not exist${SOURCE_HINT:+; $SOURCE_HINT}"
  [[ -f $1 ]] || fail "$1, which should hold $2, is no file"
  [[ -r $1 ]] || fail "$1, which should hold $2, cannot be read"
  content=$(tr -d '\0' <"$1")
  [[ -n ${content//[[:space:]]/} ]] || fail "$1, which should hold $2, is empty${SOURCE_HINT:+; $SOURCE_HINT}"
}

# FILE → content, which must be one word of characters that systemd takes as they are.
read_word() {
  read_file "$1" "$2"
  [[ $content != *$'\n'* ]] || fail "$1, which should hold $2, has more than one line"
  [[ $content != *[![:graph:]]* ]] || fail "$1, which should hold $2, has blanks or characters that cannot be printed"
  [[ $content != *[\"\'\\\`]* ]] || fail "$1, which should hold $2, has quotes or backslashes"
}

# FILE → secret: its key in base64. `content` is the key in PEM, or that in base64.
encode_key() {
  local pem=$content bits
  if [[ $pem != *-----BEGIN* ]]; then
    [[ $pem != *$'\n'* ]] || fail "the token secret in $1 is base64 of several lines: make it with base64 -w0"
    pem=$(base64 -d 2>/dev/null <<<"$pem" | tr -d '\0') || pem=
    [[ $pem == *-----BEGIN* ]] || fail "the token secret in $1 is neither a key in PEM nor the base64 of one"
  fi
  [[ $pem != *ENCRYPTED* ]] || fail "the token secret in $1 is protected by a passphrase, which nobody can enter"
  [[ $pem != *'PUBLIC KEY'* ]] || fail "the token secret in $1 is a public key: with it, no tokens can be made"
  bits=$(printf '%s\n' "$pem" | openssl rsa -check -noout -text 2>/dev/null | sed -n 's/.*Private-Key: (\([0-9]*\) bit.*/\1/p') ||
    fail "the token secret in $1 is no RSA key: make one with openssl genrsa -traditional 4096"
  ((bits >= 2048)) || fail "the token secret in $1 has $bits bits: at least 2048 are needed"
  secret=$(printf '%s\n' "$pem" | base64 -w0)
}

from_parts() {
  read_file "${TOKEN_SECRET_FILE:-}" "the token secret"
  encode_key "$TOKEN_SECRET_FILE"
  text="ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64=$secret"
  if [[ ${NEEDS_S3:-0} == 1 ]]; then
    read_word "${S3_ACCESS_KEY_ID_FILE:-}" "the access key of the bucket"
    text+=$'\n'"AWS_ACCESS_KEY_ID=$content"
    read_word "${S3_SECRET_ACCESS_KEY_FILE:-}" "the secret access key of the bucket"
    text+=$'\n'"AWS_SECRET_ACCESS_KEY=$content"
  fi
}

from_complete() {
  local file=$ENVIRONMENT_FILE line name number=0
  local -A values=()
  read_file "$file" "the environment of the server"
  text=$content
  while IFS= read -r line; do
    number=$((number + 1))
    [[ ${line//[[:space:]]/} != '' && $line != [\#\;]* ]] || continue
    [[ $line != *$'\r'* ]] || fail "line $number of $file ends as lines do on Windows"
    [[ $line =~ ^([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] ||
      fail "line $number of $file is not KEY=value; base64 must be on one line, as base64 -w0 makes it"
    name=${BASH_REMATCH[1]}
    content=${BASH_REMATCH[2]}
    [[ ! $content =~ ^\"(.*)\"$ && ! $content =~ ^\'(.*)\'$ ]] || content=${BASH_REMATCH[1]}
    values[$name]=$content
  done <<<"$text"
  content=${values[ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64]:-}
  if [[ -n $content ]]; then
    encode_key "$file"
  elif [[ -z ${values[ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64]:-} ]]; then
    [[ -z ${values[ATTIC_SERVER_TOKEN_RS256_SECRET]+is} ]] ||
      fail "$file sets ATTIC_SERVER_TOKEN_RS256_SECRET, which Attic does not know: its name ends in _BASE64"
    fail "$file does not set ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64"
  fi
  if [[ ${NEEDS_S3:-0} == 1 ]]; then
    for name in AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
      [[ -n ${values[$name]:-} ]] || fail "$file does not set $name"
    done
  fi
}

if [[ -n ${ENVIRONMENT_FILE:-} ]]; then from_complete; else from_parts; fi

if [[ -f $OUTPUT && $(<"$OUTPUT") == "$text" ]]; then
  echo unchanged
  exit 0
fi
temporary=$(mktemp "$OUTPUT.XXXXXX")
trap 'rm -f -- "$temporary"' EXIT
printf '%s\n' "$text" >"$temporary"
chmod 0400 "$temporary"
mv -f -- "$temporary" "$OUTPUT"
echo written
