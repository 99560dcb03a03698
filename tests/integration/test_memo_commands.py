"""What commands say of evaluations that are remembered, with real git and Nix."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelinegen.memo.last import FOLDER, Last, read_last
from pipelinegen.memo.model import Key
from pipelinegen.memo.store import SUFFIX, MemoStore, import_
from tests.gitrepo import commit, make_repo
from tests.integration.conftest import ONE_NIX
from tests.integration.test_generate import pipelinegen

pytestmark = [
    pytest.mark.nix,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says which files are opened"),
]

FLAKE = """\
{
  outputs = { self }: let
    make = name: text: derivation {
      inherit name text;
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" "echo > $out" ];
    };
  in {
    packages.x86_64-linux = {
      api = make "api" (import ./pkgs/api.nix);
      cli = make "cli" (import ./pkgs/cli.nix);
      pages = make "pages" (toString (builtins.attrNames (builtins.readDir ./pages)));
      sources = make "sources" "${self}";
    };
  };
}
"""
FILES = {
    "flake.nix": FLAKE,
    # One evaluator reads everything in one order, so that it is known what it reads.
    "pipelinegen.toml": "[evaluation]\nworkers = 1\n",
    "pkgs/api.nix": '"api"\n',
    "pkgs/cli.nix": '"cli"\n',
    "pages/one.md": "",
}
WITH_VERSION = {
    **FILES,
    "flake.nix": FLAKE.replace("sources =", 'version = make "version" (toString self.lastModified);\n      sources ='),
}
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "see-what-evaluation-reads.md"
HERE = "packages.x86_64-linux."


@pytest.fixture
def repository(nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The flake after three commits, the last two of which change `pkgs/cli.nix`; inspected after each but the last."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = make_repo(tmp_path / "project")
    for number, text in enumerate(("cli", "cli 2", "cli 3")):
        if number:
            said(folder, "memo", "show")
        commit(folder, {**FILES, "pkgs/cli.nix": f'"{text}"\n'}, text)
    return folder


def said(folder: Path, *arguments: str, code: int = 0) -> str:
    done = pipelinegen(*arguments, cwd=folder)
    assert done.returncode == code, done.stderr
    return done.stdout


def memo(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "pipelinegen" / FOLDER


def test_a_preview_says_what_was_known_and_why_the_rest_was_evaluated(repository: Path) -> None:
    text = said(repository, "preview", "--offline", "--base", "HEAD~1")
    lines = text[text.index("\nevaluation\n") :].splitlines()
    assert lines[2] == f"  * {HERE}cli  evaluated: pkgs/cli.nix changed"
    assert lines[3].startswith(f"  * {HERE}sources  evaluated: it depends on the source tree's own store path")
    assert lines[4:6] == [
        f"  = {HERE}api  derivation known: none of the 2 files it reads changed",
        f"  = {HERE}pages  derivation known: the only file it reads has not changed",
    ]
    assert lines[-1] == "2 of 4 derivations known, 2 evaluated"

    again = said(repository, "preview", "--offline", "--base", "HEAD~1")
    assert "\nevaluation\n" not in again
    assert again.endswith("\n4 of 4 derivations known: nothing that they read has changed\n")
    everything = said(repository, "preview", "--offline", "--base", "HEAD~1", "--all")
    assert everything.count("derivation known: ") == 4
    assert f"  = {HERE}cli  derivation known: all 2 files it reads are as in an earlier evaluation (" in everything


def test_the_record_of_an_explanation_holds_what_is_read(repository: Path) -> None:
    record = json.loads(said(repository, "explain", "api", "--offline", "--json"))
    (reading,) = record["readings"]
    assert (reading["attr"], reading["known"]) == (f"{HERE}api", True)
    assert reading["files"] == ["flake.nix", "pkgs/api.nix"]
    assert record["outputs"][0]["attr"] == f"{HERE}api"


def test_an_explanation_lists_what_an_output_reads_and_what_of_it_changed(repository: Path) -> None:
    commit(repository, {"pages/two.md": ""}, "another name")
    b = said(repository, "explain", "cli", "--offline", "--base", "HEAD~2")
    assert "  evaluated   pkgs/cli.nix changed\n" in b
    assert "\n              pkgs/cli.nix (changed since the base)\n" in b
    listed = said(repository, "explain", "pages", "--offline", "--base", "HEAD~1")
    assert "  lists       pages (changed since the base)\n" in listed
    commit(repository, WITH_VERSION, "a date")
    version = said(repository, "explain", "version", "--offline", "--base", "HEAD~1")
    assert "  evaluated   it may read self.lastModified, which every commit changes\n" in version
    assert "  reads       flake.nix (changed since the base)\n" in version
    assert "  uses        self.lastModified\n" in version


def test_what_every_commit_evaluates_is_listed_with_the_reason(repository: Path) -> None:
    sources = said(repository, "memo", "show").split("\n\nevaluated at every commit\n")[1]
    assert f"  {HERE}sources\n    because it depends on the source tree's own store path" in sources
    commit(repository, WITH_VERSION, "a date")
    text = said(repository, "memo", "show")
    first, last = text.split("\n\nevaluated at every commit\n")
    assert f"! {HERE}version" in {line[: line.index("  ")] for line in first.splitlines()}
    assert f"  {HERE}version\n    because it may read self.lastModified, which every commit changes\n" in last
    record = json.loads(said(repository, "memo", "show", "--json"))
    always = {one["attr"].removeprefix(HERE): one["always"] for one in record["outputs"]}
    assert list(always) == ["api", "cli", "pages", "sources", "version"]
    assert always["version"]
    assert record["format_version"] == "1.0"


@ONE_NIX
def test_an_output_that_needs_a_build_or_fails_is_evaluated_at_every_commit(
    nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = make_repo(tmp_path / "project")
    more = 'built = make "built" (builtins.readFile (make "text" "")); broken = throw "not this one";'
    commit(folder, {**FILES, "flake.nix": FLAKE.replace("sources =", f"{more}\n      sources =")})
    text = said(folder, "memo", "show")
    assert f"! {HERE}built  what it reads is not known\n" in text
    assert f"  {HERE}built\n    because evaluating it builds something (import from derivation)" in text
    assert f"  {HERE}broken\n    because it does not evaluate\n" in text


def test_a_verification_confirms_and_narrows(repository: Path, tmp_path: Path) -> None:
    text = said(repository, "memo", "verify")
    assert text.startswith("4 outputs evaluated; ")
    assert "none differs" in text
    said(repository, "memo", "clear")
    assert not list(memo(tmp_path).iterdir())
    assert "; 0 remembered results compared, " in said(repository, "memo", "verify")
    commit(repository, {"README": "nobody reads it"}, "first of a new path")
    commit(repository, {"README": "nobody reads it at all"}, "no new path")
    said(repository, "memo", "show")
    commit(repository, {"README": "really"}, "nothing")
    confirmed = said(repository, "memo", "verify")
    assert "; 0 confirmed" in confirmed, "they were seen at two trees before"


def poison(folder: Path, name: str) -> None:
    """Every snapshot says something wrong of an output."""
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        snapshot = import_(file.read_bytes())
        assert snapshot is not None
        key: Key = (("packages", "x86_64-linux", name), "item")
        record = snapshot.records[key]
        assert record.result.output is not None
        wrong = record.result.output.model_copy(update={"timeout": 7})
        result = record.result.model_copy(update={"output": wrong})
        records = {**snapshot.records, key: replace(record, result=result)}
        assert MemoStore(folder).save(replace(snapshot, records=records)) is None


@pytest.mark.parametrize(
    "arguments",
    [["memo", "verify"], ["generate", "--offline", "--verify-memo", "-o", "out"]],
    ids=lambda arguments: arguments[0],
)
@ONE_NIX
def test_a_memo_that_is_wrong_fails_a_verification_and_is_dropped(
    repository: Path, tmp_path: Path, arguments: list[str]
) -> None:
    poison(memo(tmp_path), "api")
    done = pipelinegen(*arguments, cwd=repository)
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert f"{HERE}api" in done.stderr
    assert not list(memo(tmp_path).glob(f"*{SUFFIX}"))
    assert not (repository / "out").exists()
    assert said(repository, *arguments), "nothing wrong is left"


@ONE_NIX
def test_without_the_memo_nothing_is_kept_and_nothing_believed(repository: Path, tmp_path: Path) -> None:
    poison(memo(tmp_path), "api")
    before = {file.name: file.read_bytes() for file in memo(tmp_path).iterdir()}
    for arguments in (["preview"], ["explain", "api"], ["generate", "-o", "out"]):
        done = pipelinegen(*arguments, "--offline", "--no-memo", cwd=repository)
        assert done.returncode == 0, done.stderr
        assert "derivations known" not in done.stdout + done.stderr
        assert "reads" not in done.stdout
    assert '"timeout": 7' not in (repository / "out" / "work.json").read_text()
    assert {file.name: file.read_bytes() for file in memo(tmp_path).iterdir()} == before
    (repository / "off.toml").write_text("[evaluation]\nmemo = false\n")
    assert "derivations known" not in said(repository, "--config", "off.toml", "preview", "--offline")
    assert {file.name: file.read_bytes() for file in memo(tmp_path).iterdir()} == before


def masked(text: str) -> list[str]:
    """Lines without what differs from machine to machine."""
    text = re.sub(r"(memo: )\S+: (\d+) snapshots, \d+ KiB", r"\1\2 snapshots", text)
    return [re.sub(r"may watch \d+", "may watch", line) for line in text.splitlines()]


@ONE_NIX
def test_the_page_shows_what_the_commands_print(repository: Path) -> None:
    blocks = re.findall(r"```console\n\$ pipelinegen (.*)\n((?:.*\n)*?)```", PAGE.read_text("utf-8"))
    assert len(blocks) == 5
    for command, shown in blocks:
        words = command.split()
        done = pipelinegen(*words, cwd=repository)
        assert done.returncode == 0, done.stderr
        printed = iter(masked(done.stdout))
        for line in masked(shown):
            assert line == "…" or line in printed, f"{command} does not print {line!r} there"


@ONE_NIX
def test_options_that_contradict_each_other_are_wrong_use(repository: Path) -> None:
    said(repository, "generate", "--no-memo", "--verify-memo", code=2)
    (repository / "off.toml").write_text("[evaluation]\nmemo = false\n")
    (repository / "impure.toml").write_text("[evaluation]\nimpure = true\n")
    for config in ("off.toml", "impure.toml"):
        for command in (["memo", "show"], ["memo", "verify"], ["generate", "--verify-memo"]):
            said(repository, "--config", config, *command, code=2)


@ONE_NIX
def test_doctor_knows_the_hit_rate_of_the_last_inspection(repository: Path, tmp_path: Path) -> None:
    said(repository, "preview", "--offline")
    said(repository, "preview", "--offline")
    assert read_last(memo(tmp_path)) == Last(known=4, evaluated=0)
    done = pipelinegen("doctor", "--offline", cwd=repository)
    (line,) = [line for line in done.stdout.splitlines() if "evaluation memo" in line]
    assert "3 snapshots, " in line
    assert line.endswith("; at the last inspection 4 of 4 derivations were known")
    (line,) = [line for line in done.stdout.splitlines() if "recording of evaluation" in line]
    assert line.startswith("ok       recording of evaluation: opened files of the flake's 3 folders can be seen")


@ONE_NIX
def test_hostile_names_are_told_and_do_no_harm(nix_bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = make_repo(tmp_path / "project")
    flake = FLAKE.replace("(import ./pkgs/api.nix)", '(toString (map (n: builtins.readFile (./pkgs + "/${n}")) '
                          "(builtins.attrNames (builtins.readDir ./pkgs))))")  # fmt: skip
    (folder / "pkgs").mkdir()
    Path(os.fsdecode(os.fsencode(folder / "pkgs") + b"/\xff\x1b[2J\nerror: forged")).write_text('"x"')
    commit(folder, {**FILES, "flake.nix": flake})
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    text = said(folder, "explain", "api", "--offline") + said(folder, "explain", "api", "--offline", "--json")
    assert "\x1b" not in text
    assert "\nerror: forged" not in text
    assert "error: forged" in text
