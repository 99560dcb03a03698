# Modules and options, as the NixOS manual describes them: imports, conditions, priorities, order, types.
# Stricter than it need be in one thing: an option that nobody declares cannot be set, at any depth.
{ lib }:
let
  inherit (builtins)
    attrNames
    concatLists
    concatMap
    concatStringsSep
    deepSeq
    elem
    filter
    foldl'
    head
    isAttrs
    isBool
    isFunction
    isList
    isPath
    isString
    length
    listToAttrs
    mapAttrs
    sort
    toJSON
    ;

  kind = value: if isAttrs value then value._type or "" else "";
  isOption = value: kind value == "option";
  show = concatStringsSep ".";

  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };

  # A module and all that it imports, each file once: { options; config; } of each.
  collect =
    arguments: modules:
    let
      read =
        module:
        let
          opened = if isPath module || isString module then import module else module;
          value = if isFunction opened then opened arguments else opened;
          long = value ? options || value ? config;
          known = [
            "_class"
            "_file"
            "config"
            "disabledModules"
            "freeformType"
            "imports"
            "key"
            "meta"
            "options"
          ];
          strange = filter (name: !elem name known) (attrNames value);
        in
        if long && strange != [ ] then
          throw "a module with `config` or `options` has these beside them: ${toString strange}"
        else
          {
            imports = value.imports or [ ];
            options = value.options or { };
            config = if long then value.config or { } else removeAttrs value known;
          };
      # Level by level, those of the last level first: the order in which NixOS joins lists and lines.
      level =
        seen: modules:
        let
          fresh =
            found: module:
            let
              name = nameOf module;
            in
            if name != null && elem name found.seen then
              found
            else
              {
                seen = found.seen ++ lib.optional (name != null) name;
                opened = found.opened ++ [ (read module) ];
              };
          found = foldl' fresh {
            inherit seen;
            opened = [ ];
          } modules;
        in
        if found.opened == [ ] then
          [ ]
        else
          level found.seen (concatMap (one: one.imports) found.opened) ++ lib.reverseList found.opened;
      nameOf = module: if isPath module || isString module then toString module else null;
    in
    level [ ] modules;

  # Conditions and priorities of a set, moved to each of its attributes: a list of plain sets.
  pushDown =
    value:
    if kind value == "merge" then
      concatMap pushDown value.contents
    else if kind value == "if" then
      map (mapAttrs (_: mkIf value.condition)) (pushDown value.content)
    else if kind value == "override" then
      map (mapAttrs (_: mkOverride value.priority)) (pushDown value.content)
    else
      [ value ];

  # What is left of a definition once its conditions are known: a list of values with priorities.
  discharge =
    loc: value:
    if kind value == "merge" then
      concatMap (discharge loc) value.contents
    else if kind value == "if" then
      if !isBool value.condition then
        throw "`${show loc}`: the condition of mkIf is no boolean"
      else if value.condition then
        discharge loc value.content
      else
        [ ]
    else if kind value == "override" then
      map (mkOverride value.priority) (discharge loc value.content)
    else
      [ value ];

  strength = value: if kind value == "override" then value.priority else 100;
  strip = value: if kind value == "override" then strip value.content else value;
  rank = value: if kind value == "order" then value.priority else 1000;
  plain = value: if kind value == "order" then value.content else value;

  # Definitions to one value: { isDefined; value; }.
  mergeDefinitions =
    loc: type: definitions:
    let
      all = concatMap (discharge loc) definitions;
      strongest = foldl' (found: value: if strength value < found then strength value else found) 9999 all;
      kept = map strip (filter (value: strength value == strongest) all);
      ordered = map plain (sort (one: other: rank one < rank other) kept);
      wrong = filter (value: !type.check value) ordered;
    in
    {
      isDefined = ordered != [ ];
      value =
        if wrong != [ ] then
          throw "`${show loc}` is not of the type ${type.description}: ${describe (head wrong)}"
        else
          type.merge loc ordered;
    };

  describe = value: if isFunction value then "a function" else if isAttrs value then "a set with ${toString (attrNames value)}" else toJSON value;

  leaf =
    loc: option: definitions:
    let
      default = if option ? default then [ (mkOverride 1500 option.default) ] else [ ];
      all = default ++ definitions;
      merged =
        if option.readOnly or false && length all > 1 then
          throw "the option `${show loc}` is read-only and set more than once"
        else
          mergeDefinitions loc option.type all;
      empty = option.type.emptyValue or { };
    in
    option
    // {
      inherit loc;
      isDefined = merged.isDefined;
      value = (option.apply or (value: value)) (
        if merged.isDefined then
          merged.value
        else if empty ? value then
          empty.value
        else
          throw "the option `${show loc}` is used and has no value"
      );
    };

  tree =
    loc: declarations: definitions:
    let
      names = lib.unique (concatMap attrNames declarations);
      sets = concatMap pushDown definitions;
      strange = filter (name: !elem name names) (lib.unique (concatMap attrNames sets));
      child =
        name:
        let
          place = loc ++ [ name ];
          declared = map (set: set.${name}) (filter (set: set ? ${name}) declarations);
          defined = map (set: set.${name}) (filter (set: set ? ${name}) sets);
        in
        if !lib.any isOption declared then
          tree place declared defined
        else if length declared > 1 then
          throw "the option `${show place}` is declared twice"
        else
          { option = leaf place (head declared) defined; };
      children = listToAttrs (map (name: lib.nameValuePair name (child name)) names);
    in
    {
      # Known from the declarations alone: modules may ask what there is before they say what they set.
      options = mapAttrs (_: found: found.option or found.options) children;
      config =
        if strange != [ ] then
          throw "there is no option `${show (loc ++ [ (head strange) ])}`"
        else
          mapAttrs (_: found: if found ? option then found.option.value else found.config) children;
    };

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      arguments = {
        inherit lib;
        inherit (result) config options;
      }
      // specialArgs;
      found = collect arguments modules;
      result = tree prefix (map (module: module.options) found) (map (module: module.config) found);
    in
    result;
in
{
  inherit
    evalModules
    isOption
    mergeDefinitions
    mkIf
    mkMerge
    mkOrder
    mkOverride
    ;
  mkAfter = mkOrder 1500;
  mkBefore = mkOrder 500;
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
  mkOption = option: { _type = "option"; type = lib.types.unspecified; } // option;
  mkEnableOption = about: {
    _type = "option";
    type = lib.types.bool;
    default = false;
    description = "Whether to enable ${about}.";
  };
  mkPackageOption =
    pkgs: name: options:
    let
      path = lib.toList (options.default or name);
    in
    {
      _type = "option";
      type = if options.nullable or false then lib.types.nullOr lib.types.package else lib.types.package;
      description = "The package ${toString name}.";
    }
    // (if (options.default or "") == null then { default = null; } else { default = lib.attrByPath path null pkgs; });
}
