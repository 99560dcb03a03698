"""The metrics of pushes and builds (see `openmetrics`). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipelinegen.history import Times
from pipelinegen.openmetrics import Family, Labels, to_text

_OUTCOMES = ("deduplicated", "failed", "not_tried", "present", "pushed", "upstream")


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


def of_builds(left: Sequence[Times]) -> str:
    """The metrics of all builds of a pipeline, from what each of its jobs left."""
    seconds: dict[str, list[float]] = {}
    for times in left:
        for build in times.builds:
            seconds.setdefault(build.system, []).append(build.seconds)
    systems = sorted(seconds)
    families = [
        Family("pipelinegen_build_jobs", "gauge", "Jobs that left build times.", [((), len(left))]),
        Family(
            "pipelinegen_build_derivations",
            "gauge",
            "Derivations that were built, not fetched.",
            [((("system", system),), len(seconds[system])) for system in systems],
        ),
        Family(
            "pipelinegen_build_seconds",
            "gauge",
            "How long these took, added up.",
            [((("system", system),), sum(seconds[system])) for system in systems],
            "seconds",
        ),
        Family(
            "pipelinegen_build_fetched_paths",
            "gauge",
            "Store paths that were fetched instead of built.",
            [((), sum(times.fetched for times in left))],
        ),
    ]
    return to_text(families)
