# Units with the types that NixOS itself gives them, timers of `startAt`, and the units' files.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (utils) systemdUtils;
  option = type: default: mkOption { inherit type default; };
  units = type: option type { };
  cfg = config.systemd;

  kinds = {
    services = "service";
    timers = "timer";
    paths = "path";
    sockets = "socket";
    targets = "target";
    slices = "slice";
  };
  written = lib.concatMapAttrs (
    kind: suffix:
    lib.mapAttrs' (
      name: unit: lib.nameValuePair "${name}.${suffix}" (systemdUtils.lib."${suffix}ToUnit" unit)
    ) cfg.${kind}
  ) kinds;

  rule = types.submodule (
    { name, ... }:
    {
      options = {
        age = option types.str "-";
        argument = option types.str "";
        group = option types.str "-";
        mode = option types.str "-";
        type = option types.str name;
        user = option types.str "-";
      };
    }
  );

  oddities =
    name: service:
    let
      type = service.serviceConfig.Type or "simple";
      restart = service.serviceConfig.Restart or "no";
    in
    lib.optional (
      type == "oneshot"
      && builtins.elem restart [
        "always"
        "on-success"
      ]
    ) "${name}: systemd refuses Restart=${restart} of a oneshot"
    ++ lib.optional (
      service.reloadIfChanged && service.reloadTriggers != [ ]
    ) "${name}: reloadIfChanged beside reloadTriggers"
    ++ lib.optional (
      service.serviceConfig ? StartLimitInterval
    ) "${name}: StartLimitInterval belongs to the section Unit"
    ++ lib.optional (
      builtins.elem "network-online.target" service.after
      && !builtins.elem "network-online.target" (service.wants ++ service.requires ++ service.bindsTo)
    ) "${name}: after network-online.target, which nothing it wants starts";
in
{
  options.systemd = {
    package = option types.package pkgs.systemd;
    packages = option (types.listOf types.package) [ ];
    globalEnvironment = option (types.attrsOf types.str) { };
    enableStrictShellChecks = option types.bool false;
    additionalUpstreamSystemUnits = option (types.listOf types.str) [ ];
    services = units systemdUtils.types.services;
    timers = units systemdUtils.types.timers;
    paths = units systemdUtils.types.paths;
    sockets = units systemdUtils.types.sockets;
    targets = units systemdUtils.types.targets;
    slices = units systemdUtils.types.slices;
    units = units systemdUtils.types.units;
    tmpfiles = {
      rules = option (types.listOf types.str) [ ];
      settings = option (types.attrsOf (types.attrsOf (types.attrsOf rule))) { };
    };
  };

  config = {
    systemd.timers = lib.mapAttrs (_: service: {
      wantedBy = [ "timers.target" ];
      timerConfig.OnCalendar = service.startAt;
    }) (lib.filterAttrs (_: service: service.enable && service.startAt != [ ]) cfg.services);
    systemd.units = written;
    warnings = lib.concatLists (lib.mapAttrsToList oddities cfg.services);
  };
}
