"""OpenMetrics text, and the older text format of Prometheus, which a Pushgateway takes. Pure.

OpenMetrics: https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md. The older format:
https://prometheus.io/docs/instrumenting/exposition_formats/. GitLab reads each line as the words of a shell,
drops what follows a `#`, and compares name (with labels) and value with those of the target branch
(https://docs.gitlab.com/ci/testing/metrics_reports/): so there are no timestamps, no exemplars, and no label that
changes from run to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Family:
    """One metric with all its samples.

    Attributes:
        name: without `_total`; ends in the unit, where it has one.
        kind: `counter` or `gauge`.
        help: what it counts, one sentence without quotes and backslashes, which the two formats write differently.
        samples: labels and value, one record per set of labels.
        unit: `bytes`, `seconds` or `ratio`.
    """

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Labels, float]]
    unit: str = ""


def to_text(families: Iterable[Family]) -> str:
    """A whole document; families without samples are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# TYPE {family.name} {family.kind}")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        suffix = "_total" if family.kind == "counter" else ""
        for labels, value in family.samples:
            inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            lines.append(f"{family.name}{suffix}{f'{{{inside}}}' if inside else ''} {_number(value)}")
    return "\n".join([*lines, "# EOF", ""])


def to_prometheus(text: str) -> str:
    """What `to_text` wrote in the older format, which has no units and names counters as their samples are named."""
    lines = []
    counter = ""
    for line in text.removesuffix("\n").split("\n"):  # labels may hold what else `splitlines` takes for an end
        words = line.split(" ", 3)
        if line == "# EOF" or words[:2] == ["#", "UNIT"]:
            continue
        if words[:2] == ["#", "TYPE"]:
            counter = words[2] if words[3] == "counter" else ""
        if words[0] == "#" and words[2] == counter:
            words[2] += "_total"
        lines.append(" ".join(words))
    return "\n".join([*lines, ""])


def _number(value: float) -> str:
    # Milliseconds are enough, and `1e+16` is a number to few readers.
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
