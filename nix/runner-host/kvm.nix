# Features that Nix offers to builds here, and /dev/kvm where one of them is virtual machines.
{ config, lib, ... }:
let
  cfg = config.services.pipelinegen.runner-host;
in
{
  config = lib.mkIf cfg.enable {
    # NixOS adds "kvm" to what is set here, on machines without it, too: a build that needs it would be taken and fail.
    nix.settings.system-features = lib.mkForce (
      cfg.features ++ lib.optionals cfg.kvm.enable (import ./features.nix).virtualMachines
    );

    boot.kernelModules = lib.optional (cfg.kvm.enable && cfg.kvm.vendor != null) "kvm-${cfg.kvm.vendor}";

    # For jobs of the shell executor; containers are given the device, and builds have it by its mode.
    systemd.services.gitlab-runner.serviceConfig.SupplementaryGroups = lib.mkIf cfg.kvm.enable [ "kvm" ];
  };
}
