"""Groups of derivations become units of work with names: the build and test jobs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelinegen.inventory.model import FlakeOutput, Kind
from pipelinegen.job_names import job_name
from pipelinegen.plan.model import Realise, Stage, Unit
from pipelinegen.plan.partition import Group, partition
from pipelinegen.plan.to_build import ToBuild


@dataclass(frozen=True)
class Units:
    """The units, dependencies first, and which job builds each derivation."""

    units: tuple[Unit, ...]
    job_of: Mapping[str, str]


def make_units(to_build: ToBuild, targets: Sequence[FlakeOutput]) -> Units:
    """Units for `targets`, the outputs whose decision is to build or test them."""
    by_drv: dict[str, list[FlakeOutput]] = {}
    for output in sorted(targets, key=lambda output: output.path):
        by_drv.setdefault(output.drv_path, []).append(output)
    groups = partition(to_build, by_drv)
    names = _names(groups, by_drv, to_build)
    job_of = {drv: name for group, name in zip(groups, names, strict=True) for drv in group.drvs}
    units = tuple(_unit(group, name, names, by_drv, to_build) for group, name in zip(groups, names, strict=True))
    return Units(units, job_of)


def _unit(
    group: Group,
    name: str,
    names: Sequence[str],
    by_drv: Mapping[str, list[FlakeOutput]],
    to_build: ToBuild,
) -> Unit:
    served = _served(group, by_drv)
    return Unit(
        job=name,
        stage=_stage(served),
        targets=tuple(output.attr for output in served),
        builds=tuple(Realise(drv_path=drv, outputs=tuple(sorted(to_build.builds[drv]))) for drv in group.drvs),
        fetch=tuple(_fetched(group, to_build)),
        needs=tuple(names[index] for index in group.depends_on),
        system=group.system,
        features=group.features,
        timeout=max((output.timeout for output in served if output.timeout), default=None),
        max_silent=max((output.max_silent for output in served if output.max_silent), default=None),
    )


def _served(group: Group, by_drv: Mapping[str, list[FlakeOutput]]) -> list[FlakeOutput]:
    return sorted((output for drv in group.target_drvs for output in by_drv[drv]), key=lambda output: output.path)


def _stage(served: Iterable[FlakeOutput]) -> Stage:
    """A unit that only checks need is a test; what anything else needs too is built before."""
    return Stage.TEST if all(output.kind is Kind.CHECK for output in served) else Stage.BUILD


def _fetched(group: Group, to_build: ToBuild) -> list[str]:
    inside = set(group.drvs)
    paths: set[str] = set()
    for drv in group.drvs:
        for dep, outputs in to_build.graph[drv].inputs.items():
            if dep not in inside and dep in to_build.graph:
                known = to_build.graph[dep].outputs
                paths.update(path for name in outputs if (path := known.get(name)))
    return sorted(paths)


def _names(groups: Sequence[Group], by_drv: Mapping[str, list[FlakeOutput]], to_build: ToBuild) -> list[str]:
    """A unit is named by the target that it finishes, else by the last thing that it builds."""
    names: list[str] = []
    taken: set[str] = set()
    for group in groups:
        own = [output for drv in group.drvs for output in by_drv.get(drv, ())]
        if own:
            name = job_name(_stage(_served(group, by_drv)), own[0].attr)
        else:
            name = _free_name(to_build.graph[group.drvs[-1]].name, taken)
        taken.add(name)
        names.append(name)
    return names


def _free_name(derivation_name: str, taken: set[str]) -> str:
    """Two shared parts can end in derivations of one name; the later one says so."""
    name = job_name("build", f"shared {derivation_name}")
    number = 2
    while name in taken:
        name = job_name("build", f"shared {derivation_name}~{number}")
        number += 1
    return name
