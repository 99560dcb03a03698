# Asks the server regularly whether it answers, under its own name and as clients do.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) getExe mkIf;

  cfg = config.services.pipelinegen.attic-server;
  program = import ./health-program.nix { inherit cfg lib pkgs; };
in
{
  config = mkIf (cfg.enable && cfg.health.enable) {
    environment.systemPackages = [ program ];

    systemd = {
      services.attic-health = {
        description = "Whether the cache server answers";
        # Not `requires`: that it is down is what this is to find out.
        after = [
          "atticd.service"
          "caddy.service"
        ];
        serviceConfig = import ./hardening.nix // {
          Type = "oneshot";
          ExecStart = getExe program;
          StateDirectory = "attic-metrics";
          # The exporter is not root.
          StateDirectoryMode = "0755";
          RestrictAddressFamilies = [
            "AF_INET"
            "AF_INET6"
            "AF_UNIX"
          ];
          TimeoutStartSec = "3min";
        };
      };

      timers.attic-health = {
        description = "Whether the cache server answers";
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnBootSec = "2min";
          OnUnitActiveSec = cfg.health.interval;
          AccuracySec = "5s";
        };
      };
    };
  };
}
