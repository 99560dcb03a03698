# Space on the disk. Nothing is deleted because it is old: a warm store is what makes builds fast. What is missing to a
# reserve is deleted, and no more.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.pipelinegen.runner-host;
  inherit (cfg) hygiene;
  runners = lib.attrValues cfg.runners;
  shell = lib.any (runner: runner.executor == "shell") runners;
  containers = lib.any (runner: runner.executor == "docker") runners;
  shared = lib.any (runner: runner.store == "shared") runners;
  mebibytes = count: count * 1024 * 1024;

  script =
    name: file: inputs:
    pkgs.writeShellApplication {
      inherit name;
      runtimeInputs = [ pkgs.coreutils ] ++ inputs;
      text = builtins.readFile file;
    };
  busy = script "runner-host-busy" ./busy.sh [
    pkgs.curl
    pkgs.gawk
  ];
  reserve = script "runner-host-reserve" ./reserve.sh [ config.nix.package ];
  builds = script "runner-host-builds" ./builds.sh [ pkgs.findutils ];
  program = package: name: "${package}/bin/${name}";

  quiet = {
    Type = "oneshot";
    Nice = 19;
    IOSchedulingClass = "idle";
  };
  metrics = "http://127.0.0.1:${toString cfg.metricsPort}/metrics";
  prune = flags: {
    enable = true;
    dates = hygiene.pruneDates;
    inherit flags;
  };
  # Images made by Nix are from 1970, so each that nothing uses goes and is fetched again.
  unused = [
    "--all"
    "--filter"
    "until=24h"
  ];
in
{
  config = lib.mkIf (cfg.enable && hygiene.enable) {
    nix = {
      settings = {
        # The daemon's own: while something builds, with less than `min-free` bytes left, until `max-free` are.
        min-free = lib.mkDefault (mebibytes hygiene.emergency);
        max-free = lib.mkDefault (mebibytes hygiene.reserve);
        auto-optimise-store = lib.mkDefault true;
      };
      # It would empty the store each time, and ask nobody.
      gc.automatic = lib.mkDefault false;
    };

    systemd = {
      services = {
        runner-host-reserve = {
          description = "Keep a reserve of free space for builds";
          environment = {
            RESERVE_MB = toString hygiene.reserve;
            EMERGENCY_MB = toString hygiene.emergency;
            GENERATIONS = toString hygiene.generations;
            # Jobs in an isolated store lose nothing here.
            BUSY = lib.optionalString shared (program busy "runner-host-busy");
            METRICS_URL = metrics;
          };
          # It has to see every folder as it is: a root whose folder is not there is forgotten by the collector, and with
          # ProtectHome or PrivateTmp that would be each in /home or /tmp.
          serviceConfig = quiet // {
            ExecStart = program reserve "runner-host-reserve";
          };
        };
        runner-host-builds = lib.mkIf shell {
          description = "Delete checkouts that no job uses any more";
          environment = {
            BUILDS_FOLDER = "/var/lib/gitlab-runner/builds";
            BUILDS_DAYS = toString hygiene.buildFolderDays;
            BUSY = program busy "runner-host-busy";
            METRICS_URL = metrics;
          };
          # As the runner's own user: what jobs have put there must not lead a deletion by root astray.
          serviceConfig = quiet // {
            DynamicUser = true;
            ProtectHome = true;
            User = "gitlab-runner";
            StateDirectory = "gitlab-runner";
            ExecStart = program builds "runner-host-builds";
          };
        };
      };
      timers = {
        runner-host-reserve = {
          wantedBy = [ "timers.target" ];
          timerConfig = {
            OnCalendar = hygiene.interval;
            RandomizedDelaySec = "30s";
          };
        };
        runner-host-builds = lib.mkIf shell {
          wantedBy = [ "timers.target" ];
          timerConfig = {
            OnCalendar = "daily";
            RandomizedDelaySec = "1h";
            Persistent = true;
          };
        };
      };
      tmpfiles.rules = lib.optional shell "e /var/cache/private/gitlab-runner - - - 2d";
    };

    virtualisation = {
      docker.autoPrune = lib.mkIf (containers && cfg.engine == "docker") (prune unused);
      podman.autoPrune = lib.mkIf (containers && cfg.engine == "podman") (prune unused);
    };
    # Volumes of jobs and of GitLab's caches that no container uses.
    services.gitlab-runner.clear-docker-cache = lib.mkIf (containers && cfg.engine == "docker") {
      enable = true;
      dates = "monthly";
    };
  };
}
