# What NixOS gives to its modules as `utils`: the types of units are its own, from the folder.
{
  config,
  folder,
  lib,
  pkgs,
}:
let
  from = name: import (folder + "/nixos/lib/${name}.nix");
  arguments = {
    inherit config lib pkgs;
    inherit utils;
  };
  given = function: function (builtins.intersectAttrs (builtins.functionArgs function) arguments);
  systemdUtils = {
    lib = given (from "systemd-lib");
    unitOptions = from "systemd-unit-options" { inherit lib systemdUtils; };
    types = from "systemd-types" { inherit lib pkgs systemdUtils; };
  };
  utils = {
    inherit systemdUtils;
    escapeSystemdPath =
      path: lib.concatStringsSep "-" (lib.filter (part: part != "") (lib.splitString "/" path));
    escapeSystemdExecArgs = lib.concatMapStringsSep " " (word: builtins.toJSON (toString word));
  };
in
utils
