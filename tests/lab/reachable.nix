# Shell lines of an activation: what a NixOS with sshd and a network sees to, as often as it is activated. Nothing
# is waited for, since a machine that boots activates before it starts anything.
''
  ip link set host0 up
  if [ -L /run/systemd/system/ssh.service ]; then systemctl unmask --quiet --runtime ssh.service ssh.socket; fi
  systemctl start --no-block ssh.service
''
