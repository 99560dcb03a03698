# Counting what the caches hold.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) getExe mkIf;

  cfg = config.services.pipelinegen.attic-server;
  inherit (cfg.monitoring) storage;

  seconds = import ../seconds.nix;
  default = cfg.garbageCollection.defaultRetention;
  retention = if default == "forever" then 0 else seconds default;

  count = pkgs.writeShellApplication {
    name = "attic-storage-metrics";
    runtimeInputs = [
      config.services.postgresql.package
      pkgs.coreutils
      pkgs.gnugrep
      pkgs.util-linux
    ];
    text = builtins.readFile ./storage.sh;
  };
in
{
  config = mkIf (cfg.enable && cfg.monitoring.enable && storage.enable) {
    assertions = [
      {
        assertion = cfg.database.createLocally;
        message = "`services.pipelinegen.attic-server.monitoring.storage` counts in the local PostgreSQL, and there is none.";
      }
    ];

    systemd.services.attic-storage-metrics = {
      description = "Count what the caches hold";
      after = [
        "atticd.service"
        "postgresql.service"
      ];
      # Its tables are there once it has started.
      requisite = [ "atticd.service" ];
      startAt = [ storage.startAt ];
      environment = {
        ATTIC_STORAGE_SQL = pkgs.writeText "storage.sql" (builtins.readFile ./storage.sql);
        ATTIC_RETENTION = toString retention;
        ATTIC_METRICS_FOLDER = "/var/lib/attic-metrics";
      };
      serviceConfig = import ../hardening.nix // {
        Type = "oneshot";
        ExecStart = getExe count;
        TimeoutStartSec = "30min";
        Nice = 10;
        # To take PostgreSQL's name; what it writes belongs to root.
        CapabilityBoundingSet = [
          "CAP_SETGID"
          "CAP_SETUID"
        ];
        StateDirectory = "attic-metrics";
        # The exporter is not root.
        StateDirectoryMode = "0755";
        RestrictAddressFamilies = [ "AF_UNIX" ];
      };
    };

    systemd.timers.attic-storage-metrics.timerConfig.RandomizedDelaySec = "2min";
  };
}
