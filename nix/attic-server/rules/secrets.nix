# Where secrets come from, and who can read them.
{
  cfg,
  opnix,
  words,
  ...
}:
let
  inherit (builtins)
    attrNames
    attrValues
    filter
    hasAttr
    ;
  inherit (words)
    is
    list
    none
    option
    rule
    ;

  onS3 = cfg.storage.type == "s3";

  # A part comes from a file, or from 1Password.
  references = cfg.secrets.opnix.references;
  given = file: reference: cfg.secrets.${file} != null || cfg.secrets.opnix.enable && references.${reference} != null;
  complete = given "environmentFile" "environmentFile";
  token = given "tokenSecretFile" "tokenSecret";
  keyId = given "s3AccessKeyIdFile" "s3AccessKeyId";
  key = given "s3SecretAccessKeyFile" "s3SecretAccessKey";

  files = filter (file: file != null) [
    cfg.secrets.environmentFile
    cfg.secrets.tokenSecretFile
    cfg.secrets.s3AccessKeyIdFile
    cfg.secrets.s3SecretAccessKeyFile
    cfg.secrets.opnix.tokenFile
    (if cfg.access.dnsChallenge == null then null else cfg.access.dnsChallenge.credentialsFile)
  ];

  ours = filter (name: hasAttr name opnix.secrets) [
    "atticEnvironment"
    "atticTokenSecret"
    "atticS3AccessKeyId"
    "atticS3SecretAccessKey"
    "atticOffsiteAccessKeyId"
    "atticOffsiteSecretAccessKey"
    "atticDnsCredentials"
  ];
  foreign = filter (name: (opnix.secrets.${name}.owner or "root") != "root") ours;
in
[
  (rule "secrets-twice" (complete && (token || keyId || key))
    "`${option "secrets.environmentFile"}` is a complete file: leave out the parts beside it, or leave out the file."
  )
  (rule "token-secret" (
    !complete && !token
  ) "The key that signs tokens is missing: set `${option "secrets.tokenSecretFile"}` or `${option "secrets.environmentFile"}`.")
  (rule "bucket-credentials" (onS3 && !complete && !(keyId && key))
    "The bucket's credentials are missing: set `${option "secrets.s3AccessKeyIdFile"}` and `s3SecretAccessKeyFile`, or `${option "secrets.environmentFile"}`."
  )
  (rule "secrets-in-store" (
    !none (filter is.isInStore files)
  ) "${list (filter is.isInStore files)} is in the Nix store, where everybody can read it: a secret must come from elsewhere.")
  (rule "opnix-module" (cfg.secrets.opnix.enable && !opnix.available)
    "`${option "secrets.opnix.enable"}` needs OpNix's module: add the input opnix (github:brizzbuzz/opnix) to your flake and opnix.nixosModules.default to the modules of this host."
  )
  (rule "opnix-unused" (!cfg.secrets.opnix.enable && !none (filter (one: one != null) (attrValues references)))
    "`${option "secrets.opnix.references"}` is set, and `secrets.opnix.enable` is not: nothing would be fetched."
  )
  (rule "opnix-names" (!none (filter (name: !is.isCamelCase name) (attrNames opnix.secrets)))
    "OpNix takes names in camelCase and no others: rename ${list (filter (name: !is.isCamelCase name) (attrNames opnix.secrets))} in `services.onepassword-secrets.secrets`."
  )
  (rule "secret-owner" (
    !none foreign
  ) "${list foreign} must belong to root: systemd and root's programs read it, and a user atticd does not exist before the server runs.")
]
