# The checks: derivations that build when a package does what it should. One file each.
{ system, packages }:
let
  make = import ../lib/make.nix { inherit system; };
  check = name: {
    inherit name;
    value = make {
      inherit name;
      script = import (./. + "/${name}.nix") { inherit packages; };
    };
  };
in
builtins.listToAttrs (
  map check [
    "api-answers"
    "cli-counts"
    "database-stores"
    "website-answers"
  ]
)
