# A cache server with all that it offers, as far as it needs no module of somebody else.
{
  networking.hostName = "cache";

  services.pipelinegen.attic-server = {
    enable = true;
    domain = "cache.example.org";
    caches = {
      prod = {
        public = true;
        retention = "90 days";
      };
      ci-main.retention = "2 weeks";
      ci-mr.retention = "1 week";
    };
    storage.s3 = {
      bucket = "example-nix-cache";
      region = "us-west-004";
      endpoint = "https://s3.us-west-004.backblazeb2.com";
    };
    secrets = {
      tokenSecretFile = "/run/secrets/attic-token-secret";
      s3AccessKeyIdFile = "/run/secrets/b2-key-id";
      s3SecretAccessKeyFile = "/run/secrets/b2-key";
    };
    backup.offsite = {
      enable = true;
      bucket = "example-attic-backup";
      region = "eu-central-003";
      endpoint = "https://s3.eu-central-003.backblazeb2.com";
      environmentFile = "/run/secrets/offsite.env";
      ageRecipients = [ "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p" ];
    };
    monitoring.enable = true;
  };
}
