# Options of NixOS that the runner host touches: the GitLab runner and what runs its containers.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  texts = option (types.listOf types.str) [ ];
  text = option (types.nullOr types.str) null;
  no = option types.bool false;

  prune = {
    enable = no;
    dates = option types.str "weekly";
    flags = texts;
  };

  service = {
    authenticationTokenConfigFile = option (types.nullOr types.path) null;
    registrationConfigFile = option (types.nullOr types.path) null;
    registrationFlags = texts;
    environmentVariables = option (types.attrsOf types.str) { };
    description = text;
    executor = option types.str "docker";
    buildsDir = option (types.nullOr types.path) null;
    dockerImage = text;
    dockerVolumes = texts;
    dockerDisableCache = no;
    dockerPrivileged = no;
    dockerExtraHosts = texts;
    dockerAllowedImages = texts;
    dockerAllowedServices = texts;
    preBuildScript = option (types.nullOr (types.either types.str types.path)) null;
    postBuildScript = option (types.nullOr (types.either types.str types.path)) null;
    tagList = texts;
    runUntagged = no;
    limit = option types.int 0;
    requestConcurrency = option types.int 0;
    maximumTimeout = option types.int 0;
    protected = no;
    debugTraceDisabled = no;
  };
in
{
  options = {
    services.gitlab-runner = {
      enable = no;
      settings = option (types.attrsOf types.anything) { };
      gracefulTermination = no;
      gracefulTimeout = option types.str "infinity";
      extraPackages = option (types.listOf types.package) [ ];
      services = option (types.attrsOf (types.submodule { options = service; })) { };
      clear-docker-cache = prune;
    };
    virtualisation = {
      docker = {
        enable = no;
        autoPrune = prune;
        daemon.settings = option (types.attrsOf types.anything) { };
      };
      podman = {
        enable = no;
        autoPrune = prune;
        dockerSocket.enable = no;
      };
    };
  };
}
