"""How jobs come by derivations: from the export without any evaluation, or by evaluating what they build."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelinegen import process
from tests.gitrepo import commit, make_repo
from tests.integration.test_generate import pipelinegen

pytestmark = pytest.mark.nix

FLAKE = """
{
  outputs = { self }:
    let
      system = "SYSTEM";
      make = name: script: inputs: derivation {
        inherit name system inputs;
        builder = "/bin/sh";
        args = [ "-c" script ];
      };
      lib = make "lib" "echo lib > $out" [ ];
      app = make "app" "echo app $inputs > $out" [ lib ];
    in {
      packages.${system} = {
        inherit app lib;
        "of.this.commit" = make "of-this-commit" "echo ${self.rev or "dirty"} > $out" [ lib ];
        set = { recurseForDerivations = true; deep = make "deep" "echo deep > $out" [ lib ]; };
      };
      devShells.${system}.default = make "shell" "exit 1" [ ] // {
        inputDerivation = make "inputs" "echo > $out" [ lib ];
      };
      checks.${system}.runs = make "runs" "echo runs > $out" [ app ];
      nixosConfigurations.web1.config.system.build.toplevel = make "system" "echo system $inputs > $out" [ app ];
    };
}
"""


@dataclass
class Project:
    """A repository whose jobs run on stores that hold nothing at their beginning."""

    repository: Path
    nix: Path

    def generate(self) -> dict[str, Any]:
        """Plan as for a push to the default branch; the jobs' work."""
        ran = pipelinegen("generate", "-o", str(self.handoff), cwd=self.repository)
        assert ran.returncode == 0, ran.stderr
        work: dict[str, Any] = json.loads((self.handoff / "work.json").read_text("utf-8"))
        return work

    @property
    def handoff(self) -> Path:
        return self.repository.parent / "handoff"

    def job(self, *arguments: str, **environment: str) -> Any:
        """A command of a job, on a new machine."""
        for name in ("store", "state", "log", "cache"):
            for folder, _, _ in os.walk(self.nix / name):
                Path(folder).chmod(0o700)
            shutil.rmtree(self.nix / name, ignore_errors=True)
        variables = {"PIPELINEGEN_HANDOFF": str(self.handoff), **environment}
        return pipelinegen("run", *arguments, cwd=self.repository, **variables)

    def unit(self, work: dict[str, Any], target: str) -> str:
        """The name of the job that finishes a target, without its stage."""
        found = [unit["job"] for unit in work["units"] if target in unit["targets"]]
        return str(found[-1])


def system() -> str:
    return f"{os.uname().machine}-linux"


@pytest.fixture
def project(nix_bin: Path, tmp_path: Path) -> Project:
    repository = make_repo(tmp_path / "project")
    runners = f'[[runners]]\nsystem = "{system()}"\n'
    commit(repository, {"flake.nix": FLAKE.replace("SYSTEM", system()), "pipelinegen.toml": runners})
    return Project(Path(repository), tmp_path / "nix")


def configure(project: Project, text: str) -> None:
    commit(project.repository, {"pipelinegen.toml": f'{text}\n[[runners]]\nsystem = "{system()}"\n'})


@pytest.fixture
def evaluating(project: Project) -> Project:
    configure(project, '[handoff]\nderivations = "evaluate"')
    return project


def test_where_jobs_evaluate_there_is_no_export_and_each_job_makes_just_what_was_planned(evaluating: Project) -> None:
    work = evaluating.generate()
    assert not list(evaluating.handoff.glob("derivations*"))
    assert work["derivations"] is None
    pipeline = (evaluating.handoff / "pipeline.yml").read_text("utf-8")
    assert "GIT_DEPTH" not in pipeline
    targets = {target for unit in work["units"] for target in unit["targets"]}
    assert len(targets) == 7
    for unit in work["units"]:
        stage = unit["stage"]
        ran = evaluating.job(stage, "--", unit["job"].removeprefix(f"{stage} "))
        assert ran.returncode == 0, ran.stderr
        for one in unit["builds"]:
            assert f"built {one['drv_path']}" in ran.stderr
        assert ran.stderr.count("evaluating ") == 1, "one target is enough for all that is built"


def test_a_tree_that_changed_since_is_told_with_both_derivations(evaluating: Project) -> None:
    work = evaluating.generate()
    attr = f'packages.{system()}."of.this.commit"'
    planned = next(unit["builds"][-1]["drv_path"] for unit in work["units"] if attr in unit["targets"][:1])
    rev = work["evaluation"]["rev"]
    name = evaluating.unit(work, attr).removeprefix("build ")
    flake = evaluating.repository / "flake.nix"
    flake.write_text(flake.read_text("utf-8") + "# one more line\n", "utf-8")
    ran = evaluating.job("build", "--", name)
    assert ran.returncode == 2
    assert "gives another derivation than it gave when the plan was made" in ran.stderr
    assert f"planned: {planned}" in ran.stderr
    assert re.search(r"here: \S+-of-this-commit\.drv", ran.stderr)
    assert f"here is a tree with uncommitted changes, the plan was made of commit {rev[:12]}" in ran.stderr
    assert 'handoff.derivations = "export"' in ran.stderr
    other = commit(evaluating.repository, {"README.md": "more\n", "flake.nix": flake.read_text("utf-8")})
    ran = evaluating.job("build", "--", name)
    assert f"here is commit {other[:12]}, the plan was made of commit {rev[:12]}" in ran.stderr


def test_another_commit_does_no_harm_to_what_does_not_depend_on_it(evaluating: Project) -> None:
    work = evaluating.generate()
    commit(evaluating.repository, {"README.md": "more\n"})
    ran = evaluating.job("build", "--", evaluating.unit(work, f"packages.{system()}.app").removeprefix("build "))
    assert ran.returncode == 0, ran.stderr


def test_another_nix_is_named_as_the_reason(evaluating: Project) -> None:
    work = evaluating.generate()
    commit(evaluating.repository, {"README.md": "more\n"})
    work["evaluation"]["nix_version"] = "2.3.0"
    (evaluating.handoff / "work.json").write_text(json.dumps(work), "utf-8")
    attr = f'packages.{system()}."of.this.commit"'
    ran = evaluating.job("build", "--", evaluating.unit(work, attr).removeprefix("build "))
    assert re.search(r"here Nix is 2\.\S+, the plan was made with 2\.3\.0", ran.stderr)


def test_a_flake_that_does_not_evaluate_in_the_job_fails_with_nixs_words(evaluating: Project) -> None:
    work = evaluating.generate()
    flake = evaluating.repository / "flake.nix"
    flake.write_text(flake.read_text("utf-8").replace("app = make", 'app = throw "gone";\n old = make'), "utf-8")
    ran = evaluating.job("build", "--", evaluating.unit(work, f"packages.{system()}.app").removeprefix("build "))
    assert ran.returncode == 2
    assert "cannot be evaluated here" in ran.stderr
    assert "gone" in ran.stderr


COUNTED = ("nix", "nix-instantiate", "nix-build", "nix-shell", "nix-env", "nix-eval-jobs")

ROOTS = re.compile(r"\[ (\{ name = \"x\"; [^{}()]* \} ?)+ \]")
"""The expression with which derivations are kept from the garbage collector: paths, and nothing to evaluate."""


def wrap(folder: Path, nix_bin: Path) -> Path:
    """Programs that write down how they are called, and what they read, before they call Nix's."""
    folder.mkdir()
    log = folder / "log"
    for name in COUNTED:
        script = folder / name
        real = shlex.quote(str(nix_bin / name))
        script.write_text(
            "#!/bin/sh\n"
            f"printf '%s\\n' \"{name} $*\" >> {log}\n"
            f'case "$*" in *" -") tee -a {log}.stdin | {real} "$@" ;; *) exec {real} "$@" ;; esac\n'
        )
        script.chmod(0o755)
    return log


def evaluations(log: Path) -> list[str]:
    """The calls in a log that evaluate anything but the roots."""
    calls = log.read_text("utf-8").splitlines() if log.exists() else []
    stdin = Path(f"{log}.stdin").read_text("utf-8") if Path(f"{log}.stdin").exists() else ""
    harmless = re.compile(
        r"nix (--version|--extra-experimental-features nix-command flakes "
        r"(path-info|copy|store verify|config show|show-config)( .*)?)"
    )
    found = [call for call in calls if not harmless.fullmatch(call)]
    roots = [call for call in found if call.startswith("nix-instantiate --add-root ")]
    if roots and not ROOTS.fullmatch(re.sub(r" \]\[ ", " ", stdin)):
        return [stdin, *found]
    return [call for call in found if call not in roots]


@pytest.mark.parametrize("mode", ["cache", "artifacts"])
def test_no_job_evaluates(mode: str, project: Project, nix_bin: Path, tmp_path: Path) -> None:
    caches = [signed_cache(name, tmp_path, publish=name == "public") for name in ("ci", "public")]
    handoff = f'[handoff]\nmode = "{mode}"\n' + ('protected = "ci"\n' if mode == "cache" else "")
    configure(project, "\n".join([handoff, *caches]))
    log = wrap(tmp_path / "wrapped", nix_bin)
    wrapped = {"PATH": f"{tmp_path / 'wrapped'}:{os.environ['PATH']}"}
    ran = pipelinegen("generate", "-o", str(project.handoff), cwd=project.repository, **wrapped)
    assert ran.returncode == 0, ran.stderr
    assert evaluations(log), "the wrapper sees an evaluation"
    log.unlink()
    Path(f"{log}.stdin").unlink()
    work = json.loads((project.handoff / "work.json").read_text("utf-8"))
    for unit in work["units"]:
        arguments = (unit["stage"], "--class", "protected", "--", unit["job"])
        ran = project.job(*arguments, **wrapped)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.count("\nbuilt ") == len(unit["builds"])
        assert evaluations(log) == []
    path = next(path for path in pushed(project.handoff / "pipeline.yml") if path.endswith("-system"))
    ran = project.job("push", "--class", "protected", "--to", "public", "--", path, **wrapped)
    assert ran.returncode == 0, ran.stderr
    assert log.exists()
    assert evaluations(log) == []


def signed_cache(name: str, folder: Path, *, publish: bool) -> str:
    """A new cache as the configuration has it."""
    secret, public = folder / f"{name}.secret", folder / f"{name}.public"
    process.run(["nix-store", "--generate-binary-cache-key", f"{name}-1", secret, public])
    return (
        f'[caches.{name}]\nurl = "file://{folder}/{name}"\nwriters = "protected"\npublish = {str(publish).lower()}\n'
        f'public_key = "{public.read_text("utf-8").strip()}"\nsecret_key_file = "{secret}"\n'
    )


def pushed(pipeline: Path) -> list[str]:
    """The store paths that push jobs name."""
    jobs = yaml.safe_load(pipeline.read_text("utf-8"))
    words = [shlex.split(job["script"][0]) for name, job in jobs.items() if name.startswith("push ")]
    return [path for line in words for path in line[line.index("--") + 1 :]]
