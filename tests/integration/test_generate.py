"""`generate` as a whole on the example fleet: the same bytes everywhere, sound, and as documented."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from pipelinegen.reference import pages
from tests.gitrepo import commit, make_repo

pytestmark = pytest.mark.nix

FLEET = Path(__file__).parents[2] / "examples" / "fleet"


def new_repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    repository = make_repo(folder)
    files = {
        str(file.relative_to(FLEET)): file.read_text("utf-8")
        for file in sorted(FLEET.rglob("*"))
        if file.is_file() and "pipeline-tests" not in file.parts
    }
    commit(repository, files, "the fleet")
    return Path(repository)


def pipelinegen(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITLAB"))}
    return subprocess.run(
        [sys.executable, "-m", "pipelinegen", *arguments],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(FLEET.parents[1]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_the_same_input_gives_the_same_bytes_in_any_folder_and_process(nix_bin: Path, tmp_path: Path) -> None:
    one = new_repository(tmp_path / "one")
    two = new_repository(tmp_path / "quite" / "another-place")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    runs = [
        # Nothing is remembered of another one; what is known says metrics.txt.
        pipelinegen("generate", *arguments, "-o", f"{tmp_path}/out{number}", cwd=cwd, **environment)
        for number, (arguments, cwd, environment) in enumerate(
            [
                ([], one, {"PYTHONHASHSEED": "1", "XDG_CACHE_HOME": f"{tmp_path}/1"}),
                ([], two, {"PYTHONHASHSEED": "2", "XDG_CACHE_HOME": f"{tmp_path}/2", "LANG": "C", "TZ": "Asia/Tokyo"}),
                ([str(one)], elsewhere, {"PYTHONHASHSEED": "3", "XDG_CACHE_HOME": f"{tmp_path}/3"}),
            ],
            start=1,
        )
    ]
    assert [run.returncode for run in runs] == [0, 0, 0], runs[-1].stderr
    first, second, third = (content(tmp_path / f"out{number}") for number in (1, 2, 3))
    assert set(first) == {
        "derivations.export.gz",
        "metrics.txt",
        "pipeline.yml",
        "plan.json",
        "report.txt",
        "work.json",
    }
    assert second == first
    assert third == first


def test_what_is_remembered_changes_nothing_but_the_figures(nix_bin: Path, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "fleet")
    runs = [
        pipelinegen("generate", "-o", f"{tmp_path}/out{number}", cwd=repository, XDG_CACHE_HOME=f"{tmp_path}/cache")
        for number in (1, 2)
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[-1].stderr
    first, second = content(tmp_path / "out1"), content(tmp_path / "out2")
    assert first.pop("metrics.txt") != second.pop("metrics.txt")
    assert first == second


def test_plan_and_preview_follow_the_published_schema_and_the_file_is_sound(nix_bin: Path, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "fleet")
    assert pipelinegen("generate", cwd=repository).returncode == 0
    plan = json.loads((repository / ".pipelinegen" / "plan.json").read_text("utf-8"))
    jsonschema.validate(plan, json.loads(pages()["plan.schema.json"]))
    preview = pipelinegen("preview", "--json", cwd=repository)
    assert json.loads(preview.stdout) == plan
    checked = pipelinegen("check", cwd=repository)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_what_does_not_fit_one_pipeline_is_several_files_and_again_one_when_it_does(
    nix_bin: Path, tmp_path: Path
) -> None:
    repository = new_repository(tmp_path / "fleet")
    folder = repository / ".pipelinegen"
    usual = (repository / "pipelinegen.toml").read_text("utf-8")
    commands = "".join(f'\n[[tests]]\nname = "{letter}"\ncommand = "true"\n' for letter in "abcdefgh")
    (repository / "few.toml").write_text(f"{usual}{commands}\n[gitlab]\nmax_jobs = 9\n", "utf-8")
    (folder).mkdir()
    (folder / "pipeline-mine.yml").write_text("not ours", "utf-8")
    generated = pipelinegen("--config", "few.toml", "generate", cwd=repository)
    assert generated.returncode == 0, generated.stderr
    assert "jobs do not fit one pipeline: they run in" in generated.stderr
    parts = sorted(file.name for file in folder.glob("pipeline-?.yml"))
    assert parts == [f"pipeline-{number}.yml" for number in range(1, len(parts) + 1)]
    assert len(parts) > 1

    for arguments in (["check"], ["check", ".pipelinegen"], ["check", ".pipelinegen/pipeline.yml"]):
        checked = pipelinegen("--config", "few.toml", *arguments, cwd=repository)
        assert checked.returncode == 0, checked.stderr
        assert ".pipelinegen/pipeline-2.yml" in checked.stderr
    record = json.loads(pipelinegen("check", "--json", cwd=repository).stdout)
    assert record["files"] == [f".pipelinegen/{name}" for name in ("pipeline.yml", *parts)]

    part = folder / "pipeline-2.yml"
    part.write_text(part.read_text("utf-8").replace("stage:", "stages:", 1), "utf-8")
    broken = pipelinegen("check", cwd=repository)
    assert broken.returncode == 1
    part.unlink()
    missing = pipelinegen("check", cwd=repository)
    assert (missing.returncode, "pipeline-2.yml" in missing.stderr) == (2, True)

    assert pipelinegen("generate", cwd=repository).returncode == 0
    assert [file.name for file in sorted(folder.glob("pipeline*.yml"))] == ["pipeline-mine.yml", "pipeline.yml"]


def test_a_derivation_is_in_one_job_and_every_fetched_path_is_made_before(nix_bin: Path, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "fleet")
    assert pipelinegen("generate", cwd=repository).returncode == 0
    work = json.loads((repository / ".pipelinegen" / "work.json").read_text("utf-8"))
    built = [build["drv_path"] for unit in work["units"] for build in unit["builds"]]
    assert len(built) == len(set(built)) > 20


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["preview", "nowhere"], 2, "cannot read the flake"),
        (["preview", "--base", "nonsense"], 2, "nonsense"),
        (["explain", "web7"], 2, "did you mean"),
        (["generate", "-o", "/dev/null/x"], 5, "cannot write"),
        (["generate", "--fail-if-empty"], 0, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_use_is_a_clear_error(arguments: list[str], code: int, words: str, nix_bin: Path, tmp_path: Path) -> None:
    ran = pipelinegen(*arguments, cwd=new_repository(tmp_path / "fleet"))
    assert ran.returncode == code, ran.stderr
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_empty_flake_is_nothing_to_do(nix_bin: Path, tmp_path: Path) -> None:
    repository = make_repo(tmp_path / "empty")
    commit(repository, {"flake.nix": "{ outputs = _: { }; }"}, "empty")
    ran = pipelinegen("generate", "--fail-if-empty", cwd=Path(repository))
    assert ran.returncode == 3
    assert "nothing-to-do" in (Path(repository) / ".pipelinegen" / "pipeline.yml").read_text("utf-8")


def test_jobs_look_for_the_handoff_where_it_was_written(nix_bin: Path, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "fleet")
    assert pipelinegen("generate", "-o", "out/here", cwd=repository).returncode == 0
    lines = (repository / "out" / "here" / "pipeline.yml").read_text("utf-8").split("\n")
    calls = [line for line in lines if "--handoff" in line]
    assert calls
    assert all("--handoff out/here " in line for line in calls)


def test_jobs_run_in_the_image_that_planned_unless_the_configuration_names_one(nix_bin: Path, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "fleet")
    for settings, image in (("", "bootstrap:1"), ('[gitlab]\nimage = "jobs:2"\n', "jobs:2")):
        (repository / "other.toml").write_text(settings, "utf-8")
        ran = pipelinegen("--config", "other.toml", "generate", cwd=repository, PIPELINEGEN_IMAGE="bootstrap:1")
        assert ran.returncode == 0, ran.stderr
        assert f'    name: "{image}"\n' in (repository / ".pipelinegen" / "pipeline.yml").read_text("utf-8")


@pytest.mark.parametrize(
    ("settings", "caches"),
    [
        ("substituters = https://me:hunter2@cache.invalid", 0),
        ("substituters = file:///nonexistent\ntrusted-public-keys =", 0),
        ("substituters = file:///nonexistent\ntrusted-public-keys =\nrequire-sigs = false", 1),
    ],
    ids=["a password in the URL", "no key is accepted", "no signature is needed"],
)
def test_the_caches_of_the_machines_own_nix(settings: str, caches: int, nix_bin: Path, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "fleet")
    ran = pipelinegen("preview", "--json", cwd=repository, NIX_CONFIG=f"{os.environ['NIX_CONFIG']}\n{settings}\n")
    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(ran.stdout)["outputs"][0]["available"]) == caches
    assert "hunter2" not in ran.stderr + ran.stdout


def test_offline_asks_no_cache_and_counts_nothing_as_available(nix_bin: Path, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "fleet")
    url = f"file://{tmp_path / 'cache'}"
    settings = f'[caches.fleet]\nurl = "{url}"\nwriters = "protected"\npublish = true\n'
    (repository / "other.toml").write_text(settings, "utf-8")
    ran = pipelinegen("-v", "--config", "other.toml", "preview", "--offline", "--json", cwd=repository)
    assert ran.returncode == 0, ran.stderr
    plan = json.loads(ran.stdout)
    assert url not in ran.stderr
    assert {job["stage"] for job in plan["jobs"]} >= {"build", "push"}, "what is not known to be there is pushed"
    assert any("--offline" in note for note in plan["notes"])


def test_a_machine_without_nix_is_told_so(nix_bin: Path, tmp_path: Path) -> None:
    repository = new_repository(tmp_path / "fleet")
    tools = tmp_path / "tools"
    tools.mkdir()
    git = shutil.which("git")
    assert git is not None
    (tools / "git").symlink_to(git)
    ran = pipelinegen("preview", cwd=repository, PATH=str(tools))
    assert ran.returncode == 5
    assert "nix is not installed" in ran.stderr
