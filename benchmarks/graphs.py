"""Fleets to measure with: a real derivation graph where it is at hand, and synthetic ones shaped like NixOS.

Everything is deterministic: the same numbers give the same derivations, paths and times.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.simulator import Work
from pipelinegen.inventory.model import Derivation, FlakeOutput, Graph, Kind
from pipelinegen.plan.to_build import ToBuild

SYSTEM = "x86_64-linux"
DATA_VARIABLE = "PIPELINEGEN_BENCH_DATA"
DATA_FILE = "fleet20.graph.json"
ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
KINDS = {"nixosConfigurations": Kind.NIXOS, "packages": Kind.PACKAGE, "checks": Kind.CHECK}

TRIVIAL_SECONDS = 0.5
FETCH_SECONDS = 2.0
DEFAULT_SECONDS = 30.0
MEDIAN_SECONDS, SIGMA, MOST_SECONDS = 15.0, 1.2, 1800.0


@dataclass(frozen=True)
class Fleet:
    """A flake to be built from nothing.

    Attributes:
        name: for tables.
        graph: derivations by path, inputs before their users.
        outputs: what the flake offers.
    """

    name: str
    graph: Graph
    outputs: tuple[FlakeOutput, ...]

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The outputs' derivations, sorted."""
        return tuple(sorted({output.drv_path for output in self.outputs}))

    @cached_property
    def to_build(self) -> ToBuild:
        """All of it, as the product's walk gives it."""
        return ToBuild(graph=self.graph, builds={path: {"out"} for path in self.graph})

    @cached_property
    def place(self) -> dict[str, int]:
        """Derivation path → its place, as the simulator knows it."""
        return {path: place for place, path in enumerate(self.graph)}

    @cached_property
    def users(self) -> list[int]:
        """Place → bit set of the targets (by their place among `targets`) that need it."""
        users = [0] * len(self.graph)
        for bit, path in enumerate(self.targets):
            users[self.place[path]] |= 1 << bit
        for place, derivation in reversed(list(enumerate(self.graph.values()))):
            for path in derivation.inputs:
                users[self.place[path]] |= users[place]
        return users

    def work(self, seconds: Mapping[str, float]) -> Work:
        """The simulator's view of it."""
        place = self.place
        inputs = [tuple(place[path] for path in one.inputs) for one in self.graph.values()]
        return Work([seconds[path] for path in self.graph], inputs)

    def shape(self) -> dict[str, float | int]:
        """What a reader should know of it; shares in percent.

        `in_all_hosts` is the share of a host's closure that every host has; the closure is the median host's.
        """
        hosts = {output.drv_path for output in self.outputs if output.kind is Kind.NIXOS}
        mask = sum(1 << bit for bit, path in enumerate(self.targets) if path in hosts)
        sizes = [0] * len(self.targets)
        for users in self.users:
            for bit in bits(users):
                sizes[bit] += 1
        median = statistics.median(size for size, path in zip(sizes, self.targets, strict=True) if path in hosts)
        trivial = sum(_trivial(one) is not None for one in self.graph.values())
        return {
            "outputs": len(self.targets),
            "derivations": len(self.graph),
            "edges": sum(len(one.inputs) for one in self.graph.values()),
            "closures": sum(sizes),
            "host_closure": int(median),
            "in_all_hosts": round(100 * sum(users & mask == mask for users in self.users) / median, 1),
            "trivial": round(100 * trivial / len(self.graph), 1),
        }


def bits(number: int) -> Iterator[int]:
    """The positions of the bits that are set, lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def even(graph: Iterable[Derivation]) -> dict[str, float]:
    """Seconds per derivation as they are taken to be before anything was recorded."""
    return {one.path: _trivial(one) or DEFAULT_SECONDS for one in graph}


def uneven(graph: Iterable[Derivation]) -> dict[str, float]:
    """Seconds with a heavy tail (log-normal), from a hash of the name; what is trivial stays so."""
    return {one.path: _trivial(one) or _lognormal(one.name) for one in graph}


COSTS = {"defaults": even, "uneven": uneven}


def _trivial(derivation: Derivation) -> float | None:
    if derivation.prefer_local:
        return TRIVIAL_SECONDS
    return FETCH_SECONDS if derivation.fixed_output else None


def _lognormal(name: str) -> float:
    digest = hashlib.sha256(name.encode()).digest()
    uniform = (int.from_bytes(digest[:8], "big") + 0.5) / 2**64
    deviation = statistics.NormalDist().inv_cdf(uniform)
    return min(round(MEDIAN_SECONDS * math.exp(SIGMA * deviation), 2), MOST_SECONDS)


def data_file() -> Path | None:
    """The real graph, where it is."""
    named = os.environ.get(DATA_VARIABLE)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    file = Path(named) if named else default
    file = file / DATA_FILE if file.is_dir() else file
    return file if file.is_file() else None


def real(file: Path) -> Fleet:
    """The recorded graph of 20 NixOS hosts and 8 packages."""
    record = json.loads(file.read_text("utf-8"))
    nodes: list[tuple[str, int, int, list[int]]] = record["nodes"]
    made: dict[int, Derivation] = {}
    for place in _inputs_first([node[3] for node in nodes]):
        name, local, fixed, inputs = nodes[place]
        made[place] = _derivation(
            name, str(place), [made[one] for one in sorted(inputs)], local=bool(local), fixed=bool(fixed)
        )
    outputs = [_output(tuple(attr.split(".")), made[place]) for attr, place in sorted(record["targets"].items())]
    return Fleet("20 real hosts", {one.path: one for one in made.values()}, tuple(outputs))


def _inputs_first(inputs: Sequence[Sequence[int]]) -> list[int]:
    order: list[int] = []
    state = [0] * len(inputs)
    for start in range(len(inputs)):
        stack = [start]
        while stack:
            place = stack[-1]
            if state[place] == 0:
                state[place] = 1
                stack += [one for one in inputs[place] if state[one] == 0]
            else:
                stack.pop()
                if state[place] == 1:
                    state[place] = 2
                    order.append(place)
    return order


def synthetic(hosts: int, per_host: int, *, seed: int = 1) -> Fleet:
    """A fleet with about `per_host` derivations in each host's closure.

    In the shape of NixOS: a chain of compilers that build each other; packages that all hosts have, each with its
    source, on top of it; packages of roles, of which each host has two; and a host's own configuration files, unit
    files and system, which take no time but depend on everything.
    """
    return _Builder(hosts, per_host, random.Random(f"{hosts} {per_host} {seed}")).fleet()  # noqa: S311  # no secret


def flat(outputs: int) -> Fleet:
    """Packages and checks, ten derivations each on average: families of ten share a library of thirty.

    One output in ten is a check of the package before it.
    """
    graph: Graph = {}

    def add(name: str, *inputs: Derivation, fixed: bool = False) -> Derivation:
        one = _derivation(name, "flat", inputs, local=False, fixed=fixed)
        graph[one.path] = one
        return one

    made: list[FlakeOutput] = []
    stdenv = library = previous = add("stdenv")
    for number in range(outputs):
        if number % 10 == 0:
            library = stdenv
            for part in range(30 if number else 29):
                library = add(f"library{number // 10}-{part}", stdenv, library)
        if number % 10 == 9:
            check = _chain(add, f"check{number}", previous, 7)
            made.append(_output(("checks", SYSTEM, f"check{number:05}"), check))
        else:
            previous = _chain(add, f"package{number}", library, 7)
            made.append(_output(("packages", SYSTEM, f"package{number:05}"), previous))
    return Fleet(f"{outputs:,} outputs", graph, tuple(sorted(made, key=lambda output: output.path)))


def _chain(add: Callable[..., Derivation], name: str, below: Derivation, length: int) -> Derivation:
    """A source, and derivations on top of each other, the first one on `below` as well."""
    last = add(f"{name}.tar.xz", fixed=True)
    for part in range(length - 2):
        last = add(f"{name}-part{part}", last, below)
    return add(name, last)


class _Builder:
    def __init__(self, hosts: int, per_host: int, chance: random.Random) -> None:
        self.hosts, self.per_host, self.chance = hosts, per_host, chance
        self.graph: Graph = {}
        self.outputs: list[FlakeOutput] = []

    def fleet(self) -> Fleet:
        size = self.per_host
        stdenv = self.bootstrap(stages=5, each=4)
        base, base_files = self.part("base", int(size * 0.70) - len(self.graph), [stdenv])
        roles = [
            self.part(f"role{role}", int(size * 0.13), [stdenv, *self.chance.sample(base, 10)])
            for role in range(max(3, self.hosts // 8))
        ]
        for number in range(self.hosts):
            files = list(base_files)
            for _, own in self.chance.sample(roles, 2):
                files += own
            self.host(f"h{number + 1:03}", int(size * 0.04), base, files)
        for number in range(max(3, self.hosts // 10)):
            one = base[self.chance.randrange(len(base) // 2, len(base))]
            self.outputs.append(_output(("packages", SYSTEM, f"p{number + 1:03}"), one))
        name = f"{self.hosts} hosts of {self.per_host:,}"
        return Fleet(name, self.graph, tuple(sorted(self.outputs, key=lambda output: output.path)))

    def part(self, prefix: str, derivations: int, below: list[Derivation]) -> tuple[list[Derivation], list[Derivation]]:
        """Packages, and the files that are made of them; all of them are in one of the files."""
        packages = self.packages(prefix, derivations * 9 // 10, below)
        files = self.files(prefix, derivations // 10, packages)
        used = {path for one in (*packages, *files) for path in one.inputs}
        files.append(self.add(f"{prefix}-path", [one for one in packages if one.path not in used], local=True))
        return packages, files

    def add(self, name: str, inputs: Iterable[Derivation], *, local: bool = False, fixed: bool = False) -> Derivation:
        one = _derivation(name, f"{self.hosts} {self.per_host}", inputs, local=local, fixed=fixed)
        self.graph[one.path] = one
        return one

    def bootstrap(self, stages: int, each: int) -> Derivation:
        """Stages of compilers, one after the other; a stage's parts follow each other as well."""
        stdenv = self.add("bootstrap-tools", [self.add("bootstrap-tools.tar.xz", [], fixed=True)])
        for stage in range(stages):
            parts = [stdenv]
            for part in range(each):
                source = self.add(f"stage{stage}-{part}.tar.xz", [stdenv], fixed=True)
                parts.append(self.add(f"stage{stage}-{part}", [source, *parts[-2:]]))
            stdenv = self.add(f"stdenv-{stage}", parts)
        return stdenv

    def packages(self, prefix: str, derivations: int, below: list[Derivation]) -> list[Derivation]:
        """Packages in layers on top of `below`; six in ten have a source, some have a patch."""
        made: list[Derivation] = []
        end = len(self.graph) + max(derivations, 12)
        while len(self.graph) < end:
            number = len(made)
            name = f"{prefix}-package{number}"
            inputs = [below[0]]
            if self.chance.random() < 0.75:
                inputs.append(self.add(f"{name}.tar.xz", [below[0]], fixed=True))
            if self.chance.random() < 0.25:
                inputs.append(self.add(f"{name}.patch", [], local=True))
            # Most depend on a few popular libraries, some on recent ones: wide, and a few dozen deep.
            for _ in range(self.chance.randint(1, 4)):
                pool = [*below, *made]
                place = int(len(pool) * self.chance.random() ** (3 if self.chance.random() < 0.7 else 1))
                inputs.append(pool[place])
            made.append(self.add(name, inputs))
        return made

    def files(self, prefix: str, number: int, packages: Sequence[Derivation]) -> list[Derivation]:
        """Unit files and configuration: no work, each of a few packages."""
        return [
            self.add(f"{prefix}-unit{place}.service", self.chance.sample(packages, 2), local=True)
            for place in range(max(number, 3))
        ]

    def host(self, name: str, own: int, base: Sequence[Derivation], shared: Sequence[Derivation]) -> None:
        """Files of its own, and a system of all."""
        files = self.files(name, own, base)
        etc = self.add(f"etc-{name}", [*files, *shared], local=True)
        initrd = self.add(f"initrd-{name}", [files[0], *base[-2:]])
        system = self.add(f"nixos-system-{name}", [etc, initrd, *base[-6:]], local=True)
        self.outputs.append(_output(("nixosConfigurations", name), system))


def _derivation(name: str, salt: str, inputs: Iterable[Derivation], *, local: bool, fixed: bool) -> Derivation:
    """Cheaply: nothing of this comes from outside, so nothing needs to be checked."""
    hashed = _hash(f"{name}\0{salt}")
    return Derivation.model_construct(
        path=f"/nix/store/{hashed}-{name}.drv",
        name=name,
        system=SYSTEM,
        outputs={"out": f"/nix/store/{_hash(hashed)}-{name}"},
        inputs={one.path: ("out",) for one in inputs},
        features=(),
        prefer_local=local,
        allow_substitutes=not local,
        fixed_output=fixed,
    )


def _hash(text: str) -> str:
    return "".join(ALPHABET[byte % 32] for byte in hashlib.sha256(text.encode()).digest())


def _output(path: tuple[str, ...], derivation: Derivation) -> FlakeOutput:
    kind = KINDS[path[0]]
    suffix = ("config", "system", "build", "toplevel") if kind is Kind.NIXOS else ()
    return FlakeOutput(
        path=path,
        drv_attr_path=(*path, *suffix),
        kind=kind,
        name=derivation.name,
        system=derivation.system,
        drv_path=derivation.path,
        outputs=derivation.outputs,
    )
