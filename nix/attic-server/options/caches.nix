# The caches that the server holds.
{ lib, ... }:
let
  inherit (lib) mkOption types;

  inherit ((import ../../lib).caches) priorities;

  cache = {
    options = {
      public = mkOption {
        type = types.bool;
        default = false;
        description = "Whether anybody who reaches the server may read all that is in it, without a token.";
      };

      priority = mkOption {
        type = types.nullOr types.ints.positive;
        default = null;
        example = 30;
        description = ''
          The cache with the lowest number is asked first. Null is ${toString priorities.public} for a public cache and
          ${toString priorities.private} for a private one; cache.nixos.org has ${toString priorities.upstream}.
        '';
      };

      retention = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "30 days";
        description = ''
          How long a path stays that nobody downloads: a duration, or `forever`. Null follows
          `garbageCollection.defaultRetention`.
        '';
      };

      upstreamKeys = mkOption {
        type = types.listOf types.str;
        default = [ "cache.nixos.org-1" ];
        example = [ ];
        description = "Names of signing keys; a path that one of them signed is not pushed here, for upstream has it.";
      };
    };
  };
in
{
  options.services.pipelinegen.attic-server.caches = mkOption {
    type = types.attrsOf (types.submodule cache);
    default = { };
    example = {
      prod = {
        public = true;
        retention = "90 days";
      };
      ci-main.retention = "2 weeks";
      ci-mr.retention = "1 week";
    };
    description = ''
      The caches, by name. The server names the signing key of a cache after the cache, so take names that no other
      server of yours has.
    '';
  };
}
