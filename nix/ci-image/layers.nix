# How store paths become layers, as a `layeringPipeline` of streamLayeredImage: lowest layers first, as a registry and
# a runner keep them for the next version of the image.
#
#   1. what pipelinegen does not need, and what it shares with the tools: most wanted paths in layers of their own
#   2. what only pipelinegen needs: Python libraries
#   3. pipelinegen, and `program`, which links to it
#
# Nothing of 1 and 2 names pipelinegen, so a new pipelinegen with the same dependencies changes layer 3 alone, and the
# layer on top with the links and Nix's database, which streamLayeredImage makes.
#
#   pipelinegen, program  store paths
#   maxLayers             of the whole image
{
  pipelinegen,
  program,
  maxLayers,
}:
let
  # The layers 2 and 3, and the one on top.
  free = maxLayers - 3;
  shared = free * 3 / 5;

  pipe = steps: [
    "pipe"
    steps
  ];
  # Most wanted first, the rest together in the last; turned round, since the end of all turns everything round.
  byDemand =
    limit:
    pipe [
      [ "popularity_contest" ]
      [
        "limit_layers"
        limit
      ]
      [ "reverse" ]
    ];
  over = part: function: [
    "over"
    part
    function
  ];
in
assert maxLayers >= 8 && maxLayers <= 125;
[
  # → main: these and what only they need; common: what others need too; rest.
  [
    "split_paths"
    [
      program
      pipelinegen
    ]
  ]
  (over "rest" (byDemand (free - shared)))
  (over "common" (byDemand shared))
  (over "main" (pipe [
    # → main: the libraries; rest: the two.
    [
      "split_paths"
      [ { children_of = pipelinegen; } ]
    ]
    [ "flatten" ]
    [ "reverse" ]
  ]))
  [ "flatten" ]
  [ "reverse" ]
]
