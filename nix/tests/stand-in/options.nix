# Options of NixOS that several of our modules set, with the types that the manual gives them.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  must = type: mkOption { inherit type; };
  names = option (types.listOf types.str) [ ];
  word = types.oneOf [
    types.bool
    types.int
    types.float
    types.str
    types.path
    types.package
  ];
  section = option (types.attrsOf (types.either word (types.listOf word))) { };

  unit = {
    enable = option types.bool true;
    description = option types.str "";
    documentation = names;
    after = names;
    before = names;
    bindsTo = names;
    conflicts = names;
    onFailure = names;
    onSuccess = names;
    partOf = names;
    requiredBy = names;
    requires = names;
    requisite = names;
    upholds = names;
    wantedBy = names;
    wants = names;
    unitConfig = section;
    restartTriggers = option (types.listOf types.anything) [ ];
    reloadTriggers = option (types.listOf types.anything) [ ];
    startLimitBurst = must types.int;
    startLimitIntervalSec = must types.int;
  };
  units = more: option (types.attrsOf (types.submodule { options = unit // more; })) { };
  text = option types.lines "";
in
{
  options = {
    assertions = option (types.listOf types.anything) [ ];
    warnings = names;

    boot = {
      isContainer = option types.bool false;
      kernelModules = names;
    };
    system.stateVersion = must types.str;
    environment = {
      etc = option (types.attrsOf types.anything) { };
      systemPackages = option (types.listOf types.package) [ ];
    };
    networking = {
      hostName = option types.str "machine";
      hosts = option (types.attrsOf (types.listOf types.str)) { };
      firewall =
        let
          ports = {
            allowedTCPPorts = option (types.listOf types.port) [ ];
            allowedUDPPorts = option (types.listOf types.port) [ ];
          };
        in
        ports
        // {
          enable = option types.bool true;
          interfaces = option (types.attrsOf (types.submodule { options = ports; })) { };
        };
    };
    nix = {
      enable = option types.bool true;
      package = must types.package;
      settings = option (types.attrsOf types.anything) { };
      extraOptions = text;
      gc = {
        automatic = option types.bool false;
        dates = option (types.either types.str (types.listOf types.str)) "03:15";
        options = option types.str "";
        persistent = option types.bool true;
        randomizedDelaySec = option types.str "0";
      };
      optimise = {
        automatic = option types.bool false;
        dates = option (types.listOf types.str) [ "03:45" ];
      };
    };
    users = {
      users = option (types.attrsOf types.anything) { };
      groups = option (types.attrsOf types.anything) { };
    };

    systemd = {
      services = units {
        aliases = names;
        enableStrictShellChecks = option types.bool false;
        environment = option (types.attrsOf (
          types.nullOr (
            types.oneOf [
              types.str
              types.path
              types.package
            ]
          )
        )) { };
        path = option (types.listOf (types.either types.package types.str)) [ ];
        postStart = text;
        preStart = text;
        reload = text;
        reloadIfChanged = option types.bool false;
        restartIfChanged = option types.bool true;
        script = text;
        scriptArgs = option types.str "";
        serviceConfig = section;
        startAt = option (types.either types.str (types.listOf types.str)) [ ];
        stopIfChanged = option types.bool true;
      };
      paths = units { pathConfig = section; };
      slices = units { sliceConfig = section; };
      sockets = units {
        listenStreams = names;
        socketConfig = section;
      };
      targets = units { };
      timers = units { timerConfig = section; };
      tmpfiles = {
        rules = names;
        settings = option (types.attrsOf types.anything) { };
      };
    };

    services.journald = {
      extraConfig = text;
      storage = option types.str "persistent";
    };
  };
}
