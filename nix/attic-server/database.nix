# PostgreSQL. nixpkgs gives a database only to a user of the same name, so both are `atticd`, and so is the user that
# the server runs as: it needs no password.
{ config, lib, ... }:
let
  cfg = config.services.pipelinegen.attic-server;
in
{
  config = lib.mkIf (cfg.enable && cfg.database.createLocally) {
    services.postgresql = {
      enable = true;
      ensureDatabases = [ "atticd" ];
      ensureUsers = [
        {
          name = "atticd";
          ensureDBOwnership = true;
        }
      ];
      # Only for a cluster that is made anew: a bad disk is then noticed when a page is read, not years later.
      initdbArgs = [ "--data-checksums" ];
    };
  };
}
