"""What the retention of a cache means for whoever wants to find things in it. Pure.

Attic's collector (`server/src/gc.rs`) deletes a path when both its upload and its last download are longer ago
than the retention; asking for it, and pushing it again, count as neither.
"""

from __future__ import annotations

from pipelinegen.cache.attic.protocol import FOREVER, CacheSettings
from pipelinegen.config_caches import CacheConfig
from pipelinegen.durations import DAY, HOUR, WEEK, seconds

RHYTHMS = ((WEEK, "once a week"), (DAY, "once a day"), (12 * HOUR, "every 12 hours"), (HOUR, "once an hour"))
"""How often a schedule may run, the rarest first."""


def retention_advice(
    settings: CacheConfig | CacheSettings, *, warms: bool | None = None, publishes: bool | None = None
) -> tuple[str, ...]:
    """What to know and do about the retention of a cache, one sentence each.

    Args:
        settings: as configured, or as the server says.
        warms: whether something is kept there by a schedule; by default what the configuration says (`warm`),
            which a server knows nothing of.
        publishes: whether finished outputs are kept there, rather than what jobs hand over; likewise.
    """
    if isinstance(settings, CacheConfig):
        warms = bool(settings.warm) if warms is None else warms
        publishes = settings.publish if publishes is None else publishes
        return advice(_configured(settings), warms=warms, publishes=publishes)
    return advice(settings.retention, warms=bool(warms), publishes=publishes is not False)


def advice(retention: float | None, *, warms: bool = False, publishes: bool = True) -> tuple[str, ...]:
    """The same for a retention in seconds; 0 means that nothing is ever collected, null that it is not known."""
    if retention == FOREVER:
        return ("nothing is ever collected, so the storage grows without bound: set a retention",)
    collected = "what nobody downloads for as long as the retention is collected, path by path"
    listed = [
        f"{collected}: an output that is still asked for may lose what it refers to, and is then built and pushed again"
    ]
    if retention is None:
        listed.append(
            "the retention is the server's own, which it does not tell; where that is 0, the storage grows without "
            "bound: set one here"
        )
    how_often = "twice in each retention" if retention is None else _rhythm(retention)
    if how_often is None:
        listed.append("so short a retention collects what a pipeline is still to fetch: set a day or more")
    elif not publishes:
        listed.append("a job that waits for an approval for longer than that may find the outputs gone")
    elif warms:
        listed.append(f"a scheduled pipeline keeps what `warm` names, when it runs {how_often} or more often")
    else:
        listed.append(
            f"what must stay without being used: name it in `warm`, and run a scheduled pipeline {how_often} or more "
            "often"
        )
    return tuple(listed)


def _rhythm(retention: float) -> str | None:
    """The rarest usual rhythm of which one run may fail: less than half of the retention; null where it is hourly."""
    return next((words for every, words in RHYTHMS if every * 2 < retention), None)


def _configured(cache: CacheConfig) -> float | None:
    if cache.retention is None or cache.retention == "server":
        return None
    return FOREVER if cache.retention == "forever" else seconds(cache.retention)
