# A binary cache server: Attic with PostgreSQL, Caddy before it, and chunks in a bucket. See
# docs/how-to/run-a-cache-server.md; `./options` has what can be set, `./rules` what is refused and why.
{
  imports = [
    ./options
    ./assertions.nix
    ./backup.nix
    ./database.nix
    ./health.nix
    ./journal.nix
    ./monitoring.nix
    ./provision.nix
    ./proxy.nix
    ./secrets.nix
    ./server.nix
  ];
}
