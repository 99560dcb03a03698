# What the configuration of a whole machine sets besides: how it boots, its disks, who logs in.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  no = option types.bool false;
in
{
  options = {
    boot = {
      initrd.availableKernelModules = option (types.listOf types.str) [ ];
      loader.grub = {
        enable = option types.bool true;
        device = option types.str "";
      };
    };
    fileSystems = option (types.attrsOf (
      types.submodule {
        options = {
          device = mkOption { type = types.str; };
          fsType = option types.str "auto";
        };
      }
    )) { };
    services = {
      openssh = {
        enable = no;
        openFirewall = option types.bool true;
        settings = option (types.attrsOf types.anything) { };
      };
      tailscale.enable = no;
    };
    time.timeZone = option (types.nullOr types.str) null;
  };
}
