# Systems to deploy to a machine of the lab: some that work, and one for each way in which a switch can go wrong.
#
#   fleet   folder of the example fleet
#   name    of the machine
{ fleet, name }:
let
  system = import (fleet + "/lib/system.nix");
  make = import (fleet + "/lib/make.nix") { system = "x86_64-linux"; };
  machine =
    { activation ? "", ... }@host:
    system {
      system = "x86_64-linux";
      inherit name;
      host = host // {
        activation = "${reachable}\n${activation}";
      };
    };
  reachable = import ./reachable.nix;

  # The same system with lines before its switch script, which see the action as $1.
  switching =
    lines: machine: derivation (machine.drvAttrs // { switchScript = lines + "\n" + machine.switchScript; });

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
  working = service "exit 0" "exec sleep 100000";
  readonly-boot = "mount --bind /boot /boot; mount -o remount,bind,ro /boot";
in
{
  good = machine {
    motd = "good";
    services = working;
  };
  better = machine {
    motd = "better";
    services = service "exit 0" "exec sleep 40000";
  };
  # Its activation script fails half-way.
  broken-activation = machine {
    motd = "broken";
    activation = "echo 'activation goes wrong here'; exit 7";
  };
  # It fails when it is what runs already, as NixOS's does.
  half-activated = machine {
    motd = "half activated";
    activation = "ln -sfn \${0%/*} /run/current-system; echo 'half of it is there'; exit 7";
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
  # The unit file is none.
  bad-unit = machine {
    motd = "bad unit";
    services.worker.program = "./nowhere";
  };
  # The switch takes long enough for something to happen meanwhile.
  slow = machine {
    motd = "slow";
    services = working;
    activation = "echo 'slow begins'; sleep 3; echo 'slow ends'";
  };
  # Going back to it takes as long.
  slow-to-return-to = switching ''[ "''${1-}" != test ] || sleep 2'' (machine {
    motd = "slow to return to";
    services = working;
  });
  # Making it the one to boot takes as long.
  slow-to-install = switching ''[ "''${1-}" != boot ] || sleep 2'' (machine {
    motd = "slow to install";
    services = working;
  });
  # Longer than any patience.
  endless = machine {
    motd = "endless";
    activation = "echo 'endless begins'; sleep 600";
  };
  # More output than anybody reads.
  talkative = machine {
    motd = "talkative";
    services = working;
    activation = ''
      i=0
      while [ $i -lt 4000 ]; do echo "line $i of very many, which are all the same but for their number"; i=$((i + 1)); done
    '';
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
  # No sshd any more: the system before starts its own again.
  closed = machine {
    motd = "closed";
    activation = "systemctl stop ssh.service ssh.socket; systemctl mask --runtime ssh.service ssh.socket";
  };
  # sshd is ended and starts no more, whatever system runs.
  silent = machine {
    motd = "silent";
    activation = "mount --bind /bin/false /usr/sbin/sshd; systemctl stop ssh.service ssh.socket";
  };
  # No network any more: the system before brings it up again.
  offline = machine {
    motd = "offline";
    activation = "ip link set host0 down";
  };
  # The machine reboots while it is activated.
  rebooting = machine {
    motd = "rebooting";
    activation = "systemctl --no-block reboot; sleep 60";
  };
  # Nothing can be written any more: seen by the activation, or not.
  filling = machine {
    motd = "filling";
    activation = "cat /dev/zero > /var/filler";
  };
  quietly-filling = machine {
    motd = "quietly filling";
    activation = "cat /dev/zero > /var/filler || true; cat /dev/zero > /nix/var/filler || true";
  };
  # It runs, and the boot loader cannot be written.
  unbootable = machine {
    motd = "unbootable";
    services = working;
    activation = readonly-boot;
  };
  # It can only be booted.
  needs-reboot = switching ''[ "''${1-}" != test ] || exit 100'' (machine {
    motd = "needs a reboot";
    services = working;
  });
  # The same, as NixOS does it: the boot loader has it by then.
  needs-reboot-to-switch = switching ''
    if [ "''${1-}" = switch ]; then
      printf '%s\n' "$toplevel" > /boot/loader-entry
      exit 100
    fi
  '' (machine {
    motd = "needs a reboot";
    services = working;
  });
  # A unit fails that had failed before; another switch begins just before ours.
  old-sorrow = switching ''
    if [ "''${1-}" = test ]; then
      ln -sfn $toplevel /run/current-system
      echo 'warning: the following units failed: old-sorrow.service' >&2
      exit 4
    fi
  '' (machine {
    motd = "old sorrow";
  });
  locked = answering "echo 'Could not acquire lock' >&2; exit 11";
  # sshd goes away while the machine switches, and comes back.
  cutting = machine {
    motd = "cutting";
    activation = "echo 'cutting begins'; systemctl stop ssh; sleep 2; systemctl start --no-block ssh; echo 'cutting ends'";
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
  # What home-manager makes of a user's home.
  home-generation = make {
    name = "home-manager-generation";
    script = "mkdir -p $out/home-files; touch $out/activate $out/gen-version";
  };
  no-system = make {
    name = "no-system";
    script = "mkdir $out";
  };
}
