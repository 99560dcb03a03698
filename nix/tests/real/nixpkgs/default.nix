# What a module finds that imports nixpkgs once more, with overlays, as OpNix does for its program.
{
  system,
  overlays ? [ ],
}:
let
  base = {
    buildGoModule =
      { pname, version, ... }:
      derivation {
        name = "${pname}-${version}";
        inherit system;
        builder = "/bin/sh";
      }
      // {
        inherit pname version;
        meta.mainProgram = pname;
      };
  };
  final = builtins.foldl' (before: overlay: before // overlay final before) base overlays;
in
final
