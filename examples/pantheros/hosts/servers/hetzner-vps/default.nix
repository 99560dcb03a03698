# The server: what else pantherOS has on it is imported here, too.
{ lib, nixSettings, ... }:
{
  imports = [
    ./access.nix
    ./cache.nix
    ./hardware.nix
  ];

  networking.hostName = "hetzner-vps";
  time.timeZone = "UTC";
  system.stateVersion = "25.05";

  # The caches, in the order 40, 50, 60; those whose key is not known yet are left out.
  nix.settings = nixSettings // {
    # Alone: NixOS would add cache.nixos.org once more, by another address, and Nix would ask there twice.
    substituters = lib.mkForce nixSettings.substituters;
    experimental-features = [
      "nix-command"
      "flakes"
    ];
  };
}
