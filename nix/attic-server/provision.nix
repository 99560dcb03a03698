# The caches, made and configured as the options say. A timer starts the unit, so that a deployment does not wait for
# a certificate: when the caches change, and every hour, in case secrets were missing or a cache was changed by hand.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) getExe mapAttrs mkIf;

  cfg = config.services.pipelinegen.attic-server;
  toml = pkgs.formats.toml { };

  # nixpkgs' module keeps the file that it makes of these to itself.
  atticConfig = toml.generate "attic-server.toml" config.services.atticd.settings;

  pipelinegenConfig = toml.generate "pipelinegen.toml" {
    caches = import ./wanted-caches.nix { inherit (cfg) domain caches; };
  };

  provision = pkgs.writeShellApplication {
    name = "attic-provision";
    runtimeInputs = [
      pkgs.coreutils
      config.services.atticd.package
      cfg.package
    ];
    text = builtins.readFile ./provision.sh;
  };
in
{
  config = mkIf (cfg.enable && cfg.provision.enable) {
    systemd.services.attic-provision = {
      description = "Create and configure the caches of the cache server";
      after = [
        "atticd.service"
        "caddy.service"
        "network-online.target"
      ];
      # Not atticd: who stopped it, such as a restore, does not want it back after an hour.
      wants = [ "network-online.target" ];
      environment = mapAttrs (_: toString) {
        ATTIC_CONFIG = atticConfig;
        PIPELINEGEN_CONFIG = pipelinegenConfig;
        CACHES = lib.concatStringsSep " " (lib.attrNames cfg.caches);
        # The first certificate takes its time where the name in the DNS is new.
        PATIENCE = 30 * 60;
        PAUSE = 15;
        # The machine's, which has authorities of its own in it where `security.pki` names some.
        SSL_CERT_FILE = "/etc/ssl/certs/ca-certificates.crt";
      };
      serviceConfig = import ./hardening.nix // {
        Type = "oneshot";
        ExecStart = getExe provision;
        EnvironmentFile = config.services.atticd.environmentFile;
        DynamicUser = true;
        # Python's bindings to C may want it.
        MemoryDenyWriteExecute = false;
        RuntimeDirectory = "attic-provision";
        RuntimeDirectoryMode = "0700";
        WorkingDirectory = "%t/attic-provision";
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_UNIX"
        ];
      };
    };

    systemd.timers.attic-provision = {
      description = "Create and configure the caches of the cache server";
      wantedBy = [ "timers.target" ];
      restartTriggers = [ pipelinegenConfig ];
      timerConfig = {
        OnActiveSec = "5s";
        OnUnitInactiveSec = "1h";
      };
    };
  };
}
