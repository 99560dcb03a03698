# 1Password as the source of secrets, by way of OpNix. Its module is not ours to import: without it, nothing here has
# an effect, and `./rules` says how to get it.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib)
    filterAttrs
    mapAttrs'
    mkDefault
    mkIf
    nameValuePair
    ;

  cfg = config.services.pipelinegen.attic-server;
  inherit (cfg.secrets) opnix;

  available = options.services ? onepassword-secrets;
  file =
    reference: name:
    mkIf (available && cfg.enable && opnix.enable && opnix.references.${reference} != null) (
      mkDefault "${config.services.onepassword-secrets.outputDir}/${name}"
    );

  # OpNix takes names in camelCase and no others. `services` are restarted when the secret changes: none for those that
  # attic-environment-refresh takes over, for a restart with a bad secret would end the server.
  wanted = {
    environmentFile = {
      name = "atticEnvironment";
      services = [ ];
    };
    tokenSecret = {
      name = "atticTokenSecret";
      services = [ ];
    };
    s3AccessKeyId = {
      name = "atticS3AccessKeyId";
      services = [ ];
    };
    s3SecretAccessKey = {
      name = "atticS3SecretAccessKey";
      services = [ ];
    };
    offsiteAccessKeyId = {
      name = "atticOffsiteAccessKeyId";
      services = [ ];
    };
    offsiteSecretAccessKey = {
      name = "atticOffsiteSecretAccessKey";
      services = [ ];
    };
    dnsCredentials = {
      name = "atticDnsCredentials";
      services = [ "caddy" ];
    };
  };

  secrets = mapAttrs' (
    reference: secret:
    nameValuePair secret.name {
      reference = opnix.references.${reference};
      inherit (secret) services;
      owner = "root";
      mode = "0400";
    }
  ) (filterAttrs (reference: _: opnix.references.${reference} != null) wanted);
in
{
  config.services = {
    pipelinegen.attic-server = {
      secrets = {
        environmentFile = file "environmentFile" "atticEnvironment";
        tokenSecretFile = file "tokenSecret" "atticTokenSecret";
        s3AccessKeyIdFile = file "s3AccessKeyId" "atticS3AccessKeyId";
        s3SecretAccessKeyFile = file "s3SecretAccessKey" "atticS3SecretAccessKey";
      };
      backup.offsite = {
        accessKeyIdFile = file "offsiteAccessKeyId" "atticOffsiteAccessKeyId";
        secretAccessKeyFile = file "offsiteSecretAccessKey" "atticOffsiteSecretAccessKey";
      };
    };
  }
  // lib.optionalAttrs available {
    onepassword-secrets = mkIf (cfg.enable && opnix.enable) {
      enable = true;
      inherit (opnix) tokenFile;
      inherit secrets;
    };
  };
}
