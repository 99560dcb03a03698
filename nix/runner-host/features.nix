# Features of Nix that a machine with KVM offers: NixOS's tests of virtual machines ask for both.
{
  virtualMachines = [
    "kvm"
    "nixos-test"
  ];
}
