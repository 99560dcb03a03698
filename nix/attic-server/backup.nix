# Dumps of the database: kept, copied off-site, restored, tried. What the scripts do stands at their heads.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    getExe
    mkIf
    optional
    optionalAttrs
    ;

  cfg = config.services.pipelinegen.attic-server;
  inherit (cfg) backup;

  settings = import ./backup/environment.nix {
    inherit cfg;
    source = "${config.services.postgresqlBackup.location}/atticd.sql.zstd";
    health = if cfg.health.enable then getExe (import ./health-program.nix { inherit cfg lib pkgs; }) else null;
  };

  scripts = builtins.path {
    name = "attic-backup-scripts";
    path = ./backup;
  };

  program =
    name: script: more:
    pkgs.writeShellApplication {
      inherit name;
      runtimeEnv = settings // { ATTIC_PROGRAM = name; } // more;
      runtimeInputs = [
        config.services.postgresql.package
        pkgs.age
        pkgs.coreutils
        pkgs.gawk
        pkgs.gnugrep
        pkgs.gnused
        pkgs.gzip
        pkgs.jq
        pkgs.rclone
        pkgs.systemd
        pkgs.util-linux
        pkgs.zstd
      ];
      text = ''exec ${getExe pkgs.bash} ${scripts}/${script}.sh "$@"'';
    };

  keep = program "attic-backup" "backup" { };
  drill = program "attic-drill" "drill" (
    {
      ATTIC_DRILL_SAMPLE = toString backup.drill.sample;
    }
    // optionalAttrs (backup.drill.identityFile != null) { ATTIC_AGE_IDENTITY = backup.drill.identityFile; }
  );

  fetched = optional cfg.secrets.opnix.enable "opnix-secrets.service";

  # As root: dumps belong to PostgreSQL's user, and secrets to root.
  serviceConfig = import ./hardening.nix // {
    Type = "oneshot";
    CapabilityBoundingSet = [
      "CAP_DAC_OVERRIDE"
      "CAP_DAC_READ_SEARCH"
      # To become PostgreSQL's user.
      "CAP_SETGID"
      "CAP_SETUID"
    ];
    ProtectHome = "read-only";
    ReadWritePaths = [ backup.folder ];
    StateDirectory = "attic-metrics";
    # The exporter is not root.
    StateDirectoryMode = "0755";
    # A dump may be large, and builds of others wait for the server.
    IOSchedulingClass = "idle";
    Nice = 10;
    TimeoutStartSec = "6h";
  };
in
{
  config = mkIf (cfg.enable && backup.enable && cfg.database.createLocally) {
    services.postgresqlBackup = {
      enable = true;
      databases = [ "atticd" ];
      inherit (backup) startAt;
      compression = "zstd";
    };

    environment.systemPackages = [
      keep
      (program "attic-restore" "restore" { })
      (program "attic-verify-storage" "verify-storage" { })
      # What else docs/how-to/recover-the-cache-server.md calls.
      pkgs.jq
      pkgs.openssl
      pkgs.rclone
    ];

    systemd = {
      tmpfiles.rules = [ "d ${backup.folder} 0700 root root -" ];

      services = {
        # Also where dumping failed: then it is attic-backup that says so, in its figures.
        postgresqlBackup-atticd = {
          # NixOS only requires it, and a dump that is made up for after a start would come too early.
          after = [
            "postgresql.service"
            "postgresql.target"
          ];
          onSuccess = [ "attic-backup.service" ];
          onFailure = [ "attic-backup.service" ];
        };

        attic-backup = {
          description = "Keep the newest dump of the cache server's database, here and off-site";
          after = [
            "postgresqlBackup-atticd.service"
            "network-online.target"
          ]
          ++ fetched;
          wants = [ "network-online.target" ];
          serviceConfig = serviceConfig // {
            ExecStart = getExe keep;
          };
        };

        attic-drill = mkIf backup.drill.enable {
          description = "Restore the cache server's newest backup on trial";
          after = [
            "attic-environment.service"
            "network-online.target"
            "postgresql.service"
          ]
          ++ fetched;
          wants = [ "network-online.target" ];
          serviceConfig = serviceConfig // {
            ExecStart = getExe drill;
          };
        };
      };

      timers = {
        # A machine that was off at night makes up for it.
        postgresqlBackup-atticd.timerConfig.Persistent = true;

        # What is off-site already is left alone: this is for nights when the bucket was not to be reached.
        attic-backup = {
          description = "Try again to copy the cache server's database off-site";
          wantedBy = [ "timers.target" ];
          timerConfig = {
            OnCalendar = "0/6:50";
            RandomizedDelaySec = "10min";
          };
        };

        attic-drill = mkIf backup.drill.enable {
          description = "Restore the cache server's newest backup on trial";
          wantedBy = [ "timers.target" ];
          timerConfig = {
            OnCalendar = backup.drill.startAt;
            Persistent = true;
            RandomizedDelaySec = "1h";
          };
        };
      };
    };
  };
}
