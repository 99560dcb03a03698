# Where chunks are kept, and how NARs are cut into them.
{ config, lib, ... }:
let
  inherit (lib) literalExpression mkOption types;

  cfg = config.services.pipelinegen.attic-server;

  size =
    description:
    mkOption {
      type = types.nullOr types.ints.unsigned;
      default = null;
      example = 1048576;
      description = "${description}, in bytes. Only with `chunking.preset = \"custom\"`, and needed then.";
    };
in
{
  options.services.pipelinegen.attic-server = {
    storage = {
      type = mkOption {
        type = types.enum [
          "s3"
          "local"
        ];
        default = "s3";
        description = "A bucket of an S3 service, such as Backblaze B2, or a folder of this machine.";
      };

      s3 = {
        bucket = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "example-nix-cache";
          description = "Name of the bucket. Keep its files private: Attic hands out addresses that are valid for minutes.";
        };

        region = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "us-west-004";
          description = "Region of the bucket.";
        };

        endpoint = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "https://s3.us-west-004.backblazeb2.com";
          description = "Address of the service, with `https://` and without the bucket. Null is Amazon's for the region.";
        };

        checksums = mkOption {
          type = types.enum [
            "when-required"
            "always"
          ];
          default = "when-required";
          description = ''
            Whether to send checksums of a kind that Amazon's service takes and others refuse
            (`Unsupported header x-amz-checksum-crc32`). `when-required` works everywhere.
          '';
        };
      };

      local.path = mkOption {
        type = types.strMatching "/.+";
        default = "/var/lib/atticd/storage";
        example = "/srv/attic";
        description = "The folder of `storage.type = \"local\"`.";
      };
    };

    chunking = {
      preset = mkOption {
        type = types.enum [
          "default"
          "object-storage"
          "custom"
        ];
        default = if cfg.storage.type == "s3" then "object-storage" else "default";
        defaultText = literalExpression ''if storage.type == "s3" then "object-storage" else "default"'';
        description = ''
          `default`: chunks of about 64 KiB, Attic's own choice, for a disk. `object-storage`: of about 1 MiB, since
          each chunk is a request there. Changing it later costs deduplication: old chunks match new ones no more.
        '';
      };

      narSizeThreshold = size "From which size on a NAR is cut into chunks, 0 for never";
      minSize = size "The smallest chunk";
      avgSize = size "The size that chunks have on average";
      maxSize = size "The largest chunk";
    };
  };
}
