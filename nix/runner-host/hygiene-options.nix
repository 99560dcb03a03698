# How much of the disk is kept free, and what goes for it.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.services.pipelinegen.runner-host.hygiene = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Keep space on the disk free for builds.";
    };
    reserve = mkOption {
      type = types.ints.positive;
      default = 20480;
      description = "MiB of the store's disk to keep free. Only what is missing to it is deleted.";
    };
    emergency = mkOption {
      type = types.ints.positive;
      default = 5120;
      description = "MiB of free space below which the store is cleaned even while jobs use it.";
    };
    interval = mkOption {
      type = types.str;
      default = "*:0/10";
      description = "When to look, as systemd's `OnCalendar` has it.";
    };
    generations = mkOption {
      type = types.nullOr (types.strMatching "[0-9]+d|[+][0-9]+");
      default = "30d";
      description = ''
        Generations of this machine's own system that go where the reserve cannot be had otherwise: those older than
        so many days (`30d`), or all but so many (`+5`). `null` keeps them all.
      '';
    };
    buildFolderDays = mkOption {
      type = types.ints.positive;
      default = 7;
      description = "Days after which the shell executor's checkout of a project goes that no job used.";
    };
    pruneDates = mkOption {
      type = types.str;
      default = "weekly";
      description = "When images, containers and networks that nothing uses are deleted.";
    };
  };
}
