#!/usr/bin/env bash
# Is this container fit for pipelinegen's jobs? Run inside the CI image, as a job would run: without arguments,
# without network. Says one line per check; exit code 1 where one of them failed.
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
made=0
failures=0

# check NAME FUNCTION: every check is made, whatever became of those before.
check() {
  local said code=0
  made=$((made + 1))
  # Not as a condition, or `set -e` would be off in the function.
  set +e
  said=$(
    set -e
    "$2" 2>&1
  )
  code=$?
  set -e
  if [ "$code" -eq 0 ]; then
    printf 'ok    %s\n' "$1"
  else
    failures=$((failures + 1))
    printf 'FAIL  %s\n' "$1"
    tail -n 5 <<<"$said" | sed 's/^/        /'
  fi
}

problem() {
  printf '%s\n' "$*"
  return 1
}

tools=(attic bash cat curl diff find awk git grep sed tar gzip jq nix nix-build nix-store nix-eval-jobs
  nixos-rebuild ssh ssh-keygen xz zstd pipelinegen)

tools_are_there() {
  local tool missing=()
  for tool in "${tools[@]}"; do
    [ -x "$(command -v "$tool")" ] || missing+=("$tool")
  done
  [ ${#missing[@]} -eq 0 ] || problem "not there: ${missing[*]}"
}

# nixos-rebuild has no --version, and its --help wants a pager.
tools_answer() {
  local tool
  for tool in attic bash curl git jq nix nix-store pipelinegen tar xz zstd; do
    "$tool" --version >"$work/answer" 2>&1 || {
      cat "$work/answer"
      problem "$tool --version fails"
    }
  done
  ssh -V 2>"$work/answer" || problem 'ssh -V fails'
  nix-eval-jobs --help >"$work/answer" 2>&1 || problem 'nix-eval-jobs --help fails'
}

shells_are_where_scripts_look() {
  [ -x /bin/sh ] || problem 'there is no /bin/sh'
  [ -x /bin/bash ] || problem 'there is no /bin/bash'
  printf '#!/usr/bin/env bash\nexit 0\n' >"$work/script"
  chmod +x "$work/script"
  "$work/script"
}

user_is_known() {
  id -un >/dev/null
  [ -n "${HOME:-}" ] || problem 'HOME is not set'
  touch "$HOME/.smoke-test" || problem "HOME=$HOME is no folder that can be written to"
  rm "$HOME/.smoke-test"
}

certificates_are_there() {
  local name file
  for name in SSL_CERT_FILE NIX_SSL_CERT_FILE GIT_SSL_CAINFO; do
    file=${!name:-}
    [ -n "$file" ] || problem "$name is not set"
    grep -q 'BEGIN CERTIFICATE' "$file" || problem "$name=$file holds no certificate"
  done
  grep -q 'BEGIN CERTIFICATE' /etc/ssl/certs/ca-certificates.crt
}

temporary_folders_are_shared() {
  local folder
  for folder in /tmp /var/tmp; do
    [ "$(stat -c %a "$folder")" = 1777 ] || problem "$folder has mode $(stat -c %a "$folder"), not 1777"
    rm "$(mktemp -p "$folder")"
  done
}

nix_evaluates() {
  [ "$(nix-instantiate --eval --expr '1 + 1')" = 2 ]
  [ "$(nix eval --raw --impure --expr '"flakes and commands"')" = 'flakes and commands' ]
}

# A build of its own, which no store has: what it printed, on stdout.
build() {
  nix-build --no-out-link --option substitute false --expr "derivation {
    name = \"smoke-test\";
    system = builtins.currentSystem;
    builder = \"/bin/sh\";
    args = [ \"-c\" ''$1'' ];
    moment = \"$(date +%s%N)\";
  }"
}

nix_builds() {
  local path
  path=$(build "echo built > \$out")
  [ "$(<"$path")" = built ]
}

# A job's environment holds its tokens. A sandbox hides the process, and another user may not look into it.
a_build_cannot_read_its_job() {
  local path
  SMOKE_TEST_TOKEN="token-$(date +%s%N)"
  export SMOKE_TEST_TOKEN
  path=$(build "
    for file in /proc/[0-9]*/environ; do
      while IFS= read -r text || [ -n \"\$text\" ]; do
        case \$text in *$SMOKE_TEST_TOKEN*) echo open > \$out ;; esac
        text=
      done < \$file
    done
    [ -e \$out ] || echo closed > \$out")
  [ "$(<"$path")" = closed ] || problem 'a build can read the environment of its job, and the tokens in it'
}

git_clones_what_another_user_owns() {
  [ "$(id -u)" -eq 0 ] || return 0
  git init -q "$work/repository"
  git -C "$work/repository" -c user.name=smoke -c user.email=smoke@example.org commit -q --allow-empty -m smoke
  chown -R 12345:12345 "$work/repository"
  git -C "$work/repository" status --short
  git clone -q "$work/repository" "$work/clone"
}

ssh_knows_its_user() {
  ssh -G host.example.org | grep -q '^hostname host.example.org$'
  ssh-keygen -q -t ed25519 -N '' -f "$work/key"
}

store_is_sound() {
  nix-store --verify --check-contents
}

# A path that Nix does not know, or would delete, is a tool that is gone after `nix-collect-garbage`.
tools_survive_garbage_collection() {
  local tool file path lost=()
  nix-store --gc --print-dead >"$work/dead" 2>/dev/null
  for tool in "${tools[@]}"; do
    file=$(readlink -f "$(command -v "$tool")")
    path=${file#/nix/store/}
    [ "$path" != "$file" ] || continue
    path=/nix/store/${path%%/*}
    if grep -qxF "$path" "$work/dead" || ! nix-store --check-validity "$path" 2>/dev/null; then
      lost+=("$tool")
    fi
  done
  [ ${#lost[@]} -eq 0 ] || problem "no root keeps: ${lost[*]}"
}

check 'every tool is there' tools_are_there
check 'every tool answers' tools_answer
check 'sh, bash and env are where scripts look for them' shells_are_where_scripts_look
check 'the user has a name and a home' user_is_known
check 'certificates are there' certificates_are_there
check '/tmp and /var/tmp are for everybody' temporary_folders_are_shared
check 'Nix evaluates' nix_evaluates
check 'Nix builds without network' nix_builds
check "a build cannot read its job's environment" a_build_cannot_read_its_job
check 'git works in a repository that another user owns' git_clones_what_another_user_owns
check 'ssh knows its user' ssh_knows_its_user
check 'the store is as Nix remembers it' store_is_sound
check 'garbage collection keeps the tools' tools_survive_garbage_collection

if [ "$failures" -gt 0 ]; then
  printf 'error: %d of %d checks failed\n' "$failures" "$made" >&2
  exit 1
fi
