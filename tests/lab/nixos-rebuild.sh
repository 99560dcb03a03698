#!/bin/sh
# A stand-in for nixos-rebuild, by what its manual and its source say it does with --target-host: copies the closure
# with nix-copy-closure, looks for nixos-version, sets the profile, and runs switch-to-configuration in a transient
# unit over ssh, whose exit code it passes on. It evaluates nothing and knows what deployments use.
#
#   NIXOS_REBUILD   which one it is: `ng` (the default), `ng-without-man` (its help is a manual that nobody can show),
#                   `shell` (the older script, without --store-path, --no-reexec and --sudo)
set -eu
kind=${NIXOS_REBUILD:-ng}
action='' system='' flake='' host='' sudo='' copy='' unknown=''

while [ $# -gt 0 ]; do
  word=$1
  shift
  case $kind,$word in
    ng,--help)
      echo 'usage: nixos-rebuild [--use-substitutes] [--flake [FLAKE]] [--store-path STORE_PATH] [--sudo]'
      echo '                     [--no-reexec] [--target-host TARGET_HOST] {switch,boot,test,dry-activate}'
      exit 0
      ;;
    *,--help)
      echo "man: command not found" >&2
      exit 1
      ;;
    *,switch | *,boot | *,test | *,dry-activate | *,dry-build) action=$word ;;
    ng*,--store-path) system=$1 && shift ;;
    ng*,--store-path=*) system=${word#*=} ;;
    ng*,--no-reexec | *,--fast) ;;
    ng*,--sudo | *,--use-remote-sudo) sudo="sudo ${NIX_SUDOOPTS:-}" ;;
    *,--use-substitutes) copy=--use-substitutes ;;
    *,--flake) flake=$1 && shift ;;
    *,--target-host) host=$1 && shift ;;
    shell,*)
      echo "$0: unknown option \`$word'" >&2
      exit 1
      ;;
    *) unknown="$unknown $word" ;;
  esac
done
if [ -n "$unknown" ]; then
  echo "usage: nixos-rebuild …" >&2
  echo "nixos-rebuild: error: unrecognized arguments:$unknown" >&2
  exit 2
fi

on_host() {
  # shellcheck disable=SC2029,SC2086  # as the real ones do
  ssh ${NIX_SSHOPTS:-} -o ControlMaster=auto -o ControlPersist=60 -o ControlPath=/nonexistent/ssh-%n "$host" -- "$@"
}

echo "building the system configuration..." >&2
if [ -z "$system" ]; then
  attribute="nixosConfigurations.\"${flake#*#}\".config.system.build.toplevel"
  system=$(nix --extra-experimental-features 'nix-command flakes' eval --raw "${flake%%#*}#$attribute.outPath")
fi
# shellcheck disable=SC2086
nix-copy-closure $copy --to "$host" "$system"
if ! on_host test -f "$system/nixos-version"; then
  echo "error: your NixOS configuration path seems to be missing essential files." >&2
  exit 1
fi
case $action in
  # shellcheck disable=SC2086
  switch | boot) on_host $sudo nix-env -p /nix/var/nix/profiles/system --set "$system" ;;
esac
# shellcheck disable=SC2086
on_host $sudo systemd-run -E LOCALE_ARCHIVE= -E NIXOS_INSTALL_BOOTLOADER=0 --collect --no-ask-password --pipe --quiet \
  --service-type=exec --unit=nixos-rebuild-switch-to-configuration \
  "$system/bin/switch-to-configuration" "$action" || {
  code=$?
  echo "Command 'ssh … switch-to-configuration $action' returned non-zero exit status $code." >&2
  exit $code
}
echo "Done. The new configuration is $system"
