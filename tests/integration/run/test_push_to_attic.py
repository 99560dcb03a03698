"""`run push` to an Attic server: exit codes, what people and machines are told, and beginning again after any end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.cli import run_command_line
from tests.attic_server import Anonymous, Endpoint, Fault, Lose, Reply, Stall, attic_server
from tests.integration.attic.pushing import TOKEN, Scene, build
from tests.integration.run.conftest import Store
from tests.unit.run.test_metrics import gitlab

pytestmark = pytest.mark.nix

UPLOAD = Endpoint.UPLOAD


@pytest.fixture
def scene(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with attic_server() as server:
        key = server.create_cache("ci", store_dir=str(store.root / "store"))
        yield Scene(server, build(store.root), key, monkeypatch)


class Command:
    """`run push --to ci` in a folder with a configuration, and the files that it writes."""

    def __init__(self, scene: Scene, folder: Path, **push: int) -> None:
        self.scene, self.folder = scene, folder
        lines = ["[caches.ci]", f'url = "{scene.server.url}ci"', 'backend = "attic"', 'writers = "protected"']
        lines += [f'public_key = "{scene.key}"', f'token_env = "{TOKEN}"', "[push]"]
        lines += [f"{key} = {value}" for key, value in {"attempts": 2, "answer_timeout": 5, **push}.items()]
        lines += ["[handoff]", "visible_timeout = 2"]
        (folder / "pipelinegen.toml").write_text("\n".join(lines))
        self.expire(in_seconds=3600)

    def expire(self, in_seconds: float) -> None:
        """The token is good for so long."""
        self.scene.monkeypatch.setenv(TOKEN, self.scene.server.token({"ci": "r w"}, seconds=in_seconds))

    def words(self, *paths: str) -> list[str]:
        files = ["--report", "out/report.json", "--junit", "out/junit.xml", "--metrics", "out/metrics.txt"]
        return ["-C", str(self.folder), "run", "push", "--to", "ci", "--class", "protected", *files, *paths]

    def run(self, *paths: str) -> int:
        """The exit code."""
        return run_command_line(self.words(*paths))

    @contextlib.contextmanager
    def stuck(self, *paths: str, after: int) -> Iterator[subprocess.Popen[bytes]]:
        """In a process of its own, whose uploads do not get on when so many paths were taken."""
        self.scene.server.faults.add(Fault(Stall("body", after=10), endpoint=UPLOAD, after=after))
        argv = [sys.executable, "-m", "pipelinegen", *self.words(*paths)]
        silent = subprocess.DEVNULL
        process = subprocess.Popen(argv, stderr=silent, stdout=silent, start_new_session=True)
        try:
            deadline = time.monotonic() + 30
            while len(self.scene.server.completed) < after:
                assert time.monotonic() < deadline, "it never came to that"
                assert process.poll() is None, "it ended by itself"
                time.sleep(0.02)
            time.sleep(1.5)  # it tells once a second how far it is
            yield process
        finally:
            process.kill()
            process.wait()
            self.scene.server.faults.clear()

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "out" / "report.json").read_text())
        return found

    @property
    def suite(self) -> ET.Element:
        return ET.fromstring((self.folder / "out" / "junit.xml").read_bytes())[0]  # noqa: S314  # our own document

    @property
    def metrics(self) -> dict[str, str]:
        return gitlab((self.folder / "out" / "metrics.txt").read_text())


def test_a_push_is_told_in_all_ways(scene: Scene, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = Command(scene, tmp_path)
    assert command.run(scene.paths.many, scene.paths.lib) == 0
    said = capfd.readouterr().err
    assert "pushing 2 of 2 closures to cache ci\n" in said
    assert "cache ci: 62 pushed, 0 already there; " in said
    assert " sent, " in said
    counts = command.report["counts"]
    assert (counts["pushed"], counts["attempts"], counts["failed"]) == (62, 62, 0)
    assert counts["stored_bytes"] > 0
    items = command.report["items"]
    assert [item["name"] for item in items[:2]] == [scene.paths.many, scene.paths.lib]
    assert len(items) == 62
    assert all(item["bytes"] > 0 and item["outcome"] == "pushed" for item in items)
    assert [case.attrib["name"] for case in command.suite] == ["many", "lib"]
    assert command.metrics["pipelinegen_push_paths_total{cache=ci,outcome=pushed}"] == "62"


def test_a_closure_with_a_hole_is_filled_although_its_root_is_there(scene: Scene, tmp_path: Path) -> None:
    command = Command(scene, tmp_path)
    assert command.run(scene.paths.app) == 0
    scene.server.forget(scene.paths.lib)
    assert command.run(scene.paths.app) == 0
    assert scene.server.objects("ci") == {scene.paths.app, scene.paths.lib}
    assert (command.report["counts"]["present"], command.report["counts"]["pushed"]) == (1, 1)


def test_what_was_there_is_touched_when_asked_for(scene: Scene, tmp_path: Path) -> None:
    command = Command(scene, tmp_path)
    assert command.run(scene.paths.app) == 0
    scene.server.forget_requests()
    assert command.run(scene.paths.app, "--touch") == 0
    assert command.report["counts"]["touched"] == 2
    assert {one.target[-36:-4] for one in scene.server.asked(Endpoint.NAR)} == {
        Path(path).name[:32] for path in (scene.paths.app, scene.paths.lib)
    }


FAILURES = {
    "a proxy's limit": (Reply(413, form="html"), 1, "too-large"),
    "a server in trouble": (Reply(500), 75, "server"),
    "a page of a proxy": (Reply(502, form="html"), 75, "proxy"),
    "a token that ended on the way": (Anonymous(), 4, "unauthorized"),
    "a server that loses it": (Lose(), 75, "lost"),
}


@pytest.mark.parametrize(("action", "code", "failure"), FAILURES.values(), ids=FAILURES)
def test_the_exit_code_says_whether_another_try_is_worth_it(
    scene: Scene,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    action: Reply | Anonymous | Lose,
    code: int,
    failure: str,
) -> None:
    scene.server.faults.add(Fault(action, endpoint=UPLOAD, path="-lib"))
    command = Command(scene, tmp_path)
    assert command.run(scene.paths.app) == code
    lib = next(item for item in command.report["items"] if item["name"] == scene.paths.lib)
    assert (lib["status"], lib["failure_class"], lib["asked"]) == ("failed", failure, False)
    assert [(case.attrib["name"], case[0].tag) for case in command.suite if len(case)][-1] == ("lib", "failure")
    assert command.metrics[f"pipelinegen_push_failures_total{{cache=ci,class={failure}}}"] == "1"
    said = capfd.readouterr().err
    assert f"{failure}: 1 path\n" in said
    assert scene.paths.lib in said
    assert "hint: " in said


def test_several_kinds_of_failures_are_told_in_blocks_and_the_lasting_one_decides(
    scene: Scene, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scene.server.faults.add(Fault(Reply(413, form="html"), endpoint=UPLOAD, path="-big"))
    scene.server.faults.add(Fault(Reply(503, form="html"), endpoint=UPLOAD, path="-lib"))
    assert Command(scene, tmp_path).run(scene.paths.app, scene.paths.big, scene.paths.other) == 1
    said = capfd.readouterr().err
    assert said.index("proxy: 1 path") < said.index("too-large: 1 path") < said.index("not tried: 1 path")
    assert "error: 2 of 4 paths did not get into cache ci, 1 was not tried" in said


def test_a_refused_token_leaves_a_report_too(scene: Scene, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = Command(scene, tmp_path)
    command.expire(in_seconds=-60)
    assert command.run(scene.paths.app) == 4
    assert "expired at" in capfd.readouterr().err
    assert command.report["credentials"] is True
    assert "expired at" in command.report["why"]
    assert command.suite.attrib["failures"] == "1"


def test_after_a_kill_the_next_push_sends_only_what_is_missing(scene: Scene, tmp_path: Path) -> None:
    command = Command(scene, tmp_path, stall_timeout=300)
    with command.stuck(scene.paths.many, after=20) as process:
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    before = scene.server.objects("ci")
    assert len(before) == 20
    scene.server.forget_requests()
    assert command.run(scene.paths.many) == 0
    assert before.isdisjoint(scene.server.completed)
    assert len(scene.server.asked(UPLOAD)) == 61 - 20
    assert (command.report["counts"]["present"], command.report["counts"]["pushed"]) == (20, 41)
    assert len(scene.server.objects("ci")) == 61


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_cancelled_push_ends_soon_and_says_how_far_it_was(
    scene: Scene, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = Command(scene, tmp_path, stall_timeout=300)
    with command.stuck(scene.paths.many, after=20) as process:
        process.send_signal(number)
        assert process.wait(10) == code
    report = command.report
    assert report["message"] == "interrupted"
    assert (report["counts"]["done"], report["counts"]["to_send"]) == (20, 61)
    assert [(item["name"], item["status"]) for item in report["items"]] == [(scene.paths.many, "not-tried")]
    assert command.suite.attrib["skipped"] == "1"
    assert command.run(scene.paths.many) == 0
    assert command.report["counts"]["pushed"] == 41
