# The tags of a runner, and the settings of pipelinegen that ask for them. Needs nothing of nixpkgs.
let
  inherit (builtins)
    concatStringsSep
    filter
    foldl'
    length
    map
    sort
    toJSON
    ;

  sorted = sort (one: other: one < other);
  unique = foldl' (found: one: if builtins.elem one found then found else found ++ [ one ]) [ ];

  # What a machine is, whoever pushed: tags that every job for it asks for.
  machine =
    {
      system,
      features ? [ ],
      extra ? [ ],
    }:
    unique (
      [
        "nix"
        system
      ]
      ++ sorted features
      ++ sorted extra
    );

  # GitLab writes "true" or "false" for $CI_COMMIT_REF_PROTECTED where a job says `protected-$CI_COMMIT_REF_PROTECTED`.
  classes = {
    protected = [ "protected-true" ];
    unprotected = [ "protected-false" ];
    all = [
      "protected-true"
      "protected-false"
    ];
  };

  # Texts and lists of them: TOML writes both as JSON does.
  assignment = name: value: "${name} = ${toJSON value}";

  # Jobs take the first runner that has what they need, so the one that has least comes first.
  byNeed = sort (
    one: other:
    length one.features < length other.features
    || length one.features == length other.features && toJSON one < toJSON other
  );

  # Runners that are told apart by the class of refs alone are one for the plan: a pipeline meets one of them.
  merge =
    runners:
    let
      key = runner: toJSON (asked runner);
      least = foldl' (low: one: if low < one then low else one);
    in
    map (
      first:
      let
        counts = map (runner: runner.count) (filter (runner: key runner == first) runners);
        runner = builtins.head (filter (runner: key runner == first) runners);
      in
      runner // { count = least (builtins.head counts) counts; }
    ) (unique (map key runners));

  asked = runner: machine { inherit (runner) system features extra; } ++ [ "protected-$CI_COMMIT_REF_PROTECTED" ];
in
{
  # Tags to give a runner in GitLab.
  #   system     such as x86_64-linux
  #   features   of Nix that it offers (`requiredSystemFeatures`)
  #   extra      further tags
  #   refs       "protected", "unprotected" or "all": whose jobs it takes
  tagsOf =
    {
      refs,
      system,
      features ? [ ],
      extra ? [ ],
    }:
    machine { inherit system features extra; } ++ classes.${refs};

  # `[[runners]]` of pipelinegen.toml for [ { system; features; extra; count; } ].
  settingsFor =
    runners:
    concatStringsSep "\n" (
      map (
        runner:
        concatStringsSep "\n" [
          "[[runners]]"
          (assignment "system" runner.system)
          (assignment "features" (sorted runner.features))
          (assignment "tags" (asked runner))
          (assignment "count" runner.count)
          ""
        ]
      ) (byNeed (merge runners))
    );
}
