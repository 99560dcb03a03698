"""A host, a file or a server that lies in its answer gets no further than that answer."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from pipelinegen.config import Config
from pipelinegen.console import Console
from pipelinegen.deploy import generations, ssh
from pipelinegen.deploy.inhibitors import inhibitors
from pipelinegen.deploy.journal import Entry, entries
from pipelinegen.deploy.probe_tries import host_answer
from pipelinegen.deploy.ssh import UnreachableError
from pipelinegen.deploy.supervisor import Supervisor
from pipelinegen.deploy.undo import find_way_back
from pipelinegen.deploy.wave import read_report, report_in, run_wave
from pipelinegen.errors import DeployError, StepFailedError, UsageError
from tests.unit.deploy.local_host import LocalHost
from tests.unit.deploy.reports import report

MANY_DIGITS = "9" * (sys.get_int_max_str_digits() + 1)


@pytest.mark.processes
def test_an_answer_without_end_is_not_heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "MOST_BYTES", 1 << 20)
    with pytest.raises(UnreachableError) as caught:
        LocalHost().run("yes", timeout=60)
    assert "more than 1 MiB" in (caught.value.why or "")


@pytest.mark.processes
def test_an_answer_within_the_bound_is_whole() -> None:
    assert len(LocalHost().run("head -c 3000000 /dev/zero").stdout) == 3_000_000


@pytest.mark.processes
@pytest.mark.parametrize("code", [MANY_DIGITS, "²", "-1", "0x4"], ids=lambda code: code[:4])
def test_an_exit_code_that_is_none_is_not_known(tmp_path: Path, code: str) -> None:
    supervisor = Supervisor(LocalHost(root=tmp_path))
    record = tmp_path / "var/lib/pipelinegen/activations" / supervisor.unit
    record.parent.mkdir(parents=True)
    record.write_text(f"phase=ended\nactivation_exit={code}\n")
    boot_id = tmp_path / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("a\n")
    status = supervisor.status()
    assert (status.phase, status.activation_exit) == ("ended", None)


def test_a_page_with_an_exit_code_that_is_none_is_no_answer() -> None:
    answer = host_answer(f"page\npipelinegen-status 200 exit {MANY_DIGITS}".encode(), 3)
    assert answer.fault == "the host does not say what it was answered"


@pytest.mark.parametrize("depth", [10, 450, 900])
def test_an_entry_of_the_journal_that_is_nested_deeply_stops_nothing(depth: int) -> None:
    deep = f'{{"__CURSOR":"a","MESSAGE":{"[" * depth}{"]" * depth}}}\n'
    good = '{"__CURSOR":"b","MESSAGE":"good"}\n'
    found, _ = entries((deep + good).encode())
    assert found[-1] == Entry("b", ("good",))


def test_half_characters_of_a_host_reach_neither_the_report_nor_the_next_question() -> None:
    found, _ = entries(b'{"__CURSOR":"a","MESSAGE":"x\\ud800"}\n{"__CURSOR":"\\ud800","MESSAGE":"y"}\n')
    assert found == [Entry("a", ("x\ufffd",))]
    stops = inhibitors({"switch-inhibitors": '{"a": "x"}'}, {"switch-inhibitors": '{"a": "\\ud800"}'})
    assert stops == ("a: \ufffd → x",)


def test_that_a_transient_unit_is_gone_is_not_shown() -> None:
    unit = "pipelinegen-0123abcd.service"
    words = f"{unit}: Failed to open /run/systemd/transient/{unit}: No such file or directory"
    assert not Entry("a", (words,), by_systemd=True, priority=4).counts
    assert Entry("a", (words,), by_systemd=False, priority=4).counts
    assert Entry("a", (f"{unit}: Main process exited",), by_systemd=True, priority=5).counts


@pytest.mark.processes
@pytest.mark.parametrize("path", ["--gc", "--option evil", "/etc/passwd", "END", "relative/" + "a" * 32 + "-x"])
def test_a_generation_that_is_no_store_path_is_not_gone_back_to(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    said = f"number=1\npath 1={path}\npresent 1=yes\n"
    monkeypatch.setattr(generations, "_SCRIPT", f"cat << 'ANSWER'\n{said}ANSWER\n")
    with pytest.raises(UsageError, match="holds no system"):
        generations.pick(LocalHost(), 1)


@pytest.mark.parametrize("seconds", ["1e999", "NaN", "-1e999", "1e300"])
def test_a_report_with_impossible_times_is_a_failed_host(tmp_path: Path, seconds: str) -> None:
    file = report_in(tmp_path, "a")
    phases = f'[{{"name":"p","seconds":{seconds}}}]'
    file.write_text(f'{{"host":"a","address":"x","system":"/s","result":"deployed","phases":{phases}}}')
    with pytest.raises(ValueError, match="its times are none"):
        read_report(file)
    with pytest.raises(StepFailedError):
        run_wave(["a"], tmp_path, max_failures=0, console=Console(io.StringIO()))


def test_a_report_of_another_commit_is_a_failed_host(tmp_path: Path) -> None:
    for host, revision in (("a", "1" * 40), ("b", "2" * 40), ("c", None)):
        report_in(tmp_path, host).write_text(report(host=host, revision=revision).model_dump_json())
    text = io.StringIO()
    run_wave(["a", "b", "c"], tmp_path, max_failures=2, console=Console(text), revision="1" * 40)
    words = [line.split(maxsplit=2) for line in text.getvalue().splitlines()[:3]]
    assert [word[0] for word in words] == ["ok", "failed", "failed"]
    assert words[1][2] == "its report is of another commit"


def test_what_a_report_says_of_a_result_is_harmless(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text('{"host":"web1","address":"","system":"/s","result":"section_start:1:x\\r\\u001b[0K"}')
    text = io.StringIO()
    config = Config.model_validate({"hosts": {"web1": {"address": "192.0.2.1"}}})
    assert find_way_back("web1", file, config=config, console=Console(text)) is None
    assert "section_start" not in text.getvalue()


def test_a_report_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    config = Config.model_validate({"hosts": {"web1": {"address": "192.0.2.1"}}})
    with pytest.raises(DeployError) as caught:
        find_way_back("web1", tmp_path / "nowhere", config=config, console=Console(io.StringIO()))
    assert caught.value.why == "No such file or directory"
