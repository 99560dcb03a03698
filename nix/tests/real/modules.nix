# The modules of NixOS that ours touch, as far as the folder has them, and what they stand on.
{
  folder,
  lib,
  pkgs,
}:
let
  known = [
    "config/nix.nix"
    "misc/assertions.nix"
    "services/backup/postgresql-backup.nix"
    # One of the two, by the age of the folder.
    "services/continuous-integration/gitlab-runner.nix"
    "services/continuous-integration/gitlab-runner/runner.nix"
    "services/databases/postgresql.nix"
    "services/misc/nix-gc.nix"
    "services/monitoring/prometheus/exporters.nix"
    "services/monitoring/prometheus/pushgateway.nix"
    "services/networking/atticd.nix"
    "services/web-servers/caddy/default.nix"
    "system/boot/systemd/journald.nix"
    "virtualisation/docker.nix"
  ];
  paths = map (name: folder + "/nixos/modules/${name}") known;

  utilities =
    { config, ... }:
    {
      _module.args.utils = import ./utils.nix {
        inherit
          config
          folder
          lib
          pkgs
          ;
      };
    };
in
builtins.filter builtins.pathExists paths
++ [
  utilities
  ./options.nix
  ./systemd.nix
  ./users.nix
]
