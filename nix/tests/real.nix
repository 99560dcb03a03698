# NixOS's own library and modules, from a folder laid out as nixpkgs is (`lib/`, `nixos/`); see evaluate.nix.
{ folder, opnix ? null }:
let
  lib = import (folder + "/lib");
in
{
  inherit lib;
  pkgs = import ./stand-in/pkgs.nix { inherit lib; };
  modules = [ ];
}
