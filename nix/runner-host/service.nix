# How the runner itself runs: what it may do, and how it stops without failing jobs.
{ config, lib, ... }:
let
  cfg = config.services.pipelinegen.runner-host;
  shell = lib.any (runner: runner.executor == "shell") (lib.attrValues cfg.runners);
in
{
  config = lib.mkIf cfg.enable {
    systemd.services.gitlab-runner.serviceConfig = {
      # NixOS's module sends SIGQUIT, on which a runner finishes its jobs, and leaves whatever outlives
      # `gracefulTimeout` behind. Of that, nothing is to stay.
      KillMode = lib.mkForce "mixed";
      Restart = "on-failure";
      RestartSec = "30s";

      # Besides what a dynamic user brings along.
      LockPersonality = true;
      PrivateDevices = !cfg.kvm.enable;
      ProtectClock = !cfg.kvm.enable;
      ProtectControlGroups = true;
      ProtectHome = true;
      ProtectHostname = true;
      ProtectKernelLogs = true;
      ProtectKernelModules = true;
      ProtectKernelTunables = true;
      ProtectProc = "invisible";
      RestrictRealtime = true;
      UMask = "0077";
    }
    // lib.optionalAttrs shell {
      # Temporary files of jobs, and with them roots of the garbage collector, where the collector finds them: in the
      # service's own /tmp it would see nothing and take the paths away.
      CacheDirectory = "gitlab-runner";
      TasksMax = 8192;
    }
    // lib.optionalAttrs (shell && cfg.memory.jobs != null) { MemoryMax = cfg.memory.jobs; };
  };
}
