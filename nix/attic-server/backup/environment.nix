# What the scripts beside it read from their environment. Nothing secret: names of files with secrets, at most. Pure.
#
#   cfg      our options
#   source   the dump of the night
#   health   the program that says whether the server is well
{
  cfg,
  source,
  health,
}:
let
  inherit (builtins) concatStringsSep filter listToAttrs;
  inherit (cfg) backup storage;
  inherit (backup) offsite;

  given =
    set:
    listToAttrs (
      map (name: {
        inherit name;
        value = toString set.${name};
      }) (filter (name: set.${name} != null) (builtins.attrNames set))
    );

  # A remote of rclone by variables alone: there is no file of settings.
  remote =
    name:
    { endpoint, region, ... }:
    {
      "RCLONE_CONFIG_${name}_TYPE" = "s3";
      "RCLONE_CONFIG_${name}_PROVIDER" = if endpoint == null then "AWS" else "Other";
      "RCLONE_CONFIG_${name}_ENDPOINT" = endpoint;
      "RCLONE_CONFIG_${name}_REGION" = region;
      # Keys for one bucket may not look whether it is there, or make it.
      "RCLONE_CONFIG_${name}_NO_CHECK_BUCKET" = "true";
    };

  chunks =
    if storage.type == "s3" then
      remote "STORAGE" storage.s3
      // {
        ATTIC_STORAGE = "storage:${toString storage.s3.bucket}";
        ATTIC_STORAGE_ID = "s3:${toString storage.s3.region}/${toString storage.s3.bucket}/";
        ATTIC_STORAGE_SECRETS_FILE = "/run/attic-server/environment";
      }
    else
      {
        ATTIC_STORAGE = storage.local.path;
        ATTIC_STORAGE_ID = "local:";
      };

  second =
    if offsite.enable then
      remote "OFFSITE" offsite
      // {
        ATTIC_OFFSITE = "offsite:${toString offsite.bucket}/${offsite.prefix}";
        ATTIC_OFFSITE_PRUNE = if offsite.prune then "1" else "0";
        ATTIC_OFFSITE_SECRETS_FILE = offsite.environmentFile;
        ATTIC_OFFSITE_ACCESS_KEY_ID_FILE = offsite.accessKeyIdFile;
        ATTIC_OFFSITE_SECRET_ACCESS_KEY_FILE = offsite.secretAccessKeyFile;
        ATTIC_AGE_RECIPIENTS = concatStringsSep " " offsite.ageRecipients;
      }
    else
      { ATTIC_OFFSITE = ""; };
in
given (
  {
    ATTIC_BACKUP_SOURCE = source;
    ATTIC_BACKUP_FOLDER = backup.folder;
    ATTIC_BACKUP_KEEP_DAYS = backup.keepDays;
    ATTIC_HEALTH_COMMAND = health;
  }
  // chunks
  // second
)
