# A NixOS without nixpkgs: the options that our modules set, and packages that cannot be built.
let
  lib = import ./lib.nix;
  here = builtins.readDir ./.;
in
{
  inherit lib;
  pkgs = import ./pkgs.nix { inherit lib; };
  # Each area declares the options that it touches: options-AREA.nix.
  modules = map (name: ./. + "/${name}") (
    builtins.filter (name: builtins.match "options.*\\.nix" name != null) (builtins.attrNames here)
  );
}
