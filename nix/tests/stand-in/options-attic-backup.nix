# What backups of the cache server set besides.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  cfg = config.services.postgresqlBackup;
in
{
  options.services.postgresqlBackup = {
    enable = option types.bool false;
    startAt = option (types.either types.str (types.listOf types.str)) "*-*-* 01:15:00";
    databases = option (types.listOf types.str) [ ];
    location = option types.path "/var/backup/postgresql";
    pgdumpOptions = option types.str "-C";
    compression = option (types.enum [
      "none"
      "gzip"
      "zstd"
    ]) "gzip";
  };

  # One unit for each database, as the manual says.
  config.systemd.services = lib.mkIf cfg.enable (
    lib.listToAttrs (
      map (name: {
        name = "postgresqlBackup-${name}";
        value.startAt = cfg.startAt;
      }) cfg.databases
    )
  );
}
