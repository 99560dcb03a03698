# The text of a nix.conf: { NAME = value; }, with numbers, booleans, strings and lists of strings as values.
let
  inherit (builtins)
    attrNames
    concatStringsSep
    isBool
    isList
    ;

  word =
    value:
    if isBool value then
      if value then "true" else "false"
    else if isList value then
      concatStringsSep " " (map word value)
    else
      toString value;
in
settings:
concatStringsSep "" (map (name: "${name} = ${word settings.${name}}\n") (attrNames settings))
