# The system that a machine of the lab runs before anything is deployed to it. Evaluated on the machine, which finds
# the fleet's `lib` beside this file.
{ name }:
import ./lib/system.nix {
  system = "x86_64-linux";
  inherit name;
  host = {
    motd = "nothing was deployed to ${name} yet";
    activation = import ./reachable.nix;
  };
}
