# Evaluates the attributes of a flake one after another and reports each as soon as it is known.
#
# A report is one line of `builtins.trace`: the run's secret word and a JSON record. Whatever is looked at is
# announced first (`enter`), so that the last announcement names who is to blame when the evaluator dies.
#
# Names come first: the attributes of sets are named before any of them is looked at, which forces no value.
{
  # A word that the flake cannot know: its own traces cannot pass for reports.
  word,
  # The outputs of the flake.
  outputs,
  # What to look at: a list of { path, look }; see rules.py.
  tasks,
  # describe.nix
  describe,
  # How many names a path may have.
  maxDepth,
  # Catch what can be caught, and go on without Nix's message, instead of ending at the first failure.
  catch,
  # Only name what sets have.
  namesOnly,
  # Look at the last one first.
  backwards,
  # Files to read, in this order, on turning to an attribute: whoever watches them knows when that is.
  marks,
}:
let
  inherit (builtins)
    attrNames concatMap elemAt filter foldl' genList isAttrs length readFile seq toJSON trace tryEval;

  say = report: rest: trace "${word} ${toJSON report}" rest;

  select = foldl' (value: name: value.${name});

  isDerivation = value: isAttrs value && value.type or null == "derivation";

  # Look at each in turn; true at the end.
  each = list: look: foldl' (_: one: seq (look one) true) true list;

  enter =
    task: rest:
    seq (each marks readFile) (say { event = "enter"; inherit (task) path; inherit (task.look) visit; } rest);

  announce =
    task: names: then':
    seq (each names (name: say { event = "name"; inherit (task) path; inherit (task.look) visit; inherit name; } true)) (
      say { event = "set"; inherit (task) path; inherit (task.look) visit; count = length names; } then'
    );

  # Name what a set has, and what the sets in it have. Returns what may be derivations, as { task, value }.
  list =
    task: value:
    let
      inherit (task) look;
      present = attrNames value;
      names = if look.announce == null then present else filter (name: value ? ${name}) look.announce;
      known = filter (name: look.named ? ${name} || look.each != null) names;
      child = name: { path = task.path ++ [ name ]; look = look.named.${name} or look.each; };
    in
    enter task (
      if isAttrs value then
        announce task names (concatMap (name: listed (child name) value.${name}) known)
      else
        say { event = "ignored"; inherit (task) path; inherit (look) visit; strange = look.strict; } [ ]
    );

  listed = task: value: if task.look.visit == "set" then list task value else [ { inherit task value; } ];

  visit = task: value: enter task (guarded task (visitItem task value));

  guarded =
    task: result:
    if catch && !(tryEval result).success then
      say { event = "caught"; inherit (task) path; inherit (task.look) visit; } true
    else
      result;

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
      say (describe { inherit path look; } target).report true
    else if look.recurse && isAttrs target && marked == true then
      announce task names (
        if look.follow && length path < maxDepth then each names (name: visit (child name) target.${name}) else true
      )
    else
      say { event = "ignored"; inherit path; inherit (look) visit; strange = look.suffix != [ ]; } true;

  items = concatMap (task: listed task (select outputs task.path)) tasks;
  reversed = genList (number: elemAt items (length items - 1 - number)) (length items);
in
# The length is known when all names are.
seq (length items) (namesOnly || each (if backwards then reversed else items) (item: visit item.task item.value))
