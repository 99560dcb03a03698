"""What caches hold of what a flake offers, and what would have to be built again: for `cache report`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pydantic import Field

from pipelinegen import attrpath
from pipelinegen.characters import inert
from pipelinegen.config_caches import CacheConfig
from pipelinegen.durations import text as duration_text
from pipelinegen.openmetrics import Family, to_text
from pipelinegen.plan.model import Choice, Plan, PlannedOutput, Stage
from pipelinegen.values import Value

FORMAT_VERSION = "1.0"

Style = Callable[[str, str], str]
"""(text, style name) → text, coloured where wanted."""


class CacheHolding(Value):
    """A publish cache and what it holds of the outputs that belong there.

    Attributes:
        name: in the configuration.
        held: attributes of outputs that it holds whole.
        lost: attributes of outputs that it is to keep (`warm`), and does not hold.
        missing: of all others that it does not hold.
        unknown: those about which it did not answer.
        left_out: attribute → why pipelines never push it.
        advice: about its retention, one sentence each.
        trouble: why it, or a token for it, cannot be used.
        exit_code: the worst of these: 0, 1 or 4.
    """

    name: str
    held: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict)
    advice: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()
    exit_code: int = 0

    @property
    def outputs(self) -> int:
        """How many belong there."""
        return len(self.held) + len(self.lost) + len(self.missing) + len(self.unknown)


class CacheReport(Value):
    """All publish caches at one commit.

    Attributes:
        rev: the commit; null for uncommitted files.
        derivations: how many a pipeline would build now, since no trusted cache holds them.
        targets: the outputs that need some of them.
        seconds: estimate of what that takes, one after another.
        failures: outputs that did not evaluate.
    """

    format_version: str = FORMAT_VERSION
    rev: str | None
    caches: tuple[CacheHolding, ...]
    derivations: int
    targets: tuple[str, ...]
    seconds: float
    failures: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where something is lost or a cache cannot be used, 4 where credentials are the reason."""
        return max((max(one.exit_code, 1 if one.lost else 0) for one in self.caches), default=0)


def cache_report(plan: Plan, caches: Mapping[str, CacheConfig], about: Mapping[str, CacheHolding]) -> CacheReport:
    """Sort a plan's outputs by what each publish cache said of them.

    Args:
        plan: of everything, with no commit to compare with.
        caches: the publish caches by name.
        about: name → what else is known of it.
    """
    made = [job for job in plan.jobs if job.stage in (Stage.BUILD, Stage.TEST)]
    return CacheReport(
        rev=plan.head.rev,
        caches=tuple(
            _holding(plan, cache, about.get(name) or CacheHolding(name=name)) for name, cache in caches.items()
        ),
        derivations=sum(job.derivations - job.repeats for job in made),
        targets=tuple(sorted({target for job in made if job.derivations for target in job.targets})),
        seconds=sum(job.seconds for job in made),
        failures=tuple(failure.attr for failure in plan.failures),
    )


def _holding(plan: Plan, cache: CacheConfig, known: CacheHolding) -> CacheHolding:
    sorted_in: dict[str, list[str]] = {"held": [], "lost": [], "missing": [], "unknown": []}
    left_out: dict[str, str] = {}
    for output in plan.outputs:
        push = output.decisions.get(Stage.PUSH)
        if push is None or not _matches(cache.include, output):
            continue
        held = output.available.get(known.name)
        if held:
            sorted_in["held"].append(output.attr)
        elif push.decision is not Choice.RUN:
            left_out[output.attr] = push.reasons[0]
        elif held is None:
            sorted_in["unknown"].append(output.attr)
        else:
            sorted_in["lost" if _matches(cache.warm, output) else "missing"].append(output.attr)
    lists = {key: tuple(attrs) for key, attrs in sorted_in.items()}
    return known.model_copy(update={**lists, "left_out": left_out})


def _matches(patterns: tuple[str, ...], output: PlannedOutput) -> bool:
    path = attrpath.parse(output.attr)
    return any(attrpath.matches(attrpath.parse_pattern(pattern), path) for pattern in patterns)


def report_text(report: CacheReport, style: Style) -> str:
    """The report for people."""
    lines: list[str] = []
    for cache in report.caches:
        lines += [*_cache_lines(cache, style), ""]
    if report.derivations:
        about = f", about {duration_text(round(report.seconds))}" if report.seconds >= 1 else ""
        lines.append(f"to be built again: {_count(report.derivations, 'derivation')}{about}")
        lines += [f"  {inert(attr)}" for attr in report.targets]
    else:
        lines.append("to be built again: nothing")
    lines += [f"{style('!', 'red')} {inert(attr)} does not evaluate" for attr in report.failures]
    return "\n".join(lines) + "\n"


def _cache_lines(cache: CacheHolding, style: Style) -> Iterator[str]:
    yield f"{style(cache.name, 'bold')}: holds {len(cache.held)} of {_count(cache.outputs, 'output')}"
    for attr in cache.lost:
        yield f"  {style('!', 'red')} {inert(attr)} is to be kept warm, and is not there as a whole"
    for attr in cache.missing:
        yield f"  {style('-', 'yellow')} {inert(attr)} is not there as a whole"
    for attr in cache.unknown:
        yield f"  ? {inert(attr)}: the cache did not say"
    for attr, why in cache.left_out.items():
        yield style(f"    {inert(attr)} is not pushed: {inert(why)}", "dim")
    for sentence in cache.trouble:
        yield f"  {style('error:', 'red')} {inert(sentence)}"
    for sentence in cache.advice:
        yield f"  {style('note:', 'blue')} {inert(sentence)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def report_metrics(report: CacheReport) -> str:
    """The report in OpenMetrics' text format."""
    states = ("held", "lost", "missing", "unknown", "left_out")
    return to_text(
        [
            Family(
                "pipelinegen_cache_outputs",
                "gauge",
                "Outputs of the flake that belong into the cache, by what it holds; lost ones are to be kept warm.",
                [
                    ((("cache", cache.name), ("state", state)), len(getattr(cache, state)))
                    for cache in report.caches
                    for state in states
                ],
            ),
            Family(
                "pipelinegen_cache_usable",
                "gauge",
                "Whether the cache and the tokens for it can be used (1) or not (0).",
                [((("cache", cache.name),), 0 if cache.exit_code else 1) for cache in report.caches],
            ),
            Family(
                "pipelinegen_cache_rebuild_derivations",
                "gauge",
                "Derivations that no trusted cache holds and a pipeline would build.",
                [((), report.derivations)],
            ),
            Family(
                "pipelinegen_cache_rebuild_seconds",
                "gauge",
                "Estimate of what building them takes, one after another.",
                [((), float(report.seconds))],
                "seconds",
            ),
        ]
    )
