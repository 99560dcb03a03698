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
