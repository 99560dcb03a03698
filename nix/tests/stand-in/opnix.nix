# OpNix's module, as far as the cache server sets it. Not everybody has it: a test imports it where it is wanted.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
in
{
  options.services.onepassword-secrets = {
    enable = option types.bool false;
    tokenFile = option types.path "/etc/opnix-token";
    outputDir = option types.str "/var/lib/opnix/secrets";
    secrets = option (types.attrsOf (
      types.submodule {
        options = {
          reference = mkOption { type = types.str; };
          path = option (types.nullOr types.str) null;
          owner = option types.str "root";
          group = option types.str "root";
          mode = option types.str "0600";
          services = option (types.listOf types.str) [ ];
        };
      }
    )) { };
  };
}
