# Evaluates the attributes of a flake one after another and reports each as soon as it is known.
#
# A report is one line of `builtins.trace`: the run's secret word and a JSON record. Whatever is looked at is
# announced first (`enter`), so that the last announcement names who is to blame when the evaluator dies.
{
  # A word that the flake cannot know: its own traces cannot pass for reports.
  word,
  # The outputs of the flake.
  outputs,
  # What to look at: a list of { path, look }; see rules.py.
  tasks,
  # How many names a path may have.
  maxDepth,
  # Catch what can be caught, and go on without Nix's message, instead of ending at the first failure.
  catch,
}:
let
  inherit (builtins)
    attrNames deepSeq elem filter foldl' isAttrs isInt isList isString length seq toJSON trace tryEval
    unsafeDiscardStringContext;

  say = report: rest: trace "${word} ${toJSON report}" rest;

  # `value`, or `default` where it throws.
  attempt =
    default: value:
    let
      result = tryEval (deepSeq value value);
    in
    if result.success then result.value else default;

  select = foldl' (value: name: value.${name});

  isDerivation = value: isAttrs value && value.type or null == "derivation";

  # Look at each name in turn; true at the end.
  each = names: look: foldl' (_: name: seq (look name) true) true names;

  announce =
    task: names: then':
    seq (each names (name: say { event = "name"; inherit (task) path; visit = task.look.visit; inherit name; } true)) (
      say { event = "set"; inherit (task) path; visit = task.look.visit; count = length names; } then'
    );

  visit =
    task: value:
    say { event = "enter"; inherit (task) path; visit = task.look.visit; } (
      if task.look.visit == "set" then visitSet task value else guarded task (visitItem task value)
    );

  guarded =
    task: result:
    if catch && !(tryEval result).success then
      say { event = "caught"; inherit (task) path; visit = task.look.visit; } true
    else
      result;

  visitSet =
    task: value:
    let
      inherit (task) look;
      present = attrNames value;
      names = if look.announce == null then present else filter (name: value ? ${name}) look.announce;
      known = filter (name: look.named ? ${name} || look.each != null) names;
      child = name: { path = task.path ++ [ name ]; look = look.named.${name} or look.each; };
    in
    if isAttrs value then
      announce task names (each known (name: visit (child name) value.${name}))
    else
      say { event = "ignored"; inherit (task) path; inherit (look) visit; strange = look.strict; } true;

  visitItem =
    task: value:
    let
      inherit (task) look path;
      target = select value look.suffix;
      marked = target.recurseForDerivations or (length path < look.unmarkedDepth);
      names = filter (name: name != "recurseForDerivations") (attrNames target);
      child = name: { path = path ++ [ name ]; inherit look; };
    in
    if isDerivation target then
      visitDerivation task target
    else if look.recurse && isAttrs target && marked == true then
      announce task names (if look.follow && length path < maxDepth then each names (name: visit (child name) target.${name}) else true)
    else
      say { event = "ignored"; inherit path; visit = look.visit; strange = look.suffix != [ ]; } true;

  visitDerivation =
    task: value:
    let
      inherit (task) look path;
      meta = attempt { } (if isAttrs (value.meta or null) then attrNames value.meta else [ ]);
      field = name: if isList meta && elem name meta then attempt null value.meta.${name} else null;
      text = name: attempt "" (if isString (value.${name} or null) then unsafeDiscardStringContext value.${name} else "");
      number = name: if isInt (field name) then field name else null;
      marks = filter (name: field name == true) [ "broken" "unsupported" "insecure" "unfree" ];
      forbidden = filter (name: name != "unfree") marks != [ ];
      available = field "available";
      isShell = look.devShell && value ? inputDerivation;
      real = if isShell then value.inputDerivation else value;
      report = {
        inherit path;
        visit = look.visit;
        suffix = look.suffix ++ (if isShell then [ "inputDerivation" ] else [ ]);
      };
      # `pkg.dev` names one output, whatever its package would install.
      install = if attempt false (real.outputSpecified or false) == true then null else field "outputsToInstall";
    in
    if available == false || (available == null && forbidden) then
      say (report // { event = "unavailable"; inherit marks; name = text "name"; system = text "system"; }) true
    else
      say (
        report
        // {
          event = "derivation";
          drvPath = unsafeDiscardStringContext real.drvPath;
          output = if isString (real.outputName or null) then real.outputName else "out";
          install = if isList install then filter isString install else [ ];
          timeout = number "timeout";
          maxSilent = number "maxSilent";
        }
      ) true;
in
each tasks (task: visit task (select outputs task.path))
