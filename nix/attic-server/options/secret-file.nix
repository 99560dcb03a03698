# An option for a secret by the path of its file. A string and not a path: a path of Nix would be copied into the
# store, where everybody can read it.
{ lib }:
example: description:
lib.mkOption {
  type = lib.types.nullOr (lib.types.strMatching "/.+");
  default = null;
  inherit example description;
}
