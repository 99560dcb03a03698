# A machine that is deployed to: it boots from a disk of its own, so that the boot loader counts, and has a store
# of its own, so that something is copied.
{
  lib,
  extendModules,
  ...
}:
{
  virtualisation = {
    useBootLoader = true;
    useEFIBoot = true;
    diskSize = 4096;
    memorySize = 1024;
  };
  boot.loader.systemd-boot.enable = true;
  boot.loader.timeout = 0;

  services.openssh.enable = true;
  networking.firewall.enable = true;
  nix.settings.substituters = lib.mkForce [ ];

  # The next configurations of this very machine; they are no part of it.
  system.build.variants = lib.mapAttrs (
    _: module: (extendModules { modules = [ module ]; }).config.system.build.toplevel
  ) (import ./variants.nix { inherit lib; });
}
