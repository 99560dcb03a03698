# Systems to deploy to a machine of the lab: one that works, and one for each way in which a switch can go wrong.
#
#   fleet   folder of the example fleet
#   name    of the machine
{ fleet, name }:
let
  system = import (fleet + "/lib/system.nix");
  make = import (fleet + "/lib/make.nix") { system = "x86_64-linux"; };
  machine =
    host:
    system {
      system = "x86_64-linux";
      inherit name host;
    };

  # A service that runs as long as `check` says that it can, and one that stops working later.
  program =
    name: check: serve:
    make {
      inherit name;
      script = ''
        printf '%s\n' '#!/bin/sh' 'case $1 in check) ${check} ;; serve) ${serve} ;; esac' > $out
        chmod 755 $out
      '';
    };
  # A system of which only the switch script counts.
  answering =
    answer:
    make {
      name = "nixos-system-answering";
      inherit answer;
      script = ''
        mkdir -p $out/bin
        printf '%s\n' '#!/bin/sh' "$answer" > $out/bin/switch-to-configuration
        chmod 755 $out/bin/switch-to-configuration
      '';
    };
  service = check: serve: { worker.program = program "worker" check serve; };
in
{
  good = machine {
    motd = "good";
    services = service "exit 0" "exec sleep 100000";
  };
  better = machine {
    motd = "better";
    services = service "exit 0" "exec sleep 200000";
  };
  # Its activation script fails half-way.
  broken-activation = machine {
    motd = "broken";
    activation = "echo 'activation goes wrong here'; exit 7";
  };
  # A service cannot start: the switch itself says so.
  broken-service = machine {
    motd = "broken";
    services = service "echo 'the worker cannot work'; exit 1" "exit 1";
  };
  # A service starts and fails a moment later: the switch says that all is well.
  failing-service = machine {
    motd = "failing";
    services = service "exit 0" "sleep 0.5; exit 3";
  };
  # The switch takes long enough for the network to be cut, or for us to be interrupted.
  slow = machine {
    motd = "slow";
    activation = "echo 'slow begins'; sleep 8; echo 'slow ends'";
  };
  # Longer than any patience.
  endless = machine {
    motd = "endless";
    activation = "echo 'endless begins'; sleep 600";
  };
  # The way back is cut off: before anything was switched, and after.
  half-lost = machine {
    motd = "half lost";
    activation = "mount --bind /bin/false $(readlink -f /run/current-system)/bin/switch-to-configuration; exit 1";
  };
  lost = machine {
    motd = "lost";
    activation = ''
      mount --bind /bin/false $(readlink -f /run/current-system)/bin/switch-to-configuration
      ln -sfn ''${0%/*} /run/current-system
      exit 1
    '';
  };
  # sshd goes away for good.
  silent = machine {
    motd = "silent";
    activation = "systemctl stop ssh.socket ssh.service; systemctl mask --runtime ssh.socket ssh.service";
  };
  needs-reboot = answering "exit 100";
  # A unit fails that had failed before; another switch begins just before ours.
  old-sorrow = answering ''
    ln -sfn ''${0%/bin/*} /run/current-system
    echo 'warning: the following units failed: old-sorrow.service' >&2
    exit 4
  '';
  locked = answering "echo 'Could not acquire lock' >&2; exit 11";
  # The network goes away while the machine switches, and comes back.
  cutting = machine {
    motd = "cutting";
    activation = "echo 'cutting begins'; systemctl stop ssh; sleep 5; systemctl start ssh; echo 'cutting ends'";
  };
  large = make {
    name = "nixos-system-large";
    script = ''
      mkdir -p $out/bin
      head -c 3000000 /dev/zero > $out/blob
      printf '%s\n' '#!/bin/sh' 'exit 1' > $out/bin/switch-to-configuration
      chmod 755 $out/bin/switch-to-configuration
    '';
  };
  no-system = make {
    name = "no-system";
    script = "mkdir $out";
  };
}
