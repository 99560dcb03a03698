# What is refused about backups, and what is warned of: { errors; warnings; }.
{ cfg, words, ... }:
let
  inherit (cfg) backup;
  inherit (backup) offsite;
  inherit (words) rule;
  option = name: words.option "backup.${name}";

  local = backup.enable && cfg.database.createLocally;
  away = local && offsite.enable;
  files = offsite.accessKeyIdFile != null && offsite.secretAccessKeyFile != null;
  one = offsite.accessKeyIdFile != null || offsite.secretAccessKeyFile != null;
  isRecipient = text: builtins.match "age1[0-9a-z]+" text != null;
in
{
  errors = [
    (rule "offsite-place" (away && (offsite.bucket == null || offsite.endpoint == null))
      "`${option "offsite"}` is enabled and wants a bucket and an endpoint."
    )
    (rule "offsite-bucket"
      (
        away
        && cfg.storage.type == "s3"
        && offsite.bucket == cfg.storage.s3.bucket
        && offsite.endpoint == cfg.storage.s3.endpoint
      )
      "`${option "offsite.bucket"}` is the bucket of the chunks: what destroys that one must not reach the backups."
    )
    (rule "offsite-keys" (away && !(if offsite.environmentFile != null then !one else files))
      "`${option "offsite"}` wants its keys either by environmentFile or by accessKeyIdFile and secretAccessKeyFile."
    )
    (rule "offsite-recipients" (away && !builtins.all isRecipient offsite.ageRecipients)
      "`${option "offsite.ageRecipients"}` takes public keys of age, which begin with age1: never a secret one."
    )
    (rule "offsite-prefix" (away && builtins.match "[A-Za-z0-9._/-]+" offsite.prefix == null)
      "`${option "offsite.prefix"}` is the name of a folder: letters, digits and ._/- alone."
    )
  ];

  warnings = [
    (rule "no-backup" (!backup.enable)
      "`${option "enable"}` is off: when the database of the cache server is lost, so is everything in the bucket, and the signing keys of the caches."
    )
    (rule "backup-elsewhere" (backup.enable && !cfg.database.createLocally)
      "The database of the cache server is elsewhere: nothing here backs it up. Set `${option "enable"}` to false when somebody else does."
    )
    (rule "no-offsite" (local && !offsite.enable)
      "`${option "offsite.enable"}` is off: the only backups of the cache server are on its own disk, and are lost with it."
    )
    (rule "offsite-open" (away && offsite.ageRecipients == [ ])
      "`${option "offsite.ageRecipients"}` is empty: backups leave the machine unencrypted, and whoever reads the second bucket has the signing keys of the caches and can forge what machines trust."
    )
  ];
}
