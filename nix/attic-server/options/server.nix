# The server itself: where it is reached, and what it keeps its records in.
{
  config,
  lib,
  pkgs,
  ...
}:
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
    enable = mkEnableOption "a binary cache server with Attic, PostgreSQL and Caddy";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../../package.nix { };
      defaultText = literalExpression "pipelinegen, built from the repository of this module";
      description = "The pipelinegen whose `cache provision` creates and configures the caches.";
    };

    domain = mkOption {
      type = types.str;
      example = "cache.example.org";
      description = ''
        The name under which everybody reaches the server: a host name alone, without scheme, port, path or a dot at
        its end. Attic answers requests for no other name.
      '';
    };

    listen = mkOption {
      type = types.str;
      default = "127.0.0.1:8080";
      example = "[::1]:8080";
      description = ''
        The address and port on which atticd itself listens. With the proxy this must be an address of this machine
        alone: nothing there speaks TLS.
      '';
    };

    database = {
      createLocally = mkOption {
        type = types.bool;
        default = true;
        description = "Whether to run PostgreSQL here, with a database `atticd` that belongs to a user `atticd`.";
      };

      url = mkOption {
        type = types.str;
        default = "postgresql:///atticd?host=/run/postgresql";
        example = "postgresql://atticd@db.example.org/atticd";
        description = ''
          Where the records are. It is in the world-readable Nix store: a password belongs into the environment, as
          `PGPASSWORD` in `secrets.environmentFile`. With `database.createLocally` the database must be `atticd`.
        '';
      };
    };

    compression = {
      type = mkOption {
        type = types.enum [
          "none"
          "brotli"
          "zstd"
          "xz"
        ];
        default = "zstd";
        description = "How chunks are compressed before they are stored.";
      };

      level = mkOption {
        type = types.nullOr types.int;
        default = if config.services.pipelinegen.attic-server.compression.type == "zstd" then 8 else null;
        defaultText = literalExpression ''if compression.type == "zstd" then 8 else null'';
        example = 3;
        description = "How hard to compress, in the numbers of `compression.type`; null is Attic's own default for it.";
      };
    };

    garbageCollection = {
      interval = mkOption {
        type = types.str;
        default = "12 hours";
        example = "1 day";
        description = "How often atticd removes what nobody fetched for as long as the retention. It does so itself: no timer.";
      };

      defaultRetention = mkOption {
        type = types.str;
        default = "90 days";
        example = "forever";
        description = ''
          How long a path stays that nobody downloads, where its cache says nothing else. `forever` means that nothing
          is ever removed and the storage grows without bound; a duration of 0 would mean the same and is refused.
        '';
      };
    };

    provision.enable = mkOption {
      type = types.bool;
      default = config.services.pipelinegen.attic-server.caches != { };
      defaultText = literalExpression "caches != { }";
      description = ''
        Whether to create the caches and configure them as `caches` says: soon after the start, after each change and
        every hour. A cache that is no longer in `caches` stays as it is.
      '';
    };
  };
}
