# pipelinegen for NixOS: the package, and its deployment scenarios as virtual machines.
#
# There is no flake.lock yet, since it records what the network says: `nix flake lock` makes it, on a machine that
# has one; then `nix flake check` builds the package and runs the machines (each needs KVM and some minutes).
# The machines HAVE NOT BEEN RUN YET; `tests/lab` shows the same scenarios on stand-ins for NixOS.
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
            value = value system;
          }) systems
        );
    in
    {
      packages = forEach (system: rec {
        pipelinegen = nixpkgs.legacyPackages.${system}.callPackage ./nix/package.nix { };
        default = pipelinegen;
      });

      checks = forEach (
        system:
        import ./nix/tests {
          pkgs = nixpkgs.legacyPackages.${system};
          inherit (self.packages.${system}) pipelinegen;
        }
      );
    };
}
