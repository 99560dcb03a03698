"""What the page of figures says around its numbers."""

from __future__ import annotations

INTRODUCTION = """\
# Figures

What the plans cost and what planning costs. `python -m benchmarks` measures all of it again and writes this page;
what was measured is in [benchmarks/results](../../benchmarks/results).
"""

MODEL = """\
The simulator's model:

- A runner runs one job at a time. A job costs {overhead:g} s and its builds.
- A job builds one derivation after the other, each with all cores; or, where said, several at once, which then take
  as long as alone.
- A job starts when all that it needs have ended and a runner is free; of several, the first in the file.
- The *ideal* has no jobs: derivations are scheduled one by one, the longest way to the end first, on the same runners,
  and each runner pays a job's fixed cost once. No pipeline of GitLab's can reach it.
- Before it runs, every plan is checked: each input of each build comes from the same job or from one before it.

The other ways are what generators do, or what one would try first. *Needs between outputs* takes from another output's
job all that it built. *All push to a cache* lets a job skip what jobs that ended before it began had built. *Exact
groups* makes a job of all derivations that the same outputs need; *split by depth and load* cuts these at every level
of the graph into jobs of two minutes.
"""

COLUMNS = """\
No times recorded: half a second for what prefers to be built locally, 2 s for a download, 30 s for anything else.
*Builds* counts executed builds per derivation, *work* does so by their seconds; *N runners* is the makespan as a
multiple of the ideal; *transfers* are paths that a job takes from another one. Several numbers are for {runners}
runners. The ideal takes {ideal} minutes; the longest chain of builds alone takes {longest}.
"""

TIMES = """\
*Uneven* times are log-normal (median 15 s, sigma 1.2, at most half an hour). *Recorded*: the plan knows them from
earlier pipelines. *Nothing recorded*: the plan assumes the defaults, and builds take what they take. *At once*: how
many derivations a job builds at the same time. *In all hosts*: the share of a host's derivations that every host has;
*trivial*: derivations that take next to no time.
"""

GROWTH = """\
From an inventory and its graph of derivations (ten for each output; families of ten outputs share thirty) to verified
YAML, nothing held by any cache, in a new process. Seconds of the clock and of a core, the latter for each step too, and
the peak of memory with what the input alone takes. {more:g} times the outputs take {times:.1f} times as long.
"""

INSPECTION = """\
{hosts} hosts whose options take work to merge, in a new store, without an evaluation cache: one plain `nix eval` of all
derivation paths, the inventory with one and with two evaluators, and all of `pipelinegen preview`, of which
{own:.2f} s ({share:.0%}) are not Nix's. Medians, measured in turn.
"""

OUTPUTS = """\
Outputs that take no work to evaluate, so that what an output costs besides is seen. Seconds, medians.
"""

JOB = """\
Both ways build the same derivation, whose closure has {derivations} of them, in a new store that holds everything else
that it needs: `pipelinegen run build` imports the export of the bootstrap job ({export:.0f} KiB); `nix build` evaluates
the flake. Medians, measured in turn; evaluating takes {speedup:.1f} times as long. What an import takes depends on the
number of derivations alone, what an evaluation takes on how much work the flake's options are.
"""

LIMITS = """\
## What these figures do not show

- The makespans come from a simulator. It knows no network, no slow runner, no failed job, no other project on the same
  runners. What outputs take to travel between jobs is counted as transfers and costs no time there.
- A job's fixed cost is one number. Where a runner first starts a machine it is larger, and fewer jobs are better
  (`packing.job_seconds`); where runners wait with a warm store it is smaller.
- The real graph is of 2014. Today's systems have ten times as many derivations. The synthetic fleets have as many, but
  their shape is invented: how much hosts share decides most, and yours may share more or less.
- Seconds of builds are assumed or drawn at random, not measured.
- Everything is built from nothing. After a usual push few derivations are built, and any way is quick.
- The evaluation work is synthetic, and less than a NixOS host of today takes.
"""
