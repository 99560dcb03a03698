"""How old the newest backup is, from what a node exporter serves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelinegen.backup_age import METRIC, age, newest, read_metrics
from pipelinegen.errors import StepFailedError, TransientError, UsageError

HOUR = 3600


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{METRIC} 100\n", 100.0),
        (f"# HELP {METRIC} 7\n# TYPE {METRIC} gauge\n{METRIC} 1.7e9 1700000000000\n", 1.7e9),
        (f'{METRIC}{{host="a"}} 1\n{METRIC}{{host="b }} x"}} 2\n', 2.0),
        (f"{METRIC}_other 100\nother_{METRIC} 100\n", None),
        (f"{METRIC} NaN\n{METRIC} +Inf\n{METRIC} word\n", None),
        ("", None),
        ("<html>a page of a proxy</html>", None),
    ],
    ids=["plain", "with-help-and-time", "labels", "other-names", "no-numbers", "empty", "no-metrics"],
)
def test_the_largest_value_counts(text: str, found: float | None) -> None:
    assert newest(text, METRIC) == found


def test_a_young_backup_is_fine() -> None:
    assert age(f"{METRIC} {10 * HOUR}\n", METRIC, 12.0 * HOUR, 26 * HOUR) == 2 * HOUR


def test_a_clock_that_is_a_little_ahead_is_fine() -> None:
    assert age(f"{METRIC} {12 * HOUR + 60}\n", METRIC, 12.0 * HOUR, 26 * HOUR) == -60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{METRIC} {1 * HOUR}\n", "the newest backup is too old"),
        (f"{METRIC} 0\n", "there never was a backup"),
        ("up 1\n", "nothing says when the last backup was made"),
        (f"{METRIC} {27 * HOUR * 1000}\n", "the newest backup is from the future"),
    ],
    ids=["old", "never", "no-metric", "milliseconds"],
)
def test_doubt_fails(text: str, message: str) -> None:
    with pytest.raises(StepFailedError) as caught:
        age(text, METRIC, 27.0 * HOUR, 26 * HOUR)
    assert caught.value.message == message


def test_a_file_is_read_below_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "attic.prom").write_text("a 1\n")
    assert read_metrics("attic.prom", tmp_path) == "a 1\n"
    with pytest.raises(UsageError):
        read_metrics("absent.prom", tmp_path)


class _Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/metrics" else 403)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"a 1\n")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its name there
        """Say nothing."""


@pytest.fixture
def served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Metrics)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_is_asked(served: str, tmp_path: Path) -> None:
    assert read_metrics(f"{served}/metrics", tmp_path) == "a 1\n"


def test_a_server_that_refuses_or_is_away_is_worth_another_try_and_no_password_is_told(
    served: str, tmp_path: Path
) -> None:
    for url in (f"{served}/other?token=secret", "http://user:secret@127.0.0.1:1/metrics", "http://a..b/?secret"):
        with pytest.raises(TransientError) as caught:
            read_metrics(url, tmp_path)
        assert "secret" not in f"{caught.value.message}{caught.value.where}{caught.value.why}"
