# Runners whose jobs use the store of this machine, through a Nix daemon that does not trust them.
#
# The daemon sees who calls by the uid that the kernel tells it: root of a container is root to it, whom it trusts by
# itself. Such a job could turn the sandbox off and import forged paths. So containers get a daemon of their own, on the
# same store, that trusts nobody.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.pipelinegen.runner-host;
  shared = lib.filterAttrs (_: runner: runner.store == "shared") cfg.runners;
  of = executor: lib.filterAttrs (_: runner: runner.executor == executor) shared;
  inContainers = of "docker";
  folder = "runner-host-nix";
  limit = lib.optionalAttrs (cfg.memory.builds != null) { MemoryMax = cfg.memory.builds; };
  certificates = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
  tools = pkgs.symlinkJoin {
    name = "pipelinegen-job-tools";
    paths = cfg.tools;
  };
in
{
  config = lib.mkIf (cfg.enable && shared != { }) {
    nix.settings = {
      experimental-features = lib.mkDefault [
        "nix-command"
        "flakes"
      ];
      sandbox = lib.mkDefault true;
    };

    # A job of the shell executor runs in a login shell, which takes its programs from the system's profile.
    environment.systemPackages = lib.mkIf (of "shell" != { }) cfg.tools;

    services.gitlab-runner.services =
      lib.mapAttrs (_: _: {
        environmentVariables = {
          NIX_REMOTE = "daemon";
          TMPDIR = "/var/cache/gitlab-runner";
        };
      }) (of "shell")
      // lib.mapAttrs (_: _: {
        # The image's own store is hidden by this one: what a job runs comes from here, or from outside of /nix.
        dockerVolumes = [
          "/nix/store:/nix/store:ro"
          "/run/${folder}:/nix/var/nix/daemon-socket:ro"
        ];
        environmentVariables = {
          # The image may have no nix.conf.
          NIX_CONFIG = "experimental-features = nix-command flakes";
          NIX_REMOTE = "daemon";
          NIX_SSL_CERT_FILE = certificates;
          SSL_CERT_FILE = certificates;
          PATH = "${tools}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        };
      }) inContainers;

    systemd.services = {
      # Where it is, jobs can reach it and not the machine's own.
      runner-host-nix-daemon = lib.mkIf (inContainers != { }) {
        description = "Nix daemon for jobs in containers, which trusts nobody";
        wantedBy = [ "multi-user.target" ];
        before = [ "gitlab-runner.service" ];
        unitConfig.RequiresMountsFor = [ "/nix/store" ];
        path = [
          config.nix.package
          pkgs.openssh
        ];
        environment = config.networking.proxy.envVars or { } // {
          NIX_DAEMON_SOCKET_PATH = "/run/${folder}/socket";
          # Wins over nix.conf.
          NIX_CONFIG = "trusted-users =";
          NIX_SSL_CERT_FILE = certificates;
        };
        # What serves a running job goes on when the daemon is restarted, and the folder stays for its container.
        stopIfChanged = false;
        serviceConfig = {
          ExecStart = "${config.nix.package}/bin/nix-daemon";
          KillMode = "process";
          LimitNOFILE = 1048576;
          OOMPolicy = "continue";
          Restart = "on-failure";
          RuntimeDirectory = folder;
          RuntimeDirectoryMode = "0755";
          RuntimeDirectoryPreserve = true;
          TasksMax = 1048576;
        }
        // limit;
      };
      nix-daemon.serviceConfig = limit;
    };
  };
}
