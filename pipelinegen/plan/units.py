"""Groups of derivations become units of work with names: the build and test jobs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelinegen.config import Config
from pipelinegen.history import History
from pipelinegen.inventory.model import FlakeOutput, Kind
from pipelinegen.job_names import job_name
from pipelinegen.plan.model import Realise, Stage, Unit
from pipelinegen.plan.packing import Costs, Group, pack
from pipelinegen.plan.to_build import ToBuild

MANY = 10
"""How many of the targets that a shared unit serves are named."""


@dataclass(frozen=True)
class Units:
    """The units, dependencies first.

    Attributes:
        job_of: derivation → the job that builds it (of a repeated one, the last).
        mixed: jobs in which a failure may hold up targets that do not need what failed.
    """

    units: tuple[Unit, ...]
    job_of: Mapping[str, str]
    mixed: tuple[str, ...]


def make_units(
    to_build: ToBuild,
    targets: Sequence[FlakeOutput],
    config: Config,
    *,
    history: History,
    limit: int | None = None,
    keep_all_needs: bool = False,
) -> Units:
    """Units for `targets`, the outputs whose decision is to build or test them.

    Args:
        history: build times of earlier pipelines.
        limit: units that there may be; null: any number.
        keep_all_needs: name all units that a unit takes something from, also those that others wait for:
            artifacts come only from jobs that are needed by name.
    """
    by_drv: dict[str, list[FlakeOutput]] = {}
    for output in sorted(targets, key=lambda output: output.path):
        by_drv.setdefault(output.drv_path, []).append(output)
    groups = pack(
        to_build,
        by_drv,
        costs=Costs(config.packing.default_seconds, history),
        packing=config.packing,
        runners=config.runners,
        limit=limit,
        tests=(drv for drv, outputs in by_drv.items() if _only_checks(outputs)),
    )
    return _Maker(to_build, by_drv, groups, keep_all_needs=keep_all_needs).make()


def _only_checks(outputs: Iterable[FlakeOutput]) -> bool:
    return all(output.kind is Kind.CHECK for output in outputs)


class _Maker:
    def __init__(
        self,
        to_build: ToBuild,
        by_drv: Mapping[str, list[FlakeOutput]],
        groups: Sequence[Group],
        *,
        keep_all_needs: bool,
    ) -> None:
        self.to_build = to_build
        self.by_drv = by_drv
        self.groups = groups
        self.keep_all_needs = keep_all_needs
        self.targets = [drv for drv in by_drv if drv in to_build.builds]
        self.builds = sum(1 << bit for bit, drv in enumerate(self.targets) if not _only_checks(by_drv[drv]))

    def make(self) -> Units:
        names = self._names()
        units = tuple(self._unit(group, name, names) for group, name in zip(self.groups, names, strict=True))
        job_of = {drv: name for group, name in zip(self.groups, names, strict=True) for drv in group.drvs}
        mixed = tuple(name for group, name in zip(self.groups, names, strict=True) if group.mixed)
        return Units(units, job_of, mixed)

    def _unit(self, group: Group, name: str, names: Sequence[str]) -> Unit:
        own = self._own(group)
        served = self._served(group)
        needs = group.depends_on if self.keep_all_needs else group.waits_for
        return Unit(
            job=name,
            stage=self._stage(group),
            targets=tuple(output.attr for output in own),
            serves=tuple(output.attr for output in served),
            served=group.targets.bit_count(),
            builds=tuple([_realise(drv, self.to_build.builds[drv]) for drv in group.drvs]),
            repeats=group.repeats,
            fetch=tuple(self._fetched(group)),
            needs=tuple(names[index] for index in needs),
            system=group.system,
            features=group.features,
            seconds=group.seconds,
            timeout=max((output.timeout for output in (*own, *served) if output.timeout), default=None),
            max_silent=max((output.max_silent for output in (*own, *served) if output.max_silent), default=None),
        )

    def _own(self, group: Group) -> list[FlakeOutput]:
        """The outputs that the group finishes."""
        return sorted(
            (output for drv in group.drvs for output in self.by_drv.get(drv, ())), key=lambda output: output.path
        )

    def _served(self, group: Group) -> list[FlakeOutput]:
        """Outputs that need something of the group: enough to need all of it, and some more."""
        drvs = dict.fromkeys(group.covering)
        left = group.targets
        while left and len(drvs) < MANY:
            lowest = left & -left
            drvs.setdefault(self.targets[lowest.bit_length() - 1])
            left ^= lowest
        return sorted((output for drv in drvs for output in self.by_drv[drv]), key=lambda output: output.path)

    def _stage(self, group: Group) -> Stage:
        """A unit that only checks need is a test; what anything else needs too is built before."""
        return Stage.BUILD if group.targets & self.builds else Stage.TEST

    def _fetched(self, group: Group) -> list[str]:
        inside = set(group.drvs)
        graph = self.to_build.graph
        paths: set[str] = set()
        for drv in group.drvs:
            for dep, outputs in graph[drv].inputs.items():
                if dep not in inside and dep in graph:
                    known = graph[dep].outputs
                    paths.update(path for name in outputs if (path := known.get(name)))
        return sorted(paths)

    def _names(self) -> list[str]:
        """A unit is named by the targets that it finishes, else by the last thing that it builds."""
        names: list[str] = []
        taken: set[str] = set()
        for group in self.groups:
            names.append(self._name(group, taken))
            taken.add(names[-1])
        return names

    def _name(self, group: Group, taken: set[str]) -> str:
        stage = self._stage(group)
        own = [drv for drv in group.drvs if drv in self.by_drv]
        if own:
            first = min(self.by_drv[drv][0].path for drv in own)
            attr = next(output.attr for drv in own for output in self.by_drv[drv] if output.path == first)
            return job_name(stage, attr if len(own) == 1 else f"{attr} (+{len(own) - 1})")
        more = f" (+{len(group.drvs) - 1})" if len(group.drvs) > 1 else ""
        repeats = set(group.repeats)
        last = next(drv for drv in reversed(group.drvs) if drv not in repeats)
        what = self.to_build.graph[last].name + more
        alone = group.targets.bit_count() == 1
        return _free_name(stage, f"{self._served(group)[0].attr}: {what}" if alone else f"shared {what}", taken)


def _realise(drv: str, outputs: Collection[str]) -> Realise:
    # Nothing of it is foreign, and checking a hundred thousand takes half a second.
    return Realise.model_construct(drv_path=drv, outputs=tuple(sorted(outputs)))


def _free_name(stage: Stage, what: str, taken: set[str]) -> str:
    """Two parts can end in derivations of one name; the later one says so."""
    name = job_name(stage, what)
    number = 2
    while name in taken:
        name = job_name(stage, f"{what}~{number}")
        number += 1
    return name
