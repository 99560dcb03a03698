# What tells how the server is.
{ config, lib, ... }:
let
  inherit (lib)
    literalExpression
    mkEnableOption
    mkOption
    types
    ;
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

      public = mkOption {
        type = types.bool;
        default = config.services.pipelinegen.attic-server.proxy.enable;
        defaultText = literalExpression "proxy.enable";
        description = "Whether the server is also asked as clients ask it, by `https://` and its public name.";
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
