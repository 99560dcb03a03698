# What works, and is likely not what was meant.
{
  cfg,
  settings,
  firewall,
  words,
  ...
}:
let
  inherit (builtins) elem;
  inherit (words) is option rule;

  s3 = cfg.storage.s3;
  onS3 = cfg.storage.type == "s3";
in
[
  (rule "tailscale-bucket" (cfg.access.tailscaleOnly && onS3)
    "`${option "access.tailscaleOnly"}`: clients still need a way to ${
      if s3.endpoint == null then "the bucket" else s3.endpoint
    }, where Attic sends them for every NAR of one chunk."
  )
  (rule "tailscale-open" (cfg.access.tailscaleOnly && (!firewall.enable || elem 443 firewall.allowedTCPPorts))
    "`${option "access.tailscaleOnly"}`: port 443 is open on all interfaces nevertheless; others reach Caddy and are answered 403."
  )
  (rule "sqlite" (is.isSqlite (settings.database.url or ""))
    "Attic on SQLite stops collecting garbage once there are many chunks: use PostgreSQL for more than a trial."
  )
  (rule "b2-checksums"
    (onS3 && s3.checksums == "always" && s3.endpoint != null && is.isBackblaze s3.endpoint)
    "Backblaze refuses the checksums that `${option "storage.s3.checksums"} = \"always\"` sends: leave it \"when-required\"."
  )
  (rule "proof" (!(settings.require-proof-of-possession or true))
    "`services.atticd.settings.require-proof-of-possession` is off: who knows a path's hash can have it from a private cache of others."
  )
  (rule "nothing-to-provision" (
    cfg.provision.enable && cfg.caches == { }
  ) "`${option "provision.enable"}`: there is nothing in `caches`.")
]
