"""How old the newest backup is, as a metrics file or page says: for `cache backup`.

The text formats of Prometheus and OpenMetrics: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from pipelinegen.errors import StepFailedError, TransientError, UsageError

METRIC = "attic_backup_last_success_timestamp_seconds"
"""What the server module's backup leaves for the node exporter: seconds since the epoch."""

MOST_BYTES = 16_000_000
FETCH_SECONDS = 30.0

MOST_AHEAD = 600.0
"""Seconds by which the server's clock may be ahead of ours. More is no time, such as one in milliseconds."""

_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{.*\})?[ \t]+(\S+)(?:[ \t].*)?")


def newest(text: str, metric: str) -> float | None:
    """The largest value of a metric, whatever its labels; null where it has none."""
    found = []
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line.strip())
        if match and match[1] == metric:
            try:
                value = float(match[2])
            except ValueError:
                continue
            if math.isfinite(value):
                found.append(value)
    return max(found, default=None)


def read_metrics(source: str, directory: Path) -> str:
    """The text behind a URL, or of a file below `directory`.

    Raises:
        UsageError: there is no such file.
        TransientError: the server does not answer, or not with metrics.
    """
    if not source.startswith(("http://", "https://")):
        try:
            return (directory / source).read_bytes()[:MOST_BYTES].decode("utf-8", "replace")
        except OSError as error:
            raise UsageError("the metrics cannot be read", where=source, why=error.strerror) from error
    import httpx  # noqa: PLC0415  # takes time to load

    where = source.partition("?")[0].rpartition("@")[2]
    try:
        answer = httpx.get(source, timeout=FETCH_SECONDS, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise TransientError("the metrics cannot be fetched", where=where, why=type(error).__name__) from error
    if answer.status_code != httpx.codes.OK:
        raise TransientError("the metrics cannot be fetched", where=where, why=f"status {answer.status_code}")
    return answer.content[:MOST_BYTES].decode("utf-8", "replace")


def age(text: str, metric: str, now: float, most: int) -> float:
    """Seconds since the newest backup, which must be less than `most`.

    Raises:
        StepFailedError: it is older, or there never was one, or the metric is not there, or is no time until now.
    """
    made = newest(text, metric)
    hint = "see the runbook for the cache server, and the log of its unit attic-backup.service"
    if made is None:
        raise StepFailedError(
            "nothing says when the last backup was made", why=f"there is no metric {metric}", hint=hint
        )
    if made <= 0:
        raise StepFailedError("there never was a backup", why=f"{metric} is {made:.0f}", hint=hint)
    old = now - made
    if old < -MOST_AHEAD:
        raise StepFailedError(
            "the newest backup is from the future",
            why=f"{metric} is {made:.0f}, and now is {now:.0f}",
            hint="see the clocks of both machines; it is to be in seconds since the epoch",
        )
    if old >= most:
        raise StepFailedError(
            "the newest backup is too old",
            why=f"it is {old / 3600:.1f} hours old, {most / 3600:.1f} are allowed",
            hint=hint,
        )
    return old
