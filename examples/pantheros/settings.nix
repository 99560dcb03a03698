# What is particular to pantherOS and not to its pipeline (that is pipelinegen.toml). The questions that the design
# left open are answered here and there; README.md lists them.
{
  # Under which name everybody reaches the cache. One name: Attic answers requests for no other, and it is in the
  # address that clients are told to push to. It also stands in pipelinegen.toml.
  domain = "cache.pantheros.dev";

  # Who is told when certificates go wrong.
  email = "ops@pantheros.dev";

  # Backblaze B2: README.md has the steps. The second bucket is for the database's backups, in another region.
  storage = {
    bucket = "pantheros-nix-cache";
    region = "us-west-004";
    endpoint = "https://s3.us-west-004.backblazeb2.com";
  };
  backup = {
    bucket = "pantheros-attic-backup";
    region = "eu-central-003";
    endpoint = "https://s3.eu-central-003.backblazeb2.com";
    # Made by `age-keygen`; what it prints as secret stays in 1Password and nowhere else. Without a key the copies
    # would leave this machine readable, and they hold the keys that sign the caches.
    ageRecipients = [ ];
  };

  # Whether only machines of the tailnet reach the cache. It then needs a certificate by DNS, and jobs need a runner
  # in the tailnet.
  cacheOnlyInTailnet = false;

  # Whether only machines of the tailnet may log in. The runners of GitLab.com are not in it: with `true`, the deploy
  # job needs a runner that is (`tags` of the host in pipelinegen.toml), on another machine than this one.
  loginOnlyInTailnet = false;

  # Who may log in as root: the public half of the 1Password item SSH/deploy-key, and yours.
  loginKeys = [ ];
}
