"""The memo in whole runs: what is evaluated, what is checked again, and what becomes of a memo that is wrong."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelinegen.config import Config
from pipelinegen.inventory.model import FlakeOutput, FlakeSource
from pipelinegen.inventory.read import read_source
from pipelinegen.memo.inspect import open_memo
from pipelinegen.memo.model import Key, Witness
from pipelinegen.memo.tree import Tree
from tests.gitrepo import commit, make_repo
from tests.integration.test_generate import pipelinegen

pytestmark = pytest.mark.nix

FLAKE = """
{ outputs = { self }:
  let
    make = name: text: derivation {
      inherit name text; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo $text > $out" ];
    };
    host = name: { name = name; value = make "inspecting-${name}" (import (./hosts + "/${name}.nix")); };
  in { packages.x86_64-linux = builtins.listToAttrs (map host [ "a" "b" "c" ]); };
}
"""
FILES = {"flake.nix": FLAKE, "README": "1", **{f"hosts/{name}.nix": f'"{name}"' for name in "abc"}}
ALWAYS = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_PROJECT_ID": "1",
    "CI_COMMIT_BRANCH": "main",
    "CI_COMMIT_REF_NAME": "main",
    "CI_DEFAULT_BRANCH": "main",
    "CI_COMMIT_REF_PROTECTED": "true",
}


@pytest.fixture
def repository(nix_bin: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    commit(make_repo(folder), FILES, "first")
    return folder


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Run:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return pipelinegen(*arguments, cwd=repository, XDG_CACHE_HOME=str(tmp_path / "cache"), **environment)

    return run


def derivations(ran: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert ran.returncode == 0, ran.stderr
    return {one["attr"]: one["drv_path"] for one in json.loads(ran.stdout)["outputs"]}


def plan(run: Run, *arguments: str) -> dict[str, str]:
    return derivations(run("preview", "--offline", "--json", *arguments))


def change(repository: Path, **files: str) -> None:
    names = {name.replace("_nix", ".nix").replace("_", "/"): text for name, text in files.items()}
    commit(repository, names, "change")


def warm(repository: Path, run: Run) -> None:
    """Two trees have been seen."""
    plan(run)
    change(repository, README="2")
    plan(run)


def evaluators(run: Run, tmp_path: Path, *arguments: str) -> int:
    """How often Nix evaluates something."""
    ran = run("--verbose", *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stderr.count("$ nix-instantiate")


def tamper(repository: Path, tmp_path: Path, edit: Callable[[FlakeOutput], FlakeOutput]) -> None:
    """Let the memo say something else of output `a` at the present commit."""
    source = read_source(".", cwd=repository, config=Config())
    memo = open_memo(tmp_path / "cache" / "pipelinegen", source, Config())
    assert memo is not None
    key: Key = (("packages", "x86_64-linux", "a"), "item")
    changed = 0
    for snapshot in list(memo.store.snapshots(memo.world, _witness(source))):
        record = snapshot.records[key]
        assert record.result.output is not None
        wrong = replace(record, result=record.result.model_copy(update={"output": edit(record.result.output)}))
        memo.store.save(replace(snapshot, records={**snapshot.records, key: wrong}))
        changed += 1
    assert changed
    for file in (tmp_path / "cache" / "pipelinegen").glob("*.inventory.json.gz"):
        file.unlink()


def _witness(source: FlakeSource) -> Witness:
    return Tree.scan(source, lambda _: False).witness


def test_nothing_is_evaluated_when_nothing_changed_that_is_read(repository: Path, run: Run, tmp_path: Path) -> None:
    warm(repository, run)
    change(repository, README="3")
    assert evaluators(run, tmp_path, "preview", "--offline") == 0
    assert evaluators(run, tmp_path, "preview", "--offline", "--no-memo") > 0


def test_a_push_that_adds_a_file_costs_one_evaluation_of_everything_not_two(
    repository: Path, run: Run, tmp_path: Path
) -> None:
    warm(repository, run)
    change(repository, NOTES="new")
    base = ("--base", "HEAD~")
    assert evaluators(run, tmp_path, "preview", "--offline", *base) > 0
    change(repository, README="3")
    assert evaluators(run, tmp_path, "preview", "--offline", *base) == 0


def test_a_changed_file_is_seen(repository: Path, run: Run) -> None:
    warm(repository, run)
    before = plan(run)
    change(repository, hosts_b_nix='"other"')
    after = plan(run)
    assert after == plan(run, "--no-memo")
    assert [attr[-1] for attr in after if after[attr] != before[attr]] == ["b"]


def test_derivations_that_are_not_in_the_store_are_evaluated_when_something_is_built_from_them(
    repository: Path, run: Run
) -> None:
    warm(repository, run)
    paths = plan(run)
    subprocess.run(["nix-store", "--delete", *paths.values()], check=True, capture_output=True)
    ran = run("generate", "--offline")
    assert ran.returncode == 0, ran.stderr
    assert "evaluating 3 outputs whose derivations are not here" in ran.stderr
    assert all(Path(path).exists() for path in paths.values())


def test_a_memo_that_is_wrong_is_found_out_before_anything_is_built(repository: Path, run: Run, tmp_path: Path) -> None:
    warm(repository, run)
    paths = plan(run)
    nothing = "/nix/store/00000000000000000000000000000000-inspecting-a.drv"
    tamper(repository, tmp_path, lambda output: output.model_copy(update={"drv_path": nothing}))
    ran = run("preview", "--offline", "--json")
    assert derivations(ran) == paths
    assert "what was remembered of the flake is wrong" in ran.stderr
    assert not list((tmp_path / "cache" / "pipelinegen" / "memo").glob("*.gz"))
    assert "was remembered" not in run("preview", "--offline").stderr


def test_a_scheduled_pipeline_evaluates_everything_and_fails_when_the_memo_is_wrong(
    repository: Path, run: Run, tmp_path: Path
) -> None:
    warm(repository, run)
    variables = {
        **ALWAYS,
        "CI_PROJECT_DIR": str(repository),
        "CI_PIPELINE_SOURCE": "schedule",
        "PIPELINEGEN_CACHE_DIR": str(tmp_path / "cache" / "pipelinegen"),
    }
    scheduled = run("generate", "--offline", **variables)
    assert scheduled.returncode == 0, scheduled.stderr
    assert "remembered results are what evaluation gives" in scheduled.stderr
    tamper(repository, tmp_path, lambda output: output.model_copy(update={"name": "another"}))
    failed = run("generate", "--offline", "-o", "failed", **variables)
    assert (failed.returncode, "what was remembered of the flake is wrong" in failed.stderr) == (1, True)
    assert "packages.x86_64-linux.a" in failed.stderr
    assert not (repository / "failed").exists()
    assert run("generate", "--offline", **variables).returncode == 0


@pytest.mark.parametrize("how", ["--no-memo", "memo = false", "impure = true"])
def test_without_a_memo_nothing_is_kept(repository: Path, run: Run, tmp_path: Path, how: str) -> None:
    if not how.startswith("--"):
        (repository / "pipelinegen.toml").write_text(f"[evaluation]\n{how}\n", "utf-8")
    arguments = [how] if how.startswith("--") else []
    plan(run, *arguments)
    assert not (tmp_path / "cache" / "pipelinegen" / "memo").exists()


def test_an_empty_flake_and_one_that_fails_as_a_whole_are_as_before(repository: Path, run: Run) -> None:
    change(repository, flake_nix="{ outputs = _: { }; }")
    assert plan(run) == {}
    assert plan(run) == {}
    change(repository, flake_nix='{ outputs = _: throw "no"; }')
    ran = run("preview", "--offline")
    assert ran.returncode == 2
    assert "no" in ran.stderr
