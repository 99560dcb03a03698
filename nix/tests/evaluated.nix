# The modules in whole systems, evaluated with NixOS's own: types and assertions hold. Nothing of them is built.
{ pkgs, nixosModules }:
let
  system =
    module:
    pkgs.nixos {
      imports = [ module ];
      boot.isContainer = true;
      system.stateVersion = "25.05";
    };

  # A file that names the system, and does not depend on it.
  evaluated =
    name: module:
    pkgs.writeText "pipelinegen-${name}" (
      builtins.unsafeDiscardStringContext (system module).config.system.build.toplevel.drvPath
    );
in
{
  attic-server-evaluates = evaluated "attic-server" {
    imports = [
      nixosModules.attic-server
      ./settings/attic-server.nix
    ];
  };
  runner-host-evaluates = evaluated "runner-host" {
    imports = [
      nixosModules.runner-host
      ./settings/runner-host.nix
    ];
  };
}
