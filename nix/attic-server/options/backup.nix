# What is kept of the database, where, and how often the way back is tried.
{ lib, ... }:
let
  inherit (lib) mkEnableOption mkOption types;

  file = import ./secret-file.nix { inherit lib; };

  text =
    example: description:
    mkOption {
      type = types.nullOr types.str;
      default = null;
      inherit example description;
    };
in
{
  options.services.pipelinegen.attic-server.backup = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to dump the database every day. Without it, nothing in the bucket can be read any more.";
    };

    startAt = mkOption {
      type = types.str;
      default = "01:15";
      example = "*-*-* 03:30:00";
      description = "When, as systemd's `OnCalendar` takes it.";
    };

    keepDays = mkOption {
      type = types.ints.positive;
      default = 30;
      description = "For how many days dumps are kept, here and off-site.";
    };

    folder = mkOption {
      type = types.strMatching "/.+";
      default = "/var/backup/attic";
      description = "Where dumps are kept on this machine.";
    };

    offsite = {
      enable = mkEnableOption "a copy of each dump in a bucket of its own, which this machine's loss leaves whole";
      bucket = text "example-attic-backup" "Name of the bucket: not the one that holds the chunks.";
      region = text "eu-central-003" "Region of the bucket, best not the one of the chunks.";
      endpoint = text "https://s3.eu-central-003.backblazeb2.com" "Address of the service, with `https://`.";

      prefix = mkOption {
        type = types.str;
        default = "attic";
        description = "Folder in the bucket.";
      };

      environmentFile = file "/run/secrets/offsite.env" ''
        A file with the lines `AWS_ACCESS_KEY_ID=…` and `AWS_SECRET_ACCESS_KEY=…`. Instead of the two files below.
      '';
      accessKeyIdFile = file "/run/secrets/offsite-key-id" "One line: the access key of the bucket.";
      secretAccessKeyFile = file "/run/secrets/offsite-key" "One line: its secret.";

      ageRecipients = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p" ];
        description = ''
          Public keys of `age` for which copies are encrypted before they leave the machine. Their secret keys belong
          somewhere else. With none, copies are not encrypted.
        '';
      };

      prune = mkOption {
        type = types.bool;
        default = true;
        description = ''
          Whether this machine deletes copies off-site that are older than `backup.keepDays`. Without it the key needs no
          right to delete, so that nobody who takes this machine over can delete the copies; then let a lifecycle rule of
          the bucket do it.
        '';
      };
    };

    drill = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether to restore the newest dump into a database of its own now and then, and to compare.";
      };

      startAt = mkOption {
        type = types.str;
        default = "monthly";
        example = "weekly";
        description = "When, as systemd's `OnCalendar` takes it.";
      };

      identityFile = mkOption {
        type = types.nullOr (types.strMatching "/.+");
        default = null;
        example = "/run/secrets/drill-identity";
        description = ''
          A secret key of `age`, one of those that `backup.offsite.ageRecipients` names, best one that only this machine
          has. Without it an encrypted copy is fetched and compared with what was sent, and what is restored is the dump
          that is kept here.
        '';
      };

      sample = mkOption {
        type = types.ints.unsigned;
        default = 20;
        description = "So many chunks that the dump names are read from the storage and compared with their hashes.";
      };
    };
  };
}
