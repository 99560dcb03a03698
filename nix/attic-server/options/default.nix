# The options of the cache server, by area. Monitoring declares more of its own beside `monitoring.enable`.
{
  imports = [
    ./server.nix
    ./caches.nix
    ./storage.nix
    ./secrets.nix
    ./access.nix
    ./backup.nix
    ./watching.nix
  ];
}
