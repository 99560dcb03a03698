# A stand-in for nixpkgs' `lib`: what the modules of this repository use of it, and no more. It follows the manual's
# description of each function, so that tests need no nixpkgs; the real one is tried where it is to be had.
let
  inherit (builtins)
    all
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    genList
    isAttrs
    isList
    length
    listToAttrs
    mapAttrs
    match
    replaceStrings
    stringLength
    substring
    toJSON
    ;

  nameValuePair = name: value: { inherit name value; };
  mapAttrsToList = function: set: map (name: function name set.${name}) (attrNames set);
  unique = foldl' (found: item: if elem item found then found else found ++ [ item ]) [ ];
  flatten = value: if isList value then concatMap flatten value else [ value ];
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      rest = stringLength text - stringLength suffix;
    in
    rest >= 0 && substring rest (stringLength suffix) text == suffix;
  letters = genList (index: substring index 1 "abcdefghijklmnopqrstuvwxyz") 26;
  capitals = genList (index: substring index 1 "ABCDEFGHIJKLMNOPQRSTUVWXYZ") 26;
  escapeShellArg =
    value: if match "[0-9a-zA-Z,._+:@%/-]+" (toString value) != null then toString value else quoted value;
  quoted = value: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString value)}'";

  program = package: name: "${package.bin or package}/bin/${name}";

  lib = {
    inherit (builtins)
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      elem
      elemAt
      filter
      foldl'
      genList
      hasAttr
      head
      isAttrs
      isBool
      isFunction
      isInt
      isList
      isString
      length
      listToAttrs
      mapAttrs
      match
      removeAttrs
      replaceStrings
      sort
      stringLength
      tail
      toJSON
      ;
    inherit
      escapeShellArg
      flatten
      hasPrefix
      hasSuffix
      mapAttrsToList
      nameValuePair
      unique
      ;

    # Attribute sets
    attrByPath =
      path: default: set:
      foldl' (found: name: if isAttrs found && found ? ${name} then found.${name} else default) set path;
    concatMapAttrs = function: set: foldl' (found: name: found // function name set.${name}) { } (attrNames set);
    filterAttrs =
      keep: set: removeAttrs set (filter (name: !keep name set.${name}) (attrNames set));
    genAttrs = names: value: listToAttrs (map (name: nameValuePair name (value name)) names);
    hasAttrByPath =
      path: set:
      path == [ ]
      || isAttrs set
        && set ? ${elemAt path 0}
        && lib.hasAttrByPath (builtins.tail path) set.${elemAt path 0};
    mapAttrs' = function: set: listToAttrs (mapAttrsToList function set);
    optionalAttrs = condition: set: if condition then set else { };
    recursiveUpdate =
      one: other:
      if isAttrs one && isAttrs other then
        one // mapAttrs (name: value: if one ? ${name} then lib.recursiveUpdate one.${name} value else value) other
      else
        other;

    # Lists
    count = keep: list: length (filter keep list);
    imap0 = function: list: genList (index: function index (elemAt list index)) (length list);
    optional = condition: item: if condition then [ item ] else [ ];
    optionals = condition: list: if condition then list else [ ];
    range = first: last: genList (index: first + index) (last - first + 1);
    reverseList = list: genList (index: elemAt list (length list - 1 - index)) (length list);
    subtractLists = away: filter (item: !elem item away);
    toList = value: if isList value then value else [ value ];

    # Strings
    boolToString = value: if value then "true" else "false";
    concatLines = lines: concatStringsSep "" (map (line: line + "\n") lines);
    concatMapStrings = function: list: concatStringsSep "" (map function list);
    concatMapStringsSep =
      between: function: list:
      concatStringsSep between (map function list);
    concatStrings = concatStringsSep "";
    escapeShellArgs = concatMapStringsSep' " " escapeShellArg;
    hasInfix = part: text: length (lib.splitString part text) > 1;
    optionalString = condition: text: if condition then text else "";
    removePrefix =
      prefix: text:
      if hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else text;
    removeSuffix =
      suffix: text:
      if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
    splitString =
      between: text:
      filter builtins.isString (builtins.split (lib.escapeRegex between) text);
    escapeRegex = replaceStrings (map (one: one) regexWords) (map (one: "\\${one}") regexWords);
    toLower = replaceStrings capitals letters;
    toUpper = replaceStrings letters capitals;
    trim = text: elemAt (match "[[:space:]]*(.*[^[:space:]])?[[:space:]]*" text) 0;
    versionAtLeast = one: other: builtins.compareVersions one other >= 0;
    versionOlder = one: other: builtins.compareVersions one other < 0;

    # Others
    const = value: _: value;
    id = value: value;
    importJSON = file: builtins.fromJSON (builtins.readFile file);
    importTOML = file: builtins.fromTOML (builtins.readFile file);
    flip = function: one: other: function other one;
    getExe = package: program package (package.meta.mainProgram or package.pname or package.name);
    getExe' = program;
    makeBinPath = packages: concatStringsSep ":" (map (package: "${package.bin or package}/bin") packages);
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };
    literalMD = lib.literalExpression;
    licenses.mit = "mit";
    maintainers = { };
    platforms.linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    fileset = {
      toSource = { root, fileset }: root;
      unions = sets: sets;
      fileFilter = filter: folder: folder;
    };
    types = import ./types.nix { inherit lib; };
  }
  // import ./modules.nix { inherit lib; };

  concatMapStringsSep' =
    between: function: list:
    concatStringsSep between (map function list);
  regexWords = [
    "\\"
    "^"
    "$"
    "."
    "|"
    "?"
    "*"
    "+"
    "("
    ")"
    "["
    "{"
  ];
in
lib
