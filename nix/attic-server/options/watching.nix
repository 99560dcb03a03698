# What tells how the server is.
{ lib, ... }:
let
  inherit (lib) mkEnableOption mkOption types;
in
{
  options.services.pipelinegen.attic-server = {
    health = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether to ask the server regularly whether it answers, and to write it down as metrics.";
      };

      interval = mkOption {
        type = types.str;
        default = "1min";
        example = "5min";
        description = "How often, as systemd's `OnUnitActiveSec` takes it.";
      };
    };

    monitoring.enable = mkEnableOption "exporters of metrics for Prometheus";

    journald = {
      maxUse = mkOption {
        type = types.nullOr types.str;
        default = "1G";
        description = "How much of the disk the machine's journal may take, as `SystemMaxUse`. Null leaves it alone.";
      };

      retention = mkOption {
        type = types.nullOr types.str;
        default = "30day";
        description = "How long the machine's journal is kept, as `MaxRetentionSec`. Null leaves it alone.";
      };
    };
  };
}
