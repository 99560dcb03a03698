# The options that a module declares below a prefix, for their reference: [ { name; type; default; example;
# description; } ], with null where there is no default or example. Text of Nix is { nix = TEXT; }.
{
  nixos ? import ./stand-in,
  module,
  prefix,
}:
let
  inherit (nixos) lib pkgs;
  inherit (builtins) concatMap isAttrs removeAttrs;

  evaluated = lib.evalModules {
    modules = nixos.modules ++ [ module ];
    specialArgs = {
      inherit pkgs;
    };
  };

  # As Nix prints it, or as somebody wrote it.
  shown = value: if isAttrs value && value ? _type then { nix = value.text; } else { inherit value; };
  maybe =
    option: names:
    let
      given = builtins.filter (name: option ? ${name}) names;
    in
    if given == [ ] then null else shown option.${builtins.head given};

  list =
    place: set:
    concatMap (
      name:
      let
        found = set.${name};
        here = place ++ [ name ];
      in
      if !lib.isOption found then
        list here found
      else
        [
          {
            name = lib.concatStringsSep "." here;
            type = found.type.description;
            default = maybe found [
              "defaultText"
              "default"
            ];
            example = maybe found [ "example" ];
            description = found.description or null;
          }
        ]
        ++ list (here ++ placeOf found) (removeAttrs (found.type.getSubOptions [ ]) [ "_module" ])
    ) (builtins.attrNames set);

  placeOf = option: if lib.hasPrefix "set of" option.type.description then [ "<name>" ] else [ ];
in
list [ ] (lib.attrByPath prefix { } evaluated.options)
