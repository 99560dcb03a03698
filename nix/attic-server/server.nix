# atticd itself. Its options are all under `services.atticd.settings`, but for the file with its secrets.
{ config, lib, ... }:
let
  inherit (lib) mkIf optional;

  cfg = config.services.pipelinegen.attic-server;
  inherit (cfg) storage;

  # Outside its own folder, which systemd gives to whoever atticd runs as, files need an owner who is always the same.
  elsewhere = storage.type == "local" && !lib.hasPrefix "/var/lib/atticd/" "${storage.local.path}/";
in
{
  config = mkIf cfg.enable {
    users = mkIf elsewhere {
      users.atticd = {
        isSystemUser = true;
        group = "atticd";
      };
      groups.atticd = { };
    };
    systemd.tmpfiles.rules = optional elsewhere "d ${storage.local.path} 0700 atticd atticd -";

    services.atticd = {
      enable = true;
      environmentFile = "/run/attic-server/environment";
      settings = import ./settings.nix cfg;
    };

    systemd.services.atticd = {
      # Tried for as long as it takes, ever more slowly: nobody may be there to start it again.
      startLimitIntervalSec = 0;
      unitConfig.RequiresMountsFor = optional elsewhere storage.local.path;

      # Attic's S3 client adds checksums of its own accord, which B2 and others refuse with 400.
      environment = mkIf (storage.type == "s3" && storage.s3.checksums == "when-required") {
        AWS_REQUEST_CHECKSUM_CALCULATION = "when_required";
        AWS_RESPONSE_CHECKSUM_VALIDATION = "when_required";
      };

      serviceConfig = {
        RestartSteps = 5;
        RestartMaxDelaySec = "5min";
        # Newer servers finish uploads before they end.
        TimeoutStopSec = "2min";
        LimitNOFILE = 65536;
        # A large NAR that is not cut into chunks is kept in memory while it is stored: rather slow down, and rather
        # lose one upload than the database beside it.
        MemoryHigh = "60%";
        MemoryMax = "75%";
      };
    };
  };
}
