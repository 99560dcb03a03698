# Where secrets come from: files that something else has put there, or 1Password by way of OpNix.
{ lib, ... }:
let
  inherit (lib) mkEnableOption mkOption types;

  file = import ./secret-file.nix { inherit lib; };

  reference =
    field: what:
    mkOption {
      type = types.nullOr (types.strMatching "op://[^/]+/.+");
      default = null;
      example = "op://Infrastructure/Attic/${field}";
      description = "Where 1Password has ${what}.";
    };
in
{
  options.services.pipelinegen.attic-server.secrets = {
    environmentFile = file "/run/secrets/attic.env" ''
      A complete file with the lines `ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64=…` and, for S3, `AWS_ACCESS_KEY_ID=…` and
      `AWS_SECRET_ACCESS_KEY=…`. Instead of the three files below. Owned by root and readable for root alone; a user
      `atticd` does not exist before the server runs.
    '';

    tokenSecretFile = file "/run/secrets/attic-token-secret" ''
      The key that signs tokens: what `openssl genrsa -traditional 4096` prints, or the same in base64 on one line.
    '';

    s3AccessKeyIdFile = file "/run/secrets/b2-key-id" ''
      One line: the access key of the bucket (`keyID` of an application key at Backblaze).
    '';

    s3SecretAccessKeyFile = file "/run/secrets/b2-key" ''
      One line: its secret (`applicationKey` at Backblaze).
    '';

    opnix = {
      enable = mkEnableOption "fetching the secrets from 1Password with OpNix, whose module must be imported too";

      tokenFile = mkOption {
        type = types.strMatching "/.+";
        default = "/etc/opnix-token";
        description = "The service account's token for 1Password. It must be there before the first start.";
      };

      references = {
        environmentFile = reference "environment" "the complete file of `secrets.environmentFile`, as a text field";
        tokenSecret = reference "token-secret" "the content of `secrets.tokenSecretFile`";
        s3AccessKeyId = reference "access-key-id" "the content of `secrets.s3AccessKeyIdFile`";
        s3SecretAccessKey = reference "secret-access-key" "the content of `secrets.s3SecretAccessKeyFile`";
        offsiteAccessKeyId = reference "offsite-key-id" "the content of `backup.offsite.accessKeyIdFile`";
        offsiteSecretAccessKey = reference "offsite-key" "the content of `backup.offsite.secretAccessKeyFile`";
        dnsCredentials = reference "dns" "the content of `access.dnsChallenge.credentialsFile`";
      };
    };
  };
}
