"""OpenMetrics text of a push, as GitLab's metrics reports take it. Pure.

The format: https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md. GitLab reads each
line as the words of a shell, drops what follows a `#`, and compares name (with labels) and value with those of
the target branch (https://docs.gitlab.com/ci/testing/metrics_reports/): so there are no timestamps, no
exemplars, and no label that changes from run to run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_OUTCOMES = ("deduplicated", "failed", "not_tried", "present", "pushed", "upstream")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Family:
    """One metric with all its samples.

    Attributes:
        name: without `_total`; ends in the unit, where it has one.
        kind: `counter` or `gauge`.
        help: what it counts, one sentence.
        samples: labels and value, one record per set of labels.
        unit: `bytes`, `seconds` or `ratio`.
    """

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Labels, float]]
    unit: str = ""


def of_push(
    cache: str, counts: Mapping[str, int], *, failures: Iterable[str], seconds: float, saved: float | None = None
) -> str:
    """The metrics of one push.

    Args:
        cache: its name in the configuration.
        counts: as `StepResult.counts` of a push; what is not known is left out.
        failures: the class of each failed path.
        seconds: how long all of it took.
        saved: the share of the bytes that the cache need not store, where that is known.
    """
    here: Labels = (("cache", cache),)

    def single(name: str, kind: str, about: str, key: str, unit: str = "") -> Iterator[Family]:
        if key in counts:
            yield Family(f"pipelinegen_push_{name}", kind, about, [(here, counts[key])], unit)

    families = [
        Family(
            "pipelinegen_push_paths",
            "counter",
            "Store paths of the pushed closures by what became of them.",
            [((*here, ("outcome", one)), counts[one]) for one in _OUTCOMES if one in counts],
        ),
        Family(
            "pipelinegen_push_failures",
            "counter",
            "Store paths that were not pushed by the class of the failure.",
            [((*here, ("class", one)), number) for one, number in sorted(Counter(failures).items())],
        ),
        *single("attempts", "counter", "Uploads begun.", "attempts"),
        *single("retries", "counter", "Uploads that were begun again.", "retries"),
        *single("touched", "counter", "Store paths that were fetched so that the cache keeps them.", "touched"),
        *single("archive_bytes", "counter", "Size of what was pushed, as archives.", "bytes", "bytes"),
        *single("sent_bytes", "counter", "Bytes sent, all attempts together.", "sent_bytes", "bytes"),
        *single("stored_bytes", "counter", "Bytes that the server stored for it.", "stored_bytes", "bytes"),
        Family(
            "pipelinegen_push_saved_ratio",
            "gauge",
            "Share of what was pushed that the server need not store.",
            [] if saved is None else [(here, saved)],
            "ratio",
        ),
        Family("pipelinegen_push_duration_seconds", "gauge", "Time of the push.", [(here, seconds)], "seconds"),
    ]
    return to_text(families)


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
            lines.append(f"{family.name}{suffix}{{{inside}}} {_number(value)}")
    return "\n".join([*lines, "# EOF", ""])


def _number(value: float) -> str:
    # Milliseconds are enough, and `1e+16` is a number to few readers.
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
