"""Flakes made to order: a graph of derivations described by values becomes a repository with real derivations.

Every builder is `/bin/sh` with its own words alone, and notes each time that it starts in a ledger outside of all
stores: the sandbox is off in the lab. Derivations do not depend on where a test keeps its files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hypothesis import strategies as st

SYSTEM = "x86_64-linux"

Edge = tuple[str, str, bool]
"""(node, its output that is used, whether the result refers to it at run time)."""

Target = tuple[str, str]
"""(node, output): what an attribute of the flake evaluates to."""


@dataclass(frozen=True)
class Node:
    """One derivation.

    Attributes:
        inputs: what it uses; see `Edge`.
        outputs: names of its outputs, the default one first. The first refers to the second.
        substitutes: `allowSubstitutes`.
        local: `preferLocalBuild`.
    """

    name: str
    inputs: tuple[Edge, ...] = ()
    outputs: tuple[str, ...] = ("out",)
    substitutes: bool = True
    local: bool = False


@dataclass(frozen=True)
class Sketch:
    """A flake: nodes, dependencies first, and attributes by name."""

    nodes: tuple[Node, ...]
    packages: Mapping[str, Target] = field(default_factory=dict)
    checks: Mapping[str, Target] = field(default_factory=dict)


_SCRIPT = """\
printf '%s\\n' "$name" >> /nix/lab/ledger
for path in $uses; do read -r line < "$path"; done
if [ -e "/nix/lab/broken/$name" ]; then echo "this one is broken"; exit 1; fi
set -- $outputs
for output in $outputs; do
  eval "file=\\$$output"
  other=
  if [ "$output" = "$1" ] && [ $# -gt 1 ]; then eval "other=\\$$2"; fi
  printf '%s\\n' "$name $output $other $keeps" > "$file"
done
"""
"""It reads what it uses, so that nothing passes that is not there, and fails while somebody wants it to."""

_FLAKE = """\
{
  outputs = { self }: let
    graph = builtins.fromJSON (builtins.readFile ./graph.json);
    inherit (builtins) filter listToAttrs map mapAttrs;
    at = input: made.${builtins.elemAt input 0}.${builtins.elemAt input 1};
    make = node: derivation ({
      inherit (node) name outputs;
      inherit (graph) system;
      builder = "/bin/sh";
      args = [ "-euc" graph.script ];
      uses = map at node.inputs;
      keeps = map at (filter (input: builtins.elemAt input 2) node.inputs);
    } // (if node.substitutes then { } else { allowSubstitutes = false; })
      // (if node.local then { preferLocalBuild = true; } else { }));
    made = listToAttrs (map (node: { inherit (node) name; value = make node; }) graph.nodes);
  in {
    packages.${graph.system} = mapAttrs (_: at) graph.packages;
    checks.${graph.system} = mapAttrs (_: at) graph.checks;
  };
}
"""


def write_flake(sketch: Sketch) -> dict[str, str]:
    """The files of a flake with this graph."""
    graph = {**asdict(sketch), "script": _SCRIPT, "system": SYSTEM}
    return {"flake.nix": _FLAKE, "graph.json": json.dumps(graph, indent=1)}


@dataclass(frozen=True)
class Ledger:
    """What builders leave and look for in this folder, which they see as `/nix/lab`."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "broken").mkdir(parents=True, exist_ok=True)

    def executions(self) -> Counter[str]:
        """Node → how often its builder was started since the last `clear`."""
        file = self.folder / "ledger"
        return Counter(file.read_text().split()) if file.exists() else Counter()

    def clear(self) -> None:
        """Forget what was started."""
        (self.folder / "ledger").unlink(missing_ok=True)

    def break_(self, name: str) -> None:
        """Let a node's builder fail from now on."""
        (self.folder / "broken" / name).touch()

    def repair(self, name: str) -> None:
        """Let it succeed again."""
        (self.folder / "broken" / name).unlink()


# --- shapes


def _uses(*names: str, kept: bool = True) -> tuple[Edge, ...]:
    return tuple((name, "out", kept) for name in names)


def _packages(names: Iterable[str]) -> dict[str, Target]:
    return {name: (name, "out") for name in names}


def diamond() -> Sketch:
    """Two packages share what they stand on, and a third has both."""
    nodes = (
        Node("base"),
        Node("left", _uses("base")),
        Node("right", _uses("base", kept=False)),
        Node("top", _uses("left", "right")),
    )
    return Sketch(nodes, _packages(["left", "right", "top"]))


def fan_out(count: int) -> Sketch:
    """One shared derivation, `count` packages that use it."""
    leaves = [Node(f"leaf{number}", _uses("shared", kept=number % 2 == 0)) for number in range(count)]
    return Sketch((Node("shared"), *leaves), _packages(leaf.name for leaf in leaves))


def fan_in(count: int) -> Sketch:
    """`count` packages, and one that uses them all."""
    parts = [Node(f"part{number}") for number in range(count)]
    names = [part.name for part in parts]
    return Sketch((*parts, Node("whole", _uses(*names))), _packages([*names, "whole"]))


def chain(length: int) -> Sketch:
    """Each uses the one before; the middle and the end are packages."""
    nodes = [Node(f"link{number}", _uses(f"link{number - 1}") if number else ()) for number in range(length)]
    return Sketch(tuple(nodes), _packages([f"link{length // 2}", f"link{length - 1}"]))


def check_needed_by_package() -> Sketch:
    """A package uses the result of a check, and a check uses that package."""
    nodes = (
        Node("lib"),
        Node("lib-passes", _uses("lib")),
        Node("app", _uses("lib", "lib-passes", kept=False)),
        Node("app-passes", _uses("app")),
    )
    return Sketch(nodes, _packages(["app"]), _packages(["lib-passes", "app-passes"]))


def never_substituted() -> Sketch:
    """What Nix rather builds than fetches (as /etc and systems of NixOS), shared and at every level."""
    nodes = (
        Node("tool"),
        Node("unit", _uses("tool"), substitutes=False, local=True),
        Node("etc", _uses("unit", kept=False), substitutes=False, local=True),
        Node("web", _uses("etc", "tool"), substitutes=False),
        Node("db", _uses("etc", "unit"), substitutes=False),
        Node("both", (*_uses("web"), *_uses("db", kept=False)), substitutes=False),
    )
    return Sketch(nodes, _packages(["web", "db", "both"]), {"etc": ("etc", "out")})


def several_outputs() -> Sketch:
    """Outputs that are used apart from each other, one that nobody uses, and an attribute that is no default."""
    nodes = (
        Node("lib", outputs=("out", "dev", "doc")),
        Node("app", (("lib", "dev", False), ("lib", "out", True)), outputs=("bin", "out")),
        Node("plugin", (("lib", "dev", True), ("app", "out", False))),
        Node("manual", (("app", "bin", True),), substitutes=False),
    )
    return Sketch(
        nodes,
        {"lib": ("lib", "out"), "app": ("app", "bin"), "plugin": ("plugin", "out"), "manual": ("manual", "out")},
        {"headers": ("lib", "dev")},
    )


_COUNTED = ("one", "two", "three")


def cheap_and_shared() -> Sketch:
    """A file that is written in no time, and three packages that use it and take their time."""
    users = [Node(name, _uses("file", kept=name == "one"), substitutes=name != "two") for name in _COUNTED]
    return Sketch((Node("file", local=True), *users), _packages(_COUNTED))


def two_names() -> Sketch:
    """Attributes of one derivation: two packages and a check."""
    nodes = (Node("base"), Node("tool", _uses("base"), outputs=("out", "man")), Node("user", _uses("tool")))
    packages: dict[str, Target] = {"default": ("tool", "out"), "tool": ("tool", "out"), "man": ("tool", "man")}
    return Sketch(nodes, {**packages, "user": ("user", "out")}, {"tool": ("tool", "out")})


SHAPES: dict[str, Callable[[], Sketch]] = {
    "diamond": diamond,
    "one shared by 40": lambda: fan_out(40),
    "40 needed by one": lambda: fan_in(40),
    "chain of 30": lambda: chain(30),
    "check needed by package": check_needed_by_package,
    "never substituted": never_substituted,
    "several outputs": several_outputs,
    "cheap and shared": cheap_and_shared,
    "two names": two_names,
}


@st.composite
def sketches(draw: st.DrawFn) -> Sketch:
    """Any graph of 3 to 25 derivations: all that nothing uses and some others are attributes."""
    nodes: list[Node] = []
    for number in range(draw(st.integers(3, 10) | st.integers(3, 25))):
        # What was made lately is used more often: else graphs are wide and flat.
        near = nodes[-5:] if draw(st.booleans()) else nodes
        fewest = min(draw(st.sampled_from([1, 1, 2, 0])), len(near))
        used = draw(st.lists(st.sampled_from(near), min_size=fewest, max_size=3, unique=True)) if near else []
        nodes.append(
            Node(
                name=f"n{number}",
                inputs=tuple((one.name, draw(st.sampled_from(one.outputs)), draw(st.booleans())) for one in used),
                outputs=draw(st.sampled_from([("out",), ("out",), ("out", "lib"), ("bin", "out", "doc")])),
                substitutes=draw(st.sampled_from([True, True, True, False])),
                local=draw(st.sampled_from([False, False, False, True])),
            )
        )
    inner = {edge[0] for node in nodes for edge in node.inputs}
    tops = [node for node in nodes if node.name not in inner]
    some = draw(st.lists(st.sampled_from(nodes), max_size=4, unique=True))
    packages: dict[str, Target] = {}
    checks: dict[str, Target] = {}
    for number, node in enumerate([*tops, *some]):
        where = draw(st.sampled_from([packages, packages, checks]))
        where[f"t{number}"] = (node.name, draw(st.sampled_from(node.outputs)))
    return Sketch(tuple(nodes), packages, checks)
