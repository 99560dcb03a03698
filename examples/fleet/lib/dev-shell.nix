# A development shell in the shape of nixpkgs' mkShell: the shell itself is not meant to be built (its
# builder fails); `inputDerivation` can be built, and has what the shell needs in its closure.
{ system, inputs }:
let
  make = import ./make.nix { inherit system; };
in
make {
  name = "fleet-shell";
  inherit inputs;
  script = ''
    echo "this shell is not meant to be built; build its inputDerivation" >&2
    exit 1
  '';
}
// {
  inputDerivation = make {
    name = "fleet-shell-inputs";
    inherit inputs;
    script = ''printf '%s\n' $inputs > $out'';
  };
}
