# The runners, as NixOS's own module registers them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.pipelinegen.runner-host;
  template = import ./template.nix;
  podman = cfg.engine == "podman";
  containers = lib.any (runner: runner.executor == "docker") (lib.attrValues cfg.runners);

  entryOf =
    runner:
    if runner.executor == "shell" then
      template.shell
    else
      template.docker {
        inherit (runner)
          cpus
          memory
          privileged
          pullPolicy
          ;
        devices = lib.optional cfg.kvm.enable "/dev/kvm";
        socket = if podman then "unix:///run/podman/podman.sock" else null;
      };

  serviceOf =
    name: runner:
    {
      inherit (runner)
        authenticationTokenConfigFile
        environmentVariables
        executor
        limit
        requestConcurrency
        ;
      description = "${config.networking.hostName} ${name}";
      # A trace of a job prints every secret that the job has.
      debugTraceDisabled = true;
      # The words of a command of the shell.
      registrationFlags = [
        "--url ${lib.escapeShellArg cfg.gitlabUrl}"
        "--template-config ${pkgs.writeText "gitlab-runner-${name}.toml" (template.toToml (entryOf runner))}"
      ];
    }
    // lib.optionalAttrs (runner.executor == "docker") {
      # NixOS's module gives up without one, before our own sentence about it is heard.
      dockerImage = if runner.image == null then "none" else runner.image;
      dockerAllowedImages = runner.allowedImages;
      dockerPrivileged = runner.privileged;
      dockerVolumes = runner.volumes;
    };
in
{
  config = lib.mkIf cfg.enable {
    services.gitlab-runner = {
      enable = true;
      settings = {
        concurrent = cfg.concurrency;
        check_interval = 3;
        listen_address = "127.0.0.1:${toString cfg.metricsPort}";
      };
      gracefulTermination = true;
      inherit (cfg) gracefulTimeout;
      services = lib.mapAttrs serviceOf cfg.runners;
    };

    # NixOS's module enables Docker wherever a runner has the Docker executor.
    virtualisation = lib.mkIf containers {
      docker.enable = !podman;
      podman = lib.mkIf podman {
        enable = true;
        dockerSocket.enable = true;
      };
    };

    # Each job has a network of its own, in which Podman answers questions for names on the machine's side of it.
    networking.firewall.interfaces = lib.mkIf (containers && podman) {
      ${if config.networking.nftables.enable or false then "podman*" else "podman+"} = {
        allowedTCPPorts = [ 53 ];
        allowedUDPPorts = [ 53 ];
      };
    };
  };
}
