# What nix-eval-jobs is given: one job per task, named n0, n1, … as the names of outputs may hold anything.
#
# A job looks like a derivation, and has what is to be reported of it in its `meta`. Whatever is no derivation, or
# must not be built, is no job.
{
  outputs,
  # A list of { path, look }; see rules.py.
  tasks,
  # describe.nix
  describe,
}:
let
  inherit (builtins) elemAt foldl' genList isAttrs length listToAttrs nixVersion toJSON;

  select = foldl' (value: name: value.${name});

  job =
    task:
    let
      value = select (select outputs task.path) task.look.suffix;
      described = describe task value;
    in
    if !(isAttrs value && value.type or null == "derivation") || described.report.event != "derivation" then
      { }
    else
      {
        type = "derivation";
        inherit (described.real) drvPath;
        # It insists on these, and nobody reads them. Without outputs it does not ask for their paths.
        name = "job";
        system = "builtin";
        outputs = [ ];
        meta.pipelinegen = {
          report = toJSON described.report;
          nix = nixVersion;
        };
      };
in
listToAttrs (
  genList (number: {
    name = "n${toString number}";
    value = job (elemAt tasks number);
  }) (length tasks)
)
