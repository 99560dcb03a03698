# Types of options: what is accepted (`check`), and how several definitions become one (`merge`).
{ lib }:
let
  inherit (builtins)
    all
    attrNames
    concatLists
    concatMap
    elem
    filter
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    mapAttrs
    match
    substring
    ;

  isText = value: isString value || isAttrs value && value ? outPath;
  show = builtins.concatStringsSep ".";

  # Several definitions may agree, and not differ.
  one =
    loc: values:
    if all (value: value == head values) values then
      head values
    else
      throw "`${show loc}` has definitions that contradict each other";

  make =
    description: check: more:
    {
      inherit description check;
      merge = one;
      getSubOptions = _: { };
    }
    // more;

  text = description: pattern: make description (value: isString value && match pattern value != null) { };
  integer = description: check: make description (value: isInt value && check value) { };

  joined =
    between: make "text" isString { merge = loc: builtins.concatStringsSep between; };

  # Elements, each a list of definitions, merged by the type of the elements.
  elements =
    type: loc: named:
    let
      merged = mapAttrs (name: definitions: lib.mergeDefinitions (loc ++ [ name ]) type definitions) named;
    in
    mapAttrs (_: found: found.value) (lib.filterAttrs (_: found: found.isDefined) merged);

  attrsOf =
    type:
    make "set of ${type.description}" (value: isAttrs value && !(value ? outPath)) {
      getSubOptions = loc: type.getSubOptions (loc ++ [ "<name>" ]);
      emptyValue.value = { };
      merge =
        loc: values:
        let
          names = lib.unique (concatMap attrNames values);
          of = name: map (value: value.${name}) (filter (value: value ? ${name}) values);
        in
        elements type loc (listToAttrs (map (name: lib.nameValuePair name (of name)) names));
    };

  listOf =
    type:
    make "list of ${type.description}" isList {
      getSubOptions = loc: type.getSubOptions (loc ++ [ "*" ]);
      emptyValue.value = [ ];
      merge =
        loc: values:
        let
          merged = map (value: lib.mergeDefinitions loc type [ value ]) (concatLists values);
        in
        map (found: found.value) (filter (found: found.isDefined) merged);
    };

  submoduleWith =
    {
      modules,
      specialArgs ? { },
      ...
    }:
    make "submodule" (value: isAttrs value || isFunction value) {
      # The options of what it holds, for lists of options.
      getSubOptions =
        prefix:
        (lib.evalModules {
          inherit modules prefix;
          specialArgs = specialArgs // {
            name = "<name>";
          };
        }).options;
      emptyValue.value = { };
      merge =
        loc: values:
        (lib.evalModules {
          prefix = loc;
          specialArgs = specialArgs // {
            name = lib.elemAt loc (length loc - 1);
          };
          modules = modules ++ map (value: if isAttrs value then { config = value; } else value) values;
        }).config;
    };

  either =
    first: second:
    make "${first.description} or ${second.description}" (value: first.check value || second.check value) {
      merge = loc: values: if all first.check values then first.merge loc values else second.merge loc values;
    };

  # Whatever it is: sets are merged, lists are joined, the rest must agree.
  anything = make "anything" (_: true) {
    merge =
      loc: values:
      if all (value: isAttrs value && !(value ? outPath)) values then
        (attrsOf anything).merge loc values
      else if all isList values && length values > 1 then
        concatLists values
      else
        one loc values;
  };

  between = low: high: integer "integer from ${toString low} to ${toString high}" (value: value >= low && value <= high);
in
{
  inherit
    anything
    attrsOf
    either
    listOf
    submoduleWith
    ;
  lazyAttrsOf = attrsOf;
  attrs = attrsOf anything;
  raw = make "raw value" (_: true) { };
  unspecified = anything;

  bool = make "boolean" isBool { };
  int = integer "integer" (_: true);
  float = make "floating point number" isFloat { };
  number = make "number" (value: isInt value || isFloat value) { };
  ints = {
    inherit between;
    positive = integer "positive integer" (value: value > 0);
    unsigned = integer "integer of 0 or more" (value: value >= 0);
    u8 = between 0 255;
    u16 = between 0 65535;
    u32 = between 0 4294967295;
  };
  port = between 0 65535;

  str = make "text" isText { };
  nonEmptyStr = make "text that is not empty" (value: isText value && match "[[:space:]]*" (toString value) == null) { };
  singleLineStr = text "one line of text" "[^\n\r]*";
  strMatching = pattern: text "text that matches ${pattern}" pattern;
  lines = joined "\n";
  commas = joined ",";
  separatedString = joined;
  path = make "absolute path" (value: isPath value || isText value && substring 0 1 (toString value) == "/") { };
  package = make "package" (value: isAttrs value && value ? outPath) { };
  shellPackage = make "package" (value: isAttrs value && value ? outPath) { };
  enum = values: make "one of ${builtins.toJSON values}" (value: elem value values) { };

  nullOr =
    type:
    make "null or ${type.description}" (value: value == null || type.check value) {
      inherit (type) getSubOptions;
      emptyValue.value = null;
      merge = loc: values: if all (value: value == null) values then null else type.merge loc values;
    };
  oneOf = types: builtins.foldl' either (head types) (builtins.tail types);
  uniq = type: type;
  nonEmptyListOf = type: listOf type // { check = value: isList value && value != [ ]; };
  addCheck = type: check: type // { check = value: type.check value && check value; };
  functionTo = type: make "function" isFunction { };
  coercedTo =
    from: change: to:
    make to.description (value: from.check value || to.check value) {
      merge = loc: values: to.merge loc (map (value: if from.check value then change value else value) values);
    };

  submodule = module: submoduleWith { modules = lib.toList module; };
}
