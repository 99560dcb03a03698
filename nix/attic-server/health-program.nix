# The program that asks the server whether it is well.
{
  cfg,
  lib,
  pkgs,
}:
let
  inherit (builtins) attrNames filter head;
  names = attrNames cfg.caches;
  public = filter (name: cfg.caches.${name}.public) names;
in
pkgs.writeShellApplication {
  name = "attic-health";
  runtimeInputs = [
    pkgs.coreutils
    pkgs.curl
    pkgs.gnugrep
  ];
  runtimeEnv = {
    ATTIC_HEALTH_LISTEN = cfg.listen;
    ATTIC_HEALTH_HOST = cfg.domain;
    ATTIC_HEALTH_PUBLIC = lib.optionalString cfg.health.public "https://${cfg.domain}";
    ATTIC_HEALTH_CACHE = if names == [ ] then "" else head (public ++ names);
  };
  text = builtins.readFile ./health.sh;
}
