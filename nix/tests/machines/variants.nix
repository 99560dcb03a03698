# Systems to deploy: one that works, and one for each way in which a switch can go wrong.
{ lib }:
let
  # Shell lines that are run when a machine switches to the system, and not when it boots with it.
  switching = lines: {
    system.activationScripts.scenario.text = ''
      if [ "''${NIXOS_ACTION-}" = test ]; then
        ${lines}
      fi
    '';
  };
  worker = serviceConfig: {
    systemd.services.worker = {
      wantedBy = [ "multi-user.target" ];
      inherit serviceConfig;
    };
  };
  working = worker { ExecStart = "/run/current-system/sw/bin/sleep infinity"; };
in
{
  good = working;
  better = {
    imports = [ working ];
    environment.etc."better".text = "yes";
  };
  talkative = {
    imports = [
      working
      (switching "seq 1 20000")
    ];
  };
  broken-activation = switching "echo 'activation goes wrong here'; exit 7";
  endless = switching "sleep 600";
  slow = {
    imports = [
      working
      (switching "sleep 10")
    ];
  };
  # A service cannot start: the switch itself says so.
  broken-service = worker {
    Type = "oneshot";
    ExecStart = "/run/current-system/sw/bin/false";
  };
  # A service starts and fails a moment later: the switch says that all is well.
  failing-service = worker { ExecStart = "/bin/sh -c '/run/current-system/sw/bin/sleep 1; exit 3'"; };
  # New connections are dropped; the old ones live on.
  closed = {
    services.openssh.openFirewall = lib.mkForce false;
  };
  silent = {
    services.openssh.enable = lib.mkForce false;
  };
  # Its address is gone, and comes back with the system before.
  offline = {
    networking.interfaces.eth1.ipv4.addresses = lib.mkForce [ ];
  };
  rebooting = switching "systemctl --no-block reboot; sleep 60";
  filling = switching "cat /dev/zero > /var/filler; exit 1";
  # Only a boot leads from one init interface to another.
  needs-reboot = {
    imports = [ working ];
    system.extraSystemBuilderCmds = "printf other > $out/init-interface-version";
  };
  unbootable = {
    imports = [
      working
      (switching "mount -o remount,ro /boot")
    ];
  };
}
