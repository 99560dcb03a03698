"""The metrics of a plan (see `openmetrics`). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipelinegen.openmetrics import Family, Labels, to_text
from pipelinegen.plan.model import Choice, Plan, PlannedOutput, Stage, Work

BUILD_STATES = ("run", "available", "skip", "fail")


def plan_metrics(
    plan: Plan, work: Work, seconds: tuple[float, float] | None = None, inspected: tuple[int, int] | None = None
) -> str:
    """What is planned, and how much of it caches hold.

    Args:
        plan: what was decided.
        work: what is to be built.
        seconds: recorded build times with and without what caches hold; null where none are known.
        inspected: of how many outputs the derivation was known, and how many were evaluated; null where nothing is
            remembered of evaluations.
    """
    states = Counter(_state(output) for output in plan.outputs)
    caches = sorted({name for output in plan.outputs for name in output.available})
    answers = {name: [output.available.get(name) for output in plan.outputs] for name in caches}
    known = {name: sum(one is not None for one in some) for name, some in answers.items()}
    held = {name: sum(one is True for one in some) for name, some in answers.items()}
    jobs = Counter(job.stage for job in plan.jobs)
    with_and_without = zip(("with", "without"), seconds or (), strict=False)
    known_and_evaluated = zip(("memo", "evaluation"), inspected or (), strict=False)

    def per_cache(name: str, about: str, numbers: dict[str, float], unit: str = "") -> Family:
        samples = [((("cache", cache),), number) for cache, number in numbers.items()]
        return Family(f"pipelinegen_plan_{name}", "gauge", about, samples, unit)

    def gauge(name: str, about: str, samples: Sequence[tuple[Labels, float]], unit: str = "") -> Family:
        return Family(f"pipelinegen_plan_{name}", "gauge", about, samples, unit)

    families = [
        gauge(
            "outputs",
            "Outputs of the flake by what becomes of them.",
            [((("build", state),), states[state]) for state in BUILD_STATES],
        ),
        gauge("evaluation_failures", "Outputs that did not evaluate.", [((), len(plan.failures))]),
        gauge(
            "inspected_outputs",
            "Outputs by where their derivation came from.",
            [((("from", where),), number) for where, number in known_and_evaluated],
        ),
        per_cache("available_outputs", "Outputs that the cache holds.", {**held}),
        per_cache("known_outputs", "Outputs of which the cache said whether it holds them.", {**known}),
        per_cache(
            "hit_ratio",
            "Share of these that the cache holds.",
            {name: held[name] / count for name, count in known.items() if count},
            "ratio",
        ),
        gauge(
            "derivations",
            "Derivations to be built, each counted once.",
            [((), len({one.drv_path for unit in work.units for one in unit.builds}))],
        ),
        gauge("jobs", "Jobs of the child pipeline.", [((("stage", stage),), jobs[stage]) for stage in Stage]),
        gauge(
            "build_seconds",
            "Recorded times of what is to be built, and of that and all that caches spare.",
            [((("cache", which),), number) for which, number in with_and_without],
            "seconds",
        ),
    ]
    return to_text(families)


def _state(output: PlannedOutput) -> str:
    first = output.decisions.get(Stage.BUILD) or output.decisions.get(Stage.TEST)
    if first is None:
        return "skip"
    if first.decision is Choice.SKIP and True in output.available.values():
        return "available"
    return first.decision.value
