# Mistakes that are refused, and what is only said. The rules of one runner are in rules.nix.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.pipelinegen.runner-host;
  here = "services.pipelinegen.runner-host";
  rules = import ./rules.nix { inherit lib; };
  runners = lib.mapAttrsToList (
    name: runner:
    runner
    // {
      inherit name;
      option = "${here}.runners.${name}";
    }
  ) cfg.runners;

  which = has: lib.any has runners;
  shell = runner: runner.executor == "shell";
  classes = lib.unique (map (runner: runner.refs) runners);
  trusted = config.nix.settings.trusted-users or [ ];
  modules = [
    "kvm-intel"
    "kvm-amd"
  ];
in
{
  config = lib.mkIf cfg.enable {
    assertions = lib.concatMap rules.assertionsOf runners ++ [
      {
        assertion = cfg.runners != { };
        message = "${here}.runners is empty: there is no runner to register.";
      }
      {
        assertion = cfg.hygiene.emergency < cfg.hygiene.reserve;
        message = "${here}.hygiene.emergency has to be less than hygiene.reserve: it is what is left of it.";
      }
      {
        assertion =
          cfg.kvm.enable && pkgs.stdenv.hostPlatform.isx86_64
          -> cfg.kvm.vendor != null || lib.any (name: lib.elem name config.boot.kernelModules) modules;
        message = "${here}.kvm is enabled, and no module of the kernel is loaded for it: set kvm.vendor to \"intel\" or \"amd\".";
      }
      {
        # The service gets the group of the engine's socket, and jobs of the shell executor are that service.
        assertion =
          which shell -> !config.virtualisation.docker.enable && !config.virtualisation.podman.dockerSocket.enable;
        message = "${here}: a runner with the shell executor cannot be on a machine with Docker's socket: whoever may use that socket is root.";
      }
      {
        # Jobs of the shell executor can read the configuration of the runner, and with it all tokens in it.
        assertion = which shell -> lib.length classes == 1;
        message = "${here}: next to a runner with the shell executor all runners must have the same `refs`: its jobs can read the tokens of all of them.";
      }
      {
        assertion = which (runner: runner.store == "shared") -> (config.nix.settings.sandbox or true) == true;
        message = "${here}: jobs share the store of this machine, and nix.settings.sandbox is not on: a build could read and change what belongs to others.";
      }
      {
        assertion =
          which (runner: runner.store == "shared")
          -> !(lib.any (user: lib.elem user trusted) [
            "*"
            "gitlab-runner"
            "@gitlab-runner"
          ]);
        message = "${here}: nix.settings.trusted-users names whom jobs run as: such a user may put any path into the store, forged ones, too.";
      }
    ];

    warnings = lib.concatMap rules.warningsOf runners;
  };
}
