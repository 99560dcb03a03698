# More about backups: what only some want to set.
{ config, lib, ... }:
let
  inherit (lib) literalExpression mkOption types;

  cfg = config.services.pipelinegen.attic-server;
in
{
  options.services.pipelinegen.attic-server = {
    backup.offsite.prune = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether this machine deletes copies off-site that are older than `backup.keepDays`. Without it the key needs no
        right to delete, so that nobody who takes this machine over can delete the copies; then let a lifecycle rule of
        the bucket do it.
      '';
    };

    backup.drill = {
      identityFile = mkOption {
        type = types.nullOr (types.strMatching "/.+");
        default = null;
        example = "/run/secrets/drill-identity";
        description = ''
          A secret key of `age`, one of those that `backup.offsite.ageRecipients` names, best one that only this machine
          has. Without it an encrypted copy is fetched and compared with what was sent, and what is restored is the dump
          that is kept here.
        '';
      };

      sample = mkOption {
        type = types.ints.unsigned;
        default = 20;
        description = "So many chunks that the dump names are read from the storage and compared with their hashes.";
      };
    };

    health.public = mkOption {
      type = types.bool;
      default = cfg.proxy.enable;
      defaultText = literalExpression "proxy.enable";
      description = "Whether the server is also asked as clients ask it, by `https://` and its public name.";
    };
  };
}
