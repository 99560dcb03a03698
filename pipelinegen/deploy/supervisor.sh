# Runs on the host, as a transient systemd unit: activates a system, waits for our word that all is well, and makes
# it the one to boot; without that word it brings back exactly what ran before. It needs nobody: not the job that
# started it, not the network. What the next boot takes is untouched until the word came, so that a reboot leads back.
#
#   FOLDER/order     key=value: what to do (see `supervisor.Order`)
#   FOLDER/status    key=value: how far it is; replaced at once, never half written
#   FOLDER/contact   changed from outside by every sign of life
#   FOLDER/decision  `confirm` or `undo REASON`; made by a hard link, so that of two only the first counts
#
# The record in /var/lib/pipelinegen holds the same lines as `status` and survives a reboot. Its room on the disk is
# taken in the beginning: it must not be lost when the new system fills the disk.
#
# POSIX sh; the whole text is read before anything happens, since `main` is called in its last line.
set -u
umask 077

runtime=/run/pipelinegen
state=/var/lib/pipelinegen
profile=/nix/var/nix/profiles/system
roots=/nix/var/nix/gcroots/pipelinegen
system_lock=/run/nixos/switch-to-configuration.lock
tab=$(printf '\t')

action='' system='' previous='' previous_profile='' revision='' log_folder='' no_check=''
activation_seconds=240 confirm_seconds=30 limit_seconds=1800
phase=starting result='' reason='' log_file='' activation_exit='' restore_exit='' boot_exit='' booted='' decided='' record=''

read_order() {
  while IFS='=' read -r key value; do
    case $key in
      action) action=$value ;;
      system) system=$value ;;
      previous) previous=$value ;;
      previous_profile) previous_profile=$value ;;
      revision) revision=$value ;;
      log_folder) log_folder=$value ;;
      no_check) no_check=$value ;;
      activation_seconds) activation_seconds=$value ;;
      confirm_seconds) confirm_seconds=$value ;;
      limit_seconds) limit_seconds=$value ;;
    esac
  done < "$folder/order"
}

# Seconds since the boot: unlike the date, it never jumps.
now() {
  read -r uptime _ < /proc/uptime
  echo "${uptime%%.*}"
}

lines() {
  printf '%s\n' "id=$id" "action=$action" "phase=$phase" "result=$result" "reason=$reason" "system=$system" \
    "previous=$previous" "previous_profile=$previous_profile" "revision=$revision" \
    "activation_exit=$activation_exit" "restore_exit=$restore_exit" "boot_exit=$boot_exit" \
    "boot_id=$booted" "log_file=$log_file" "time=$(date -u +%Y-%m-%dT%H:%M:%SZ)" "end="
}

# In place, into room that is there already; `end` is the last line, and what follows it is of an earlier text.
write_record() {
  [ -z "$1" ] || lines | dd of="$1" bs=4096 iflag=fullblock conv=notrunc,fsync 2> /dev/null
}

tell() {
  phase=$1
  # A status that cannot be replaced any more must not stand: then the record tells.
  { lines > "$folder/status.new" && mv "$folder/status.new" "$folder/status"; } ||
    rm -f "$folder/status.new" "$folder/status"
  write_record "$record"
}

finish() {
  result=$1 reason=${2-$reason}
  exec 8>&-
  [ -z "$record" ] || keep_log
  tell ended
  rm -f "$roots/$id-new" "$roots/$id-previous"
  echo "ended: $result${reason:+: $reason}"
  exit 0
}

reserve() {
  head -c 4096 /dev/zero | tr '\000' '\n' > "$1" && sync "$1"
}

prepare() {
  file=$state/activations/$id
  mkdir -p "$state/activations" "$roots" || return
  # What was left by those that were killed, or that a reboot ended. We hold the lock: none of them lives.
  rm -f "$state"/deployed.pipelinegen-* "$roots"/pipelinegen-*
  find "$runtime" -mindepth 1 -maxdepth 1 -type d -name 'pipelinegen-*' -mmin +60 -exec rm -rf {} +
  # Records of the last activations, of which their names are all that may be in this folder.
  ls -1t "$state/activations" | tail -n +20 | while IFS= read -r old; do rm -f "$state/activations/$old"; done
  if reserve "$file" && reserve "$state/deployed.$id" &&
    ln -sfn "$system" "$roots/$id-new" && ln -sfn "$previous" "$roots/$id-previous"; then
    record=$file
    return
  fi
  rm -f "$file" "$state/deployed.$id" "$roots/$id-new" "$roots/$id-previous"
  return 1
}

# Everything that the unit printed, for whoever looks on the host; that it cannot be kept is no reason to fail.
keep_log() {
  [ -n "$log_folder" ] || return
  mkdir -p "$log_folder" || return
  timeout 5 journalctl --sync 2> /dev/null
  file=$log_folder/$(date -u +%Y%m%dT%H%M%SZ)-$id.log
  if timeout 20 journalctl --unit="$id.service" --output=short-iso --no-pager > "$file.new" 2> /dev/null; then
    mv "$file.new" "$file" && log_file=$file
  else
    rm -f "$file.new"
  fi
  ls -1t "$log_folder" | grep -E '^[0-9TZ]+-pipelinegen-[0-9a-f]+\.log$' | tail -n +101 |
    while IFS= read -r old; do rm -f "$log_folder/$old"; done
}

# `timeout` ends it with everything it started itself; 124 and 137 are its exit codes then.
bounded() { (umask 022 && exec timeout -k 15 "$activation_seconds" "$@" 7>&- 8>&- 9>&- < /dev/null); }

switch_to() { bounded "$1/bin/switch-to-configuration" "$2"; }

# Another switch may hold NixOS's lock for a moment; what must be done is tried again while it does.
insist() {
  tries=0
  while :; do
    switch_to "$1" "$2"
    code=$?
    tries=$((tries + 1))
    if [ $code -ne 11 ] || [ $tries -ge 15 ]; then return $code; fi
    sleep 2
  done
}

running() { readlink -f /run/current-system; }
booting() { if [ -e "$profile" ]; then readlink -f "$profile"; fi; }

set_profile() {
  if [ -n "$1" ]; then
    bounded nix-env --profile "$profile" --set "$1"
  else
    rm -f "$profile"
  fi
}

# Where it cannot be written down, it counts all the same.
decide() {
  decided=$1
  printf '%s\n' "$1" > "$folder/decision.supervisor" &&
    ln "$folder/decision.supervisor" "$folder/decision" 2> /dev/null
  rm -f "$folder/decision.supervisor"
}

# Waits for the decision, and makes it where nobody else does.
wait_for_decision() {
  # While we wait nobody else may switch: to what would we return?
  mkdir -p /run/nixos
  # `command`: without the lock we wait all the same, where `exec` alone would end the shell.
  command exec 8<> "$system_lock" && flock -n 8
  tell waiting
  seen=$(cat "$folder/contact" 2> /dev/null)
  heard=$(now)
  while [ -z "$decided" ] && [ ! -e "$folder/decision" ]; do
    contact=$(cat "$folder/contact" 2> /dev/null)
    if [ "$contact" != "$seen" ]; then seen=$contact heard=$(now); fi
    if [ $(($(now) - heard)) -ge "$confirm_seconds" ]; then
      decide "undo nobody confirmed it: no sign of life for $confirm_seconds s"
    elif [ $(($(now) - begun)) -ge "$limit_seconds" ]; then
      decide "undo it was not confirmed within $limit_seconds s"
    else
      sleep 1 8>&- 9>&-
    fi
  done
  exec 8>&-
  if [ -e "$folder/decision" ]; then read -r decided < "$folder/decision"; fi
}

# Back to what ran before, by that system's own script: it need not know us.
restore() {
  tell restoring
  # What a system wants to be checked before a switch must not forbid the way back to it.
  export NIXOS_NO_CHECK=1
  echo "restoring $previous${reason:+: $reason}"
  insist "$previous" test
  restore_exit=$?
  case $restore_exit in
    0 | 4) if [ "$(running)" = "$previous" ]; then finish restored; fi ;;
  esac
  finish restore-failed
}

commit() {
  tell committing
  if ! set_profile "$system"; then
    boot_exit=profile
    finish boot-failed "the profile could not be set"
  fi
  insist "$system" boot
  boot_exit=$?
  if [ "$boot_exit" -ne 0 ]; then
    echo "the boot loader could not be installed (exit code $boot_exit); the next boot takes what it took before"
    reason="switch-to-configuration boot ended with $boot_exit"
    set_profile "$previous_profile" || reason="$reason; the profile could not be set back"
    if [ -n "$previous_profile" ] && ! insist "$previous_profile" boot; then
      reason="$reason; the boot loader entry before it could not be installed again"
    fi
    finish boot-failed
  fi
  remember
  finish confirmed
}

# What pipelines gave this host last, for the next one's pre-flight.
remember() {
  result=confirmed
  write_record "$state/deployed.$id" && mv "$state/deployed.$id" "$state/deployed" && sync "$state"
}

# Something was confirmed and proved bad later: the systems that ran and booted before become that again.
go_back() {
  tell restoring
  export NIXOS_NO_CHECK=1
  insist "$system" test
  restore_exit=$?
  failed=''
  case $restore_exit in
    0 | 4) ;;
    # Where it cannot be had now, it is at least what the next boot takes.
    *) failed="switch-to-configuration test ended with $restore_exit" ;;
  esac
  if [ "$(booting)" != "$previous_profile" ]; then
    set_profile "$previous_profile" || finish restore-failed "the profile could not be set back"
  fi
  if [ -n "$previous_profile" ]; then
    insist "$previous_profile" boot
    boot_exit=$?
    [ "$boot_exit" -eq 0 ] || finish restore-failed "switch-to-configuration boot ended with $boot_exit"
  fi
  [ -z "$failed" ] || finish restore-failed "$failed"
  remember
  finish restored
}

activate() {
  tell activating
  echo "activating $system"
  switch_to "$system" test
  activation_exit=$?
  case $activation_exit in
    0 | 4) ;;
    11 | 100)
      # Both say that nothing was begun.
      if [ "$(running)" = "$previous" ]; then finish refused "switch-to-configuration ended with $activation_exit"; fi
      ;;
  esac
  case $activation_exit in
    0 | 4) ;;
    124 | 137) reason="the activation did not end within $activation_seconds s" ;;
    *) reason="switch-to-configuration ended with $activation_exit" ;;
  esac
  if [ -n "$reason" ]; then
    decide "undo $reason"
    restore
  fi
  if [ "$(running)" != "$system" ]; then
    reason="after the activation $(running) runs"
    decide "undo $reason"
    restore
  fi
  wait_for_decision
  case $decided in
    confirm) if [ "$action" = test ]; then finish confirmed; else commit; fi ;;
    *)
      reason=${decided#undo }
      restore
      ;;
  esac
}

main() {
  folder=$1
  # After a lost connection it may be started a second time.
  [ ! -e "$folder/status" ] || exit 0
  id=${folder##*/}
  booted=$(cat /proc/sys/kernel/random/boot_id)
  begun=$(now)
  read_order
  # The old system's programs stay where they are while /run/current-system changes.
  PATH=$previous/sw/bin:/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin
  PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
  export PATH
  if [ -n "$no_check" ]; then export NIXOS_NO_CHECK=1; fi

  exec 9<> "$runtime/lock"
  # What has just said how it ended may hold it for a moment more.
  flock -n 9 || { sleep 1; flock -n 9; } || finish refused "another deployment is going on"
  # Not only the pre-flight looks: what is there must stay what it is.
  if [ -e "$system_lock" ] && ! flock -n "$system_lock" true 9>&-; then
    finish refused "another switch is going on"
  fi
  if [ "$(running)" != "$previous" ] || { [ "$action" != restore ] && [ "$(booting)" != "$previous_profile" ]; }; then
    finish refused "the host was given another system meanwhile"
  fi
  printf '%s\n' "$id" > "$runtime/holder"
  prepare || finish refused "there is no room for our record on the disk, or it cannot be written"
  trap 'rm -f "$state/deployed.$id" "$runtime/holder"' EXIT
  case $action in
    switch | test) activate ;;
    boot) commit ;;
    restore) go_back ;;
    *) finish refused "there is no action $action" ;;
  esac
}

main "$1"
