# pipelinegen for NixOS: the program, the image that its jobs run in, and modules for the machines around it.
#
# There is no flake.lock: a lock records what the network said, and none was at hand where this was written.
# `nix flake lock` makes it; then `nix flake check` builds the program, evaluates the modules with NixOS's own and
# runs the virtual machines (each needs KVM and some minutes). They HAVE NOT BEEN RUN YET: `tests/lab` shows the
# same scenarios on stand-ins for NixOS, `tests/integration/nix` evaluates everything here.
#
# OpNix and Attic are inputs of the flakes that use them, as in examples/pantheros: the modules work with and
# without, and nobody gets them into a lock who does not want them.
{
  description = "Turns a Nix flake and a push into the right dynamic GitLab child pipeline";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach =
        value:
        builtins.listToAttrs (
          map (system: {
            name = system;
            value = value nixpkgs.legacyPackages.${system};
          }) systems
        );
      programOf = pkgs: self.packages.${pkgs.stdenv.hostPlatform.system}.pipelinegen;
    in
    {
      packages = forEach (pkgs: rec {
        pipelinegen = pkgs.callPackage ./nix/package.nix { };
        ci-image = pkgs.callPackage ./nix/ci-image { inherit pipelinegen; };
        default = pipelinegen;
      });

      nixosModules = {
        attic-server = ./nix/attic-server;
        runner-host = ./nix/runner-host;
      };

      lib = import ./nix/lib;

      checks = forEach (
        pkgs:
        import ./nix/tests {
          inherit pkgs;
          inherit (self) nixosModules;
          pipelinegen = programOf pkgs;
        }
      );

      devShells = forEach (pkgs: {
        default = pkgs.callPackage ./nix/dev-shell.nix { pipelinegen = programOf pkgs; };
      });
    };
}
