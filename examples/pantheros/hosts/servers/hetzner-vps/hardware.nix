# A cloud server of Hetzner: one disk, BIOS. `nixos-generate-config` on the machine writes what counts there.
{
  boot.loader.grub = {
    enable = true;
    device = "/dev/sda";
  };
  boot.initrd.availableKernelModules = [
    "sd_mod"
    "sr_mod"
    "virtio_pci"
    "virtio_scsi"
  ];
  fileSystems."/" = {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };
}
