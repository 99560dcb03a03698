# The database, the bucket, and how NARs are stored there.
{
  cfg,
  settings,
  words,
  ...
}:
let
  inherit (builtins) filter toJSON;
  inherit (words)
    is
    list
    none
    option
    rule
    ;

  s3 = cfg.storage.s3;
  onS3 = cfg.storage.type == "s3";
  url = settings.database.url or "";
  signing = (settings.jwt or { }).signing or { };

  sizes = [
    "narSizeThreshold"
    "minSize"
    "avgSize"
    "maxSize"
  ];
in
[
  (rule "database-name" (cfg.database.createLocally && !is.namesDatabase "atticd" url)
    "The database must be called atticd, as the user who owns it: nixpkgs gives a database only to a user of its name. Leave `${option "database.url"}` as it is, or set `${option "database.createLocally"}` to false."
  )
  (rule "database-password" (is.holdsPassword url)
    "`services.atticd.settings.database.url` holds a password, and everybody can read the Nix store: put it into the environment file, as PGPASSWORD."
  )
  (rule "bucket" (onS3 && (s3.bucket == null || s3.region == null))
    "`${option "storage.s3"}` needs `bucket` and `region`; for chunks on this machine set `${option "storage.type"}` to \"local\"."
  )
  (rule "service-address" (onS3 && s3.endpoint != null && !is.isServiceAddress s3.endpoint)
    "`${option "storage.s3.endpoint"}` is ${toJSON s3.endpoint}: it must be https:// and the service's host name, without the bucket, such as https://s3.us-west-004.backblazeb2.com."
  )
  (rule "credentials-in-settings" ((settings.storage or { }) ? credentials)
    "`services.atticd.settings.storage.credentials` would be readable for everybody in the Nix store: give files in `${option "secrets"}`."
  )
  (rule "key-in-settings"
    (signing ? token-rs256-secret-base64 || signing ? token-hs256-secret-base64 || settings ? token-hs256-secret-base64)
    "The key that signs tokens is in `services.atticd.settings`, readable for everybody in the Nix store: give `${option "secrets.tokenSecretFile"}`."
  )
  (rule "chunk-sizes" (cfg.chunking.preset == "custom" && !is.areSizes cfg.chunking)
    "`${option "chunking.preset"} = \"custom\"` needs all of ${list sizes}, with 0 < minSize <= avgSize <= maxSize."
  )
  (rule "chunk-sizes-unused" (
    cfg.chunking.preset != "custom" && !none (filter (size: cfg.chunking.${size} != null) sizes)
  ) "Sizes in `${option "chunking"}` count only with `preset = \"custom\"`.")
  (rule "compression-level" (!is.isLevel { inherit (cfg.compression) type level; })
    "`${option "compression.level"}` is ${toString cfg.compression.level}, which ${cfg.compression.type} does not have: zstd has 1 to 22, brotli 0 to 11, xz 0 to 9, none has none."
  )
]
