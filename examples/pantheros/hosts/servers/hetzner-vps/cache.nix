# The binary cache: Attic, PostgreSQL, Caddy, chunks in Backblaze B2, secrets from 1Password.
{ cachesOfServer, settings, ... }:
{
  services.pipelinegen.attic-server = {
    enable = true;
    inherit (settings) domain;
    caches = cachesOfServer;

    storage.s3 = settings.storage;

    secrets.opnix = {
      enable = true;
      references = {
        tokenSecret = "op://pantherOS/Attic/token-secret";
        s3AccessKeyId = "op://pantherOS/Backblaze-B2/application-key-id";
        s3SecretAccessKey = "op://pantherOS/Backblaze-B2/application-key";
        offsiteAccessKeyId = "op://pantherOS/Backblaze-B2-backup/application-key-id";
        offsiteSecretAccessKey = "op://pantherOS/Backblaze-B2-backup/application-key";
      };
    };

    backup.offsite = {
      enable = true;
    }
    // settings.backup;

    proxy.email = settings.email;
    access.tailscaleOnly = settings.cacheOnlyInTailnet;
    monitoring.enable = true;
  };
}
