# Options of NixOS whose own modules are too large to bring along, with the types that the manual gives them.
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  flag = option types.bool false;
  text = option types.lines "";
  names = option (types.listOf types.str) [ ];
  packages = option (types.listOf types.package) [ ];
  anything = option (types.attrsOf types.anything) { };
  ports = option (types.listOf types.port) [ ];
  ranges = option (types.listOf (types.attrsOf types.port)) [ ];
  open = {
    allowedTCPPorts = ports;
    allowedUDPPorts = ports;
    allowedTCPPortRanges = ranges;
    allowedUDPPortRanges = ranges;
  };
  pruning = {
    enable = flag;
    dates = option types.str "weekly";
    flags = names;
  };

  file = types.submodule (
    { name, config, ... }:
    {
      options = {
        enable = option types.bool true;
        text = option (types.nullOr types.lines) null;
        source = mkOption { type = types.path; };
        target = option types.str name;
        mode = option types.str "symlink";
        user = option types.str "+0";
        group = option types.str "+0";
      };
      config.source = lib.mkIf (config.text != null) (lib.mkDefault (pkgs.writeText "etc-${baseNameOf name}" config.text));
    }
  );
in
{
  options = {
    meta = option types.anything { };

    boot = {
      isContainer = flag;
      kernel.sysctl = option (types.attrsOf (
        types.nullOr (
          types.oneOf [
            types.bool
            types.int
            types.str
          ]
        )
      )) { };
      kernelModules = names;
    };
    environment = {
      etc = option (types.attrsOf file) { };
      pathsToLink = names;
      sessionVariables = anything;
      systemPackages = packages;
      variables = anything;
    };
    networking = {
      hostName = option types.str "machine";
      hosts = option (types.attrsOf (types.listOf types.str)) { };
      proxy.envVars = option (types.attrsOf types.str) { };
      nftables.enable = flag;
      firewall = open // {
        enable = option types.bool true;
        extraCommands = text;
        extraInputRules = text;
        interfaces = option (types.attrsOf (types.submodule { options = open; })) { };
        trustedInterfaces = names;
      };
    };
    nix = {
      enable = option types.bool true;
      package = option types.package pkgs.nix;
      optimise = {
        automatic = flag;
        dates = option (types.coercedTo types.str lib.singleton (types.listOf types.str)) [
          "03:45"
        ];
      };
    };
    programs = anything;
    security = {
      acme.certs = anything;
      wrappers = anything;
    };
    services = {
      rsyslogd.enable = flag;
      syslog-ng.enable = flag;
      tailscale.enable = flag;
    };
    system = {
      stateVersion = mkOption { type = types.str; };
      checks = packages;
    };
    virtualisation.podman = {
      enable = flag;
      autoPrune = pruning;
      dockerCompat = flag;
      dockerSocket.enable = flag;
      defaultNetwork.settings = anything;
      package = option types.package pkgs.podman;
    };
  };

  # A part of every NixOS.
  config.systemd.services.nix-daemon = { };
}
