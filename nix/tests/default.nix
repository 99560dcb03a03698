# The flake's checks: `nix flake check` builds the program and runs these.
{
  pkgs,
  pipelinegen,
  nixosModules,
}:
import ./machines { inherit pkgs pipelinegen; } // import ./evaluated.nix { inherit pkgs nixosModules; }
