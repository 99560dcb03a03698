# The journal, where atticd and Caddy write to, stays within bounds.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) concatLines mapAttrsToList mkIf;

  cfg = config.services.pipelinegen.attic-server;

  bounds = lib.filterAttrs (_: value: value != null) {
    SystemMaxUse = cfg.journald.maxUse;
    MaxRetentionSec = cfg.journald.retention;
  };
in
{
  # The newer option refuses to be set beside the older one.
  config.services.journald =
    if options.services.journald ? settings then
      { settings.Journal = mkIf cfg.enable (lib.mapAttrs (_: lib.mkDefault) bounds); }
    else
      { extraConfig = mkIf cfg.enable (concatLines (mapAttrsToList (name: value: "${name}=${value}") bounds)); };
}
