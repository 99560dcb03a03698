# NixOS's own library and modules, from a folder laid out as nixpkgs is; see evaluate.nix.
#
#   folder   with `pkgs/`: nixpkgs itself, and then a machine is a whole NixOS with its packages. Without: `lib/` and,
#            under `nixos/`, the modules that ours touch; the rest is ./real/options.nix and ./real/pkgs.nix
#   opnix    the source of OpNix, or null
{
  folder,
  opnix ? null,
}:
let
  lib = import (folder + "/lib");
  system = "x86_64-linux";
  whole = builtins.pathExists (folder + "/pkgs/top-level");

  pkgs =
    if whole then
      import folder {
        inherit system;
        config = { };
        overlays = [ ];
      }
    else
      import ./real/pkgs.nix { inherit lib system; };

  machine = {
    system.stateVersion = lib.mkDefault "25.05";
    boot.isContainer = true;
  };
in
{
  inherit lib pkgs;
  modules = [ machine ] ++ lib.optional (opnix != null) (opnix + "/nix/module.nix");

  evalModules =
    { modules, ... }@arguments:
    if whole then
      import (folder + "/nixos/lib/eval-config.nix") {
        system = null;
        modules = modules ++ [ { nixpkgs.pkgs = pkgs; } ];
        specialArgs = removeAttrs (arguments.specialArgs or { }) [ "pkgs" ];
      }
    else
      lib.evalModules (
        arguments // { modules = modules ++ import ./real/modules.nix { inherit folder lib pkgs; }; }
      );
}
