"""Sending what a command measured to the Pushgateway that `PIPELINEGEN_METRICS_URL` names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pipelinegen.cli.session import Session
from pipelinegen.errors import InterruptedRunError, PipelinegenError


@contextlib.contextmanager
def sent(session: Session, file: Path | None, kind: str, **labels: str) -> Iterator[None]:
    """Send `file` when the command in here has ended, well or not, and has written it.

    Nothing is sent where no gateway is named. A gateway that cannot be reached is a warning, and fails nothing.

    Args:
        file: OpenMetrics text; null where none is written.
        kind: `plan`, `build`, `push`, `deploy` or `cache`.
        labels: what tells the latest of one thing from the latest of another, such as its host.
    """
    url = session.env.metrics_url
    if url is None or file is None:
        yield
        return
    before = _stamp(file)
    failed = None
    try:
        yield
    except InterruptedRunError:
        raise  # whoever ends a job does not wait for long
    except PipelinegenError as error:
        failed = error
    if _stamp(file) not in {before, None}:
        _send(session, file, url, {"kind": kind, **_whose(session), **labels})
    if failed is not None:
        raise failed


def branch(session: Session) -> str:
    """The branch, for a label; one word for all tags and one for all merge requests, of which there are too many."""
    if session.env.merge_request is not None:
        return "(merge requests)"
    return session.env.branch or ("(tags)" if session.env.tag else "(none)")


def _whose(session: Session) -> dict[str, str]:
    path = urlsplit(session.env.project_url or "").path.strip("/")
    return {"project": path} if path else {}


def _send(session: Session, file: Path, url: str, group: dict[str, str]) -> None:
    from pipelinegen import pushgateway
    from pipelinegen.secret_files import read_secret

    try:
        setting = "$PIPELINEGEN_METRICS_TOKEN" if session.env.metrics_token else None
        token = read_secret(setting, None, purpose="token of the Pushgateway")
        pushgateway.send(file.read_text("utf-8"), url, group, token)
    except InterruptedRunError:
        raise  # signals come once: a command that has more to do must end by this one
    except PipelinegenError as error:
        session.console.warn(f"the metrics were not sent: {error.message}{f' ({error.why})' if error.why else ''}")
    except (OSError, UnicodeDecodeError) as error:
        session.console.warn(f"the metrics were not sent: {file.name} cannot be read: {error}")


def _stamp(file: Path) -> tuple[int, int] | None:
    """What tells a file from one that is written in its place; null where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
