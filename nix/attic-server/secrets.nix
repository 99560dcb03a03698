# The environment file of atticd: put together from parts, or checked and taken over, before the server starts and
# whenever a part changes. It belongs to root: systemd reads it, and with DynamicUser there is no user `atticd` yet.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) getExe mkIf optionals;

  cfg = config.services.pipelinegen.attic-server;
  inherit (cfg) secrets;

  compose = pkgs.writeShellApplication {
    name = "attic-environment";
    runtimeInputs = [
      pkgs.coreutils
      pkgs.openssl
    ];
    text = builtins.readFile ./compose-environment.sh;
  };

  refresh = pkgs.writeShellApplication {
    name = "attic-environment-refresh";
    runtimeInputs = [
      compose
      pkgs.systemd
    ];
    text = builtins.readFile ./refresh-environment.sh;
  };

  parts = lib.filterAttrs (_: value: value != null) {
    ENVIRONMENT_FILE = secrets.environmentFile;
    TOKEN_SECRET_FILE = secrets.tokenSecretFile;
    S3_ACCESS_KEY_ID_FILE = secrets.s3AccessKeyIdFile;
    S3_SECRET_ACCESS_KEY_FILE = secrets.s3SecretAccessKeyFile;
  };

  environment =
    parts
    // {
      OUTPUT = "/run/attic-server/environment";
      NEEDS_S3 = if cfg.storage.type == "s3" then "1" else "0";
    }
    // lib.optionalAttrs secrets.opnix.enable {
      SOURCE_HINT = "OpNix writes it: see `systemctl status opnix-secrets`, and whether its token is in ${secrets.opnix.tokenFile}";
    };

  fetched = optionals secrets.opnix.enable [ "opnix-secrets.service" ];

  # It reads whatever file is named, and speaks to nobody.
  serviceConfig = import ./hardening.nix // {
    Type = "oneshot";
    CapabilityBoundingSet = [
      "CAP_DAC_OVERRIDE"
      "CAP_DAC_READ_SEARCH"
    ];
    PrivateNetwork = true;
    ProtectHome = "read-only";
    RuntimeDirectory = "attic-server";
    RuntimeDirectoryMode = "0700";
    # The file outlives this unit: another writes it, too.
    RuntimeDirectoryPreserve = true;
  };

  unitConfig.RequiresMountsFor = lib.attrValues parts;
in
{
  imports = [ ./opnix.nix ];

  config = mkIf cfg.enable {
    systemd.services.attic-environment = {
      description = "The cache server's secrets as one environment file";
      before = [ "atticd.service" ];
      # With the server: when it is restarted, so is atticd.
      requiredBy = [ "atticd.service" ];
      after = fetched;
      # The server, too: it had given up if this failed before, and does not notice that it is started again.
      wants = fetched ++ [ "atticd.service" ];
      inherit environment unitConfig;
      serviceConfig = serviceConfig // {
        RemainAfterExit = true;
        ExecStart = getExe compose;
      };
    };

    systemd.services.attic-environment-refresh = {
      description = "Take over changed secrets of the cache server";
      # Several files change at once: none of these changes may be the one too many.
      startLimitIntervalSec = 0;
      # A provider that puts a new folder in the place of the old one, as sops-nix does, is not noticed otherwise.
      startAt = "hourly";
      inherit environment unitConfig;
      serviceConfig = serviceConfig // {
        ExecStart = getExe refresh;
        RestrictAddressFamilies = [ "AF_UNIX" ];
      };
    };

    systemd.paths.attic-environment-refresh = {
      description = "Changed secrets of the cache server";
      wantedBy = [ "multi-user.target" ];
      pathConfig.PathChanged = lib.attrValues parts;
    };
  };
}
