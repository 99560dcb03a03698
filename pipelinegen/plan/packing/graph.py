"""What is to be built as numbers: the form in which packing looks at a graph. Pure.

Derivations are numbered dependencies first. Two of them are of one class when exactly the same targets need
them, the same runners build them, and they are at the same step of a chain that crosses runners. A dependency
is needed by every target that needs its dependent, so an edge between two classes leads from a set of targets
to the same or a smaller one: classes cannot form a cycle, and neither can jobs of derivations of one class
whose cuts follow the order of the numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelinegen.config import Runner
from pipelinegen.plan.packing.costs import Costs
from pipelinegen.plan.situation import ANY_SYSTEM, find_runner
from pipelinegen.plan.to_build import ToBuild


@dataclass(frozen=True)
class Pool:
    """Runners that take the same jobs.

    Attributes:
        system: where they build.
        count: how many work at once.
        builds: derivations that one job builds at once.
    """

    system: str
    count: int
    builds: int


@dataclass(frozen=True)
class WorkGraph:
    """Derivations 0, 1, …, each after those that it depends on.

    Attributes:
        drvs: derivation paths.
        seconds: to build it, its inputs being there.
        inputs: the derivations to be built that it depends on directly, ascending.
        users: the derivations that depend on it directly, ascending.
        classes: number of its class.
        class_targets: class → the targets that need it, one bit each.
        class_pools: class → number of its pool.
        targets: derivation paths of the targets, by the number of their bit.
        pools: by their numbers.
    """

    drvs: Sequence[str]
    seconds: Sequence[float]
    inputs: Sequence[Sequence[int]]
    users: Sequence[Sequence[int]]
    classes: Sequence[int]
    class_targets: Sequence[int]
    class_pools: Sequence[int]
    targets: Sequence[str]
    pools: Sequence[Pool]

    def pool(self, node: int) -> int:
        """The number of the pool that builds a derivation."""
        return self.class_pools[self.classes[node]]

    def target_bits(self, drvs: Iterable[str]) -> int:
        """The bits of those of `drvs` that are targets."""
        place = {drv: bit for bit, drv in enumerate(self.targets)}
        bits = 0
        for drv in drvs:
            if drv in place:
                bits |= 1 << place[drv]
        return bits

    def targets_of(self, nodes: Iterable[int]) -> int:
        """The targets that need some of these derivations, one bit each."""
        bits = 0
        for which in {self.classes[node] for node in nodes}:
            bits |= self.class_targets[which]
        return bits

    def first_targets(self, sets: Iterable[int]) -> tuple[str, ...]:
        """The first target of each set, each once."""
        return tuple(self.targets[bit] for bit in sorted({(bits & -bits).bit_length() - 1 for bits in sets if bits}))


def work_graph(to_build: ToBuild, target_drvs: Iterable[str], costs: Costs, runners: Sequence[Runner]) -> WorkGraph:
    """Number what is to be built for `target_drvs`."""
    drvs, inputs, users = _dependencies_first(to_build)
    number = {drv: index for index, drv in enumerate(drvs)}
    targets = [drv for drv in dict.fromkeys(target_drvs) if drv in number]
    sets, set_of = _target_sets(users, {number[drv]: bit for bit, drv in enumerate(targets)})
    pools, pool_of = _pools(_systems(to_build, drvs), users, runners)
    classes, keys = _classes(inputs, set_of, pool_of)
    return WorkGraph(
        drvs=drvs,
        seconds=[costs.seconds(to_build.graph[drv]) for drv in drvs],
        inputs=inputs,
        users=users,
        classes=classes,
        class_targets=[sets[which] for which, _, _ in keys],
        class_pools=[pool for _, pool, _ in keys],
        targets=targets,
        pools=pools,
    )


def _dependencies_first(to_build: ToBuild) -> tuple[list[str], list[list[int]], list[list[int]]]:
    """The derivations in an order that depends on nothing but them, with inputs and users by their numbers.

    Those that nothing to be built is needed for come first, then those that need only them, and so on; within
    such a level they are sorted.
    """
    drvs = sorted(to_build.builds)
    index = {drv: place for place, drv in enumerate(drvs)}
    inputs = [[index[dep] for dep in to_build.graph[drv].inputs if dep in index] for drv in drvs]
    order = [node for level in levels(inputs) for node in level]
    number = [0] * len(order)
    for place, node in enumerate(order):
        number[node] = place
    numbered = [sorted([number[dep] for dep in inputs[node]]) for node in order]
    return [drvs[node] for node in order], numbered, users_of(numbered)


def users_of(inputs: Sequence[Iterable[int]]) -> list[list[int]]:
    """The other direction of the edges of things 0, 1, …, ascending."""
    users: list[list[int]] = [[] for _ in inputs]
    for node, deps in enumerate(inputs):
        for dep in deps:
            users[dep].append(node)
    return users


def levels(inputs: Sequence[Collection[int]]) -> list[list[int]]:
    """Things 0, 1, … by the length of the longest way to them, each level ascending; those of circles are missing."""
    users = users_of(inputs)
    left = [len(deps) for deps in inputs]
    level = [node for node, waiting in enumerate(left) if not waiting]
    found = []
    while level:
        found.append(level)
        following = []
        for node in level:
            for user in users[node]:
                left[user] -= 1
                if not left[user]:
                    following.append(user)
        level = sorted(following)
    return found


def _systems(to_build: ToBuild, drvs: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """System and required features of each derivation."""
    return [(to_build.graph[drv].system, to_build.graph[drv].features) for drv in drvs]


def _target_sets(users: Sequence[Sequence[int]], own: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """All sets of targets that occur, as bits, and for each derivation the number of its set.

    With many targets a set is large and most derivations share theirs with a user, so sets are numbered and
    only joined where users differ.
    """
    numbers: dict[int, int] = {0: 0}
    sets = [0]
    joined: dict[tuple[int, ...], int] = {}
    set_of = [0] * len(users)
    for node in range(len(users) - 1, -1, -1):
        parts = sorted({set_of[user] for user in users[node]})
        bit = own.get(node)
        if bit is None and len(parts) == 1:
            set_of[node] = parts[0]
            continue
        key = (*parts, -1 if bit is None else -2 - bit)
        which = joined.get(key)
        if which is None:
            bits = 0 if bit is None else 1 << bit
            for part in parts:
                bits |= sets[part]
            which = numbers.setdefault(bits, len(sets))
            if which == len(sets):
                sets.append(bits)
            joined[key] = which
        set_of[node] = which
    return sets, set_of


def _pools(
    needed: Sequence[tuple[str, tuple[str, ...]]], users: Sequence[Sequence[int]], runners: Sequence[Runner]
) -> tuple[list[Pool], list[int]]:
    """The pools, and which one builds each derivation; a download goes where something that uses it is built."""
    pools: list[Pool] = []
    numbers: dict[tuple[str, int | None], int] = {}
    known: dict[tuple[str, tuple[str, ...]], int] = {}
    pool_of = [0] * len(needed)
    for node in range(len(needed) - 1, -1, -1):
        if needed[node][0] == ANY_SYSTEM and users[node]:
            pool_of[node] = pool_of[users[node][0]]
            continue
        pool = known.get(needed[node])
        if pool is None:
            system, features = needed[node]
            place = _runner(runners, system, features)
            pool = numbers.setdefault((system, place), len(pools))
            if pool == len(pools):
                runner = runners[place] if place is not None else None
                pools.append(Pool(system, runner.count if runner else 1, runner.builds if runner else 1))
            known[needed[node]] = pool
        pool_of[node] = pool
    return pools, pool_of


def _runner(runners: Sequence[Runner], system: str, features: tuple[str, ...]) -> int | None:
    """The first runner that offers all this, else the first of the system: Nix then says what is missing."""
    found = find_runner(runners, system, features) or find_runner(runners, system, ())
    return None if found is None else list(runners).index(found)


def _classes(
    inputs: Sequence[Sequence[int]], set_of: Sequence[int], pool_of: Sequence[int]
) -> tuple[list[int], list[tuple[int, int, int]]]:
    """Number of each derivation's class, and each class's set of targets, pool and step.

    Without the step, `x86 → arm → x86` with one set of targets would be two classes that need each other.
    """
    numbers: dict[tuple[int, int, int], int] = {}
    classes: list[int] = []
    steps: list[int] = []
    for node, deps in enumerate(inputs):
        step = 0
        for dep in deps:
            if set_of[dep] == set_of[node]:
                step = max(step, steps[dep] + (pool_of[dep] != pool_of[node]))
        steps.append(step)
        classes.append(numbers.setdefault((set_of[node], pool_of[node], step), len(numbers)))
    return classes, list(numbers)
