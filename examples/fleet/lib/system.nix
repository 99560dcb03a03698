# A machine's whole system, as NixOS makes it in small: one store path (the "toplevel") that holds the
# programs, the configuration files and the script that switches a running machine to it.
#
#   host.packages    what is installed (a list of derivations with a bin/ folder)
#   host.services    name → { program; arguments ? [ ]; }, each a systemd service
#   host.motd        text of etc/motd
#   host.activation  shell lines that are run when a machine switches to this system
#
# As in NixOS, `etc` and the toplevel say `allowSubstitutes = false`: Nix would rather build them again than
# fetch them from a cache. A pipeline has to fetch them by output path, or it builds them in every job.
{
  system,
  name,
  host,
}:
let
  make = import ./make.nix { inherit system; };
  inherit (builtins) attrNames concatStringsSep;
  lines = concatStringsSep "\n";
  quoted = text: "'" + builtins.replaceStrings [ "'" ] [ "'\\''" ] text + "'";

  localOnly = {
    preferLocalBuild = true;
    allowSubstitutes = false;
  };

  services = host.services or { };

  unit =
    service:
    let
      inherit (services.${service}) program;
      arguments = services.${service}.arguments or [ ];
    in
    lines [
      "[Unit]"
      "Description=${service} of the fleet"
      "[Service]"
      "Type=exec"
      # A service that cannot work fails here, while the switch still waits for it.
      "ExecStartPre=${program} check"
      "ExecStart=${program} ${concatStringsSep " " ([ "serve" ] ++ arguments)}"
      ""
    ];

  etc = make (
    localOnly
    // {
      name = "etc";
      motd = host.motd or "";
      hostName = name;
      script = lines (
        [
          "mkdir -p $out/systemd/system"
          "printf '%s\\n' \"$hostName\" > $out/hostname"
          "printf '%s\\n' \"$motd\" > $out/motd"
        ]
        ++ map (service: "printf '%s' ${quoted (unit service)} > $out/systemd/system/${service}.service") (
          attrNames services
        )
      );
    }
  );
in
make (
  localOnly
  // {
    name = "nixos-system-${name}-1.0";
    inherit etc;
    packages = host.packages or [ ];
    activation = host.activation or "";
    switchScript = builtins.readFile ./switch-to-configuration.sh;
    script = ''
      mkdir -p $out/bin $out/sw/bin
      ln -s $etc $out/etc
      for package in $packages; do
        for program in $package/bin/*; do
          ln -s $program $out/sw/bin/
        done
      done
      printf '%s' '1.0' > $out/nixos-version
      printf '%s' '${system}' > $out/system
      # A machine can only switch without a reboot between systems that say the same here.
      printf '%s' '1' > $out/init-interface-version

      printf '%s\n' '#!/bin/sh' 'set -eu' "$activation" "ln -sfn $out /run/current-system" > $out/activate
      printf '%s\n' '#!/bin/sh' "$out/activate" 'exec /sbin/init "$@"' > $out/init
      printf '%s\n' '#!/bin/sh' "toplevel=$out" "$switchScript" > $out/bin/switch-to-configuration
      chmod 755 $out/activate $out/init $out/bin/switch-to-configuration
    '';
  }
)
