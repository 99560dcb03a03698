"""`pipelinegen doctor` with real Nix of every version, real sandboxes and real repositories."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelinegen.cli import run_command_line
from pipelinegen.doctor import read_nix as read_nix_module
from pipelinegen.doctor.judge_nix import judge_sandbox
from pipelinegen.doctor.model import Status
from pipelinegen.doctor.read_machine import read_checkout
from pipelinegen.doctor.read_nix import read_nix, read_sandbox
from tests import fake_op
from tests.gitrepo import commit, git, make_repo
from tests.integration.conftest import ONE_NIX

SandboxConfig = Callable[..., None]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, nix_bin: Path) -> SandboxConfig:  # it sets NIX_CONFIG
    """Sets `sandbox`, with what this machine's programs need in it."""
    before = os.environ["NIX_CONFIG"].replace("sandbox = false\n", "")

    def change(*lines: str) -> None:
        monkeypatch.setenv("NIX_CONFIG", before + "".join(f"{line}\n" for line in lines))

    return change


WITH_SHELL = "sandbox-paths = /bin /lib /lib64 /usr"


@pytest.mark.nix
@pytest.mark.usefixtures("nix_bin")
def test_without_a_sandbox_a_build_sees_files_and_the_environment_of_its_job() -> None:
    facts = read_sandbox(read_nix().settings)
    assert facts.configured == "false"
    assert facts.seen == frozenset({"processes", "file", "environment"})


@ONE_NIX
@pytest.mark.nix
@pytest.mark.usefixtures("nix_bin")
def test_a_build_that_does_not_find_what_it_looks_for_is_in_no_sandbox_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where TMPDIR is private, or where a daemon outside of this container builds: file and word are not there.
    blind = tmp_path / "probe.nix"
    text = read_nix_module._PROBE.read_text()
    changed = text.replace('-e "$canary"', "-e /nowhere/at/all").replace('*"$left$right"*', '*"nothing of the kind"*')
    assert changed.count("nowhere") + changed.count("of the kind") == 2
    blind.write_text(changed)
    monkeypatch.setattr(read_nix_module, "_PROBE", blind)
    facts = read_sandbox(read_nix().settings)
    assert facts.seen == frozenset({"processes"})
    assert judge_sandbox(facts).status is Status.WARNING


@ONE_NIX
@pytest.mark.nix
def test_an_interrupt_ends_the_checklist(tmp_path: Path, nix_bin: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    slow = programs / "nix-store"
    slow.write_text(f'#!/bin/sh\ncase "$*" in *--realise*) sleep 60 ;; esac\nexec {nix_bin}/nix-store "$@"\n')
    slow.chmod(0o755)
    (tmp_path / "empty").mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "pipelinegen", "-C", tmp_path / "empty", "doctor", "--offline"],
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as doctor:
        assert doctor.stdout is not None
        told = [next(doctor.stdout)]
        while not told[-1].lstrip().startswith(("ok       disk of the store", "warning  disk of the store")):
            told.append(next(doctor.stdout))
        doctor.send_signal(signal.SIGINT)
        rest = doctor.communicate(timeout=60)[0]
    assert doctor.returncode == 130
    assert "git" not in rest


@pytest.mark.nix
def test_in_a_sandbox_a_build_sees_neither(configured: SandboxConfig) -> None:
    configured("sandbox = true", "sandbox-fallback = false", WITH_SHELL)
    facts = read_sandbox(read_nix().settings)
    if facts.seen is None:
        pytest.skip(f"no sandbox can be made here: {facts.said}")
    assert facts.configured == "true"
    assert facts.seen == frozenset()


@pytest.mark.nix
def test_a_sandbox_that_lacks_the_shell_of_the_machine_is_one(configured: SandboxConfig) -> None:
    configured("sandbox = true", "sandbox-fallback = false", "sandbox-paths = /usr/share")
    facts = read_sandbox(read_nix().settings)
    if "Operation not permitted" in facts.said:
        pytest.skip(f"no sandbox can be made here: {facts.said}")
    assert facts.seen is None
    assert judge_sandbox(facts).status is Status.OK


@pytest.mark.nix
def test_a_build_that_cannot_be_done_is_told_with_its_reason(configured: SandboxConfig) -> None:
    configured("sandbox = true", "sandbox-fallback = false", "sandbox-paths = /nowhere=/nowhere/at/all")
    facts = read_sandbox(read_nix().settings)
    assert facts.seen is None
    check = judge_sandbox(facts)
    assert check.status is Status.PROBLEM
    assert "/nowhere" in check.message


@pytest.mark.nix
def test_a_good_nix_has_nothing_to_complain_about(nix_bin: Path) -> None:
    version = subprocess.run([nix_bin / "nix", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    facts = read_nix()
    assert facts.version
    assert facts.version in version
    assert (facts.flakes, facts.store, facts.listens, facts.trouble) == (None, None, True, None)
    assert facts.settings["system"]
    assert facts.free_bytes


@ONE_NIX
@pytest.mark.nix
@pytest.mark.usefixtures("nix_bin")
def test_a_nix_that_says_nothing_of_itself_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_CONFIG", "sandbox = perhaps\n")
    facts = read_nix()
    assert facts.version is None or facts.flakes is not None or facts.trouble


@ONE_NIX
@pytest.mark.nix
@pytest.mark.usefixtures("nix_bin")
def test_the_whole_checklist_of_a_good_machine_is_without_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(("CI", "GITLAB", "OP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NIX_SSL_CERT_FILE", str(tmp_path / "certificates"))
    (tmp_path / "certificates").write_text("-----BEGIN CERTIFICATE-----\n")
    repo = make_repo(tmp_path / "repo")
    fake = fake_op.install(tmp_path / "op")
    monkeypatch.setenv("PATH", str(fake.folder / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_OP", str(fake.folder))
    text = '[hosts.web1]\naddress = "web1"\nssh_key_file = "op://v/ssh/key"\n'
    commit(repo, {"pipelinegen.toml": text})
    code = run_command_line(["-C", str(repo), "doctor", "--json"])
    checks: dict[str, Any] = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    problems = {name: check["message"] for name, check in checks.items() if check["status"] == "problem"}
    assert (code, problems) == (0, {})
    assert checks["checkout"]["status"] == "ok"
    assert checks["build sandbox"]["status"] == "warning"
    assert checks["1password"]["message"] == "1 secret is a reference, and op is installed; it asks who you are"
    assert not fake.calls, "presence is looked at, never content"


def test_a_checkout_of_somebody_else_is_told_from_a_broken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = make_repo(tmp_path / "repo")
    commit(repo, {"a": "1"})
    assert read_checkout(repo).trouble is None
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    found = read_checkout(repo)
    assert found.found
    assert not found.owner
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    (repo / ".git" / "config").write_text("[core\n")
    found = read_checkout(repo)
    assert found.owner
    assert found.trouble


def test_a_clone_with_a_cut_history_is_noticed(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    for text in ("1", "2"):
        commit(repo, {"a": text})
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "clone")
    found = read_checkout(tmp_path / "clone")
    assert found.shallow
    assert found.remote
    assert not read_checkout(repo).shallow
    (tmp_path / "empty").mkdir()
    assert not read_checkout(tmp_path / "empty").found
