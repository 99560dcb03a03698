# What the cache server sets besides: Attic, PostgreSQL and Caddy, with the types that the manual gives them.
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  names = option (types.listOf types.str) [ ];
  lines = option types.lines "";
  maybe = type: option (types.nullOr type) null;
in
{
  options.services = {
    atticd = {
      enable = option types.bool false;
      package = option types.package pkgs.attic-server;
      environmentFile = maybe types.path;
      user = option types.str "atticd";
      group = option types.str "atticd";
      settings = option types.anything { };
      mode = option (types.enum [
        "monolithic"
        "api-server"
        "garbage-collector"
      ]) "monolithic";
    };

    caddy = {
      enable = option types.bool false;
      package = option types.package pkgs.caddy;
      email = maybe types.str;
      environmentFile = maybe types.path;
      globalConfig = lines;
      extraConfig = lines;
      logFormat = option types.lines "level ERROR";
      openFirewall = option types.bool false;
      virtualHosts = option (types.attrsOf (
        types.submodule {
          options = {
            extraConfig = lines;
            useACMEHost = maybe types.str;
            serverAliases = names;
            listenAddresses = names;
          };
        }
      )) { };
    };

    postgresql = {
      enable = option types.bool false;
      package = option types.package pkgs.postgresql;
      ensureDatabases = names;
      ensureUsers = option (types.listOf (
        types.submodule {
          options = {
            name = mkOption { type = types.str; };
            ensureDBOwnership = option types.bool false;
          };
        }
      )) [ ];
      initdbArgs = names;
      settings = option types.anything { };
    };
  };
}
