# Switches the running machine to the system in $toplevel (set above), with the words and exit codes of
# NixOS's own switch-to-configuration:
#
#   check         may this machine switch to it at all?
#   switch        make it the running system, and the one that the next boot takes
#   test          make it the running system
#   boot          make it the one that the next boot takes; the boot loader here is a file that names it
#   dry-activate  say what `switch` would do
#
# The caller has set the profile, or has not.
#
#   0 done   1 wrong use, or the boot loader could not be written   2 the activation failed   4 a unit failed
#   11 another switch is running   100 needs a reboot
set -u
export PATH=/run/current-system/sw/bin:/usr/sbin:/usr/bin:/sbin:/bin

action=${1-}
case $action in
  check | switch | boot | test | dry-activate) ;;
  *)
    echo "usage: switch-to-configuration [check|switch|boot|test|dry-activate]" >&2
    exit 1
    ;;
esac
if [ "$(id -u)" != 0 ]; then
  echo "switch-to-configuration: must be run as root" >&2
  exit 1
fi

mkdir -p /run/nixos
exec 9> /run/nixos/switch-to-configuration.lock
if ! flock -n 9; then
  echo "Could not acquire lock" >&2
  exit 11
fi

# As in NixOS the boot loader comes first: where it fails, the machine goes on as it was.
case $action in
  switch | boot)
    if ! mkdir -p /boot || ! printf '%s\n' "$toplevel" > /boot/loader-entry.new ||
      ! mv /boot/loader-entry.new /boot/loader-entry; then
      echo "Failed to install bootloader" >&2
      exit 1
    fi
    ;;
esac
case $action in
  check | boot) exit 0 ;;
esac

previous=$(readlink -f /run/current-system || true)
if [ -e "$previous/init-interface-version" ] &&
  ! cmp -s "$previous/init-interface-version" "$toplevel/init-interface-version"; then
  echo "This configuration requires a reboot (the init interface version differs)" >&2
  exit 100
fi

# Which units stop, restart and start. A unit is restarted when its file differs.
stop='' restart='' start=''
for file in "$previous"/etc/systemd/system/*.service; do
  unit=${file##*/}
  if [ -e "$file" ] && [ ! -e "$toplevel/etc/systemd/system/$unit" ]; then
    stop="$stop $unit"
  fi
done
for file in "$toplevel"/etc/systemd/system/*.service; do
  [ -e "$file" ] || continue
  unit=${file##*/}
  if ! systemctl is-active --quiet "$unit"; then
    start="$start $unit"
  elif ! cmp -s "$file" "$previous/etc/systemd/system/$unit"; then
    restart="$restart $unit"
  fi
done

tell() {
  [ -z "$2" ] || echo "$1 the following units:$2" >&2
}

if [ "$action" = dry-activate ]; then
  tell "would stop" "$stop"
  tell "would restart" "$restart"
  tell "would start" "$start"
  exit 0
fi

result=0
tell "stopping" "$stop"
for unit in $stop; do
  systemctl stop "$unit"
  rm -f "/run/systemd/system/$unit"
done

echo "activating the configuration..." >&2
"$toplevel/activate" || result=2

mkdir -p /run/systemd/system
for file in "$toplevel"/etc/systemd/system/*.service; do
  [ ! -e "$file" ] || ln -sfn "$file" /run/systemd/system/
done
systemctl daemon-reload || result=1
systemctl reset-failed || true

tell "restarting" "$restart"
tell "starting" "$start"
failed=''
for unit in $restart $start; do
  systemctl restart "$unit" || failed="$failed $unit"
done
if [ -n "$failed" ]; then
  echo "warning: the following units failed:$failed" >&2
  result=4
fi
exit $result
