# What the image's nix.conf says, as { NAME = value; }. Caches and their priorities come from nix/lib.
{
  shared,
  caches,
  settings,
}:
{
  experimental-features = [
    "nix-command"
    "flakes"
  ];

  # Single-user Nix as root, but builds run as others: where the runner allows no sandbox, a build then still
  # cannot read the environment or the private files of its job.
  build-users-group = "nixbld";

  # On where the kernel lets a container make namespaces. Where not, Nix warns and builds without.
  sandbox = true;
  sandbox-fallback = true;

  max-jobs = "auto";

  # A cache that is down, or loses a path in the middle, costs time and not the job.
  fallback = true;
  connect-timeout = 10;

  # "Not there" is true only until the job beside this one has pushed it.
  narinfo-cache-negative-ttl = 0;
}
// shared.caches.settingsFor ({ inherit (shared.caches) upstream; } // caches)
// settings
