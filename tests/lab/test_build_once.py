"""Build once: what a pipeline's jobs execute on runners that share nothing is what was missing, each once.

Real Nix, a store per job (or per runner), and outputs that travel as the mode of the handoff says. Executions are
counted by the logs that Nix keeps in the stores; what had to be executed is worked out with plain Nix.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.lab.build_once import HANDED, UPSTREAM, Run, World, sketched
from tests.lab.graphs import SHAPES, Sketch, chain, cheap_and_shared, fan_in, sketches
from tests.lab.machine import OTHER_NIX
from tests.lab.repo import new_project
from tests.lab.store import names

pytestmark = [pytest.mark.lab, pytest.mark.nix, pytest.mark.time_limit(300)]

APART = "[packing]\nrepeat = false\njob_seconds = 0\n"
"""As many jobs as there are groups."""

SMALL = [name for name in SHAPES if "40" not in name]

MakeRun = Callable[..., Run]


@pytest.fixture(scope="session")
def world(private_stores: None, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("world"))


@pytest.fixture
def make_run(world: World, tmp_path: Path) -> Iterator[MakeRun]:
    """`make_run(sketch, mode="cache", …)`: a pipeline that is not planned yet; see `Run`."""

    def make(sketch: Sketch | None, **options: Any) -> Run:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        project = new_project(folder / "project") if sketch is None else sketched(folder / "project", sketch)
        return Run(world, folder, project, **options)

    yield make
    shutil.rmtree(tmp_path)


def execute(run: Run) -> None:
    """The whole pipeline, with all that must hold behind it."""
    run.plan()
    run.executor.run()
    run.require_passed()
    run.require_built_once()
    run.require_handed_over()


# --- shapes


@pytest.mark.parametrize("shape", SHAPES)
def test_without_repeats_each_derivation_is_built_once(make_run: MakeRun, shape: str) -> None:
    run = make_run(SHAPES[shape](), settings=APART)
    execute(run)
    assert run.repeats() == {}
    assert set(run.executions().values()) == {1}
    assert run.executions().keys() == run.truth.inputs.keys()
    assert run.ledger.executions() == Counter(names(run.executions()))


@pytest.mark.parametrize("shape", SMALL)
def test_what_is_built_again_is_what_the_plan_declares(make_run: MakeRun, shape: str) -> None:
    # Short builds share jobs, as far as that blocks nobody.
    execute(make_run(SHAPES[shape](), settings="[packing]\ndefault_seconds = 2\n"))


@pytest.mark.parametrize("mode", ["cache", "artifacts"])
def test_what_costs_less_than_a_job_is_built_by_each_job_that_uses_it(make_run: MakeRun, mode: str) -> None:
    runners = '[[runners]]\nsystem = "x86_64-linux"\ncount = 3\n'
    run = make_run(cheap_and_shared(), mode=mode, settings=f"{runners}[packing]\ndefault_seconds = 600\n")
    execute(run)
    assert {names([drv])[0]: count for drv, count in run.repeats().items()} == {"file": 3}
    assert 1 <= run.ledger.executions()["file"] <= 3


@pytest.mark.parametrize("mode", ["artifacts", "runner"])
@pytest.mark.parametrize("shape", SMALL)
def test_each_derivation_is_built_once_however_outputs_travel(make_run: MakeRun, shape: str, mode: str) -> None:
    execute(make_run(SHAPES[shape](), mode=mode, settings=APART))


@pytest.mark.parametrize("mode", ["cache", "artifacts"])
def test_more_needs_than_the_server_allows_are_collected(make_run: MakeRun, mode: str) -> None:
    run = make_run(fan_in(12), mode=mode, settings=f"{APART}[gitlab]\nmax_needs = 9\n")
    execute(run)
    assert max(len(job.needs) for job in run.executor.jobs.values()) <= 9


@pytest.mark.parametrize("jobs", [6, 3])
def test_more_jobs_than_a_pipeline_may_have_build_once_all_the_same(make_run: MakeRun, jobs: int) -> None:
    run = make_run(fan_in(12), settings=f"{APART}[gitlab]\nmax_jobs = {jobs}\n")
    execute(run)
    assert all(len(part) <= jobs for part in run.executor.parts())


@pytest.mark.parametrize("nix_bin", OTHER_NIX, ids=str)
def test_what_nix_would_rather_build_is_built_once_with_another_nix(make_run: MakeRun, nix_bin: Path) -> None:
    if not nix_bin.is_dir():
        pytest.skip(f"there is no Nix in {nix_bin}")
    execute(make_run(SHAPES["never substituted"](), settings=APART, nix_bin=nix_bin))


# --- with a part of it in a cache


@pytest.mark.parametrize(
    ("shape", "where", "held", "lost", "built"),
    [
        ("diamond", HANDED, ["base:out"], [], ["left", "right", "top"]),
        ("diamond", UPSTREAM, ["left:out", "right:out"], [], ["top"]),
        ("diamond", HANDED, ["left:out", "right:out", "top:out"], [], []),
        # The package is there, what it is made of is not: nobody asks for that.
        ("check needed by package", UPSTREAM, ["app:out"], [], ["app-passes", "lib", "lib-passes"]),
        ("never substituted", HANDED, ["etc:out"], [], ["both", "db", "tool", "unit", "web"]),
        ("never substituted", UPSTREAM, ["web:out", "db:out"], [], ["both"]),
        # `lib:doc` is not there, and nobody uses it.
        ("several outputs", HANDED, ["lib:out"], [], ["app", "manual", "plugin"]),
        # Built for `lib:out` while `lib:dev` is there: up to 2.11, Nix says then that `lib:dev` does not exist.
        ("several outputs", HANDED, ["lib:dev"], [], ["app", "lib", "manual", "plugin"]),
        ("several outputs", UPSTREAM, ["app:bin"], [], ["manual", "plugin"]),
        # What refers to something lost can be fetched as soon as that is there again.
        ("several outputs", HANDED, ["app:bin"], ["lib:dev"], ["lib", "manual", "plugin"]),
        ("two names", UPSTREAM, ["tool:man"], [], ["tool", "user"]),
        ("two names", HANDED, ["user:out"], ["tool:man"], ["tool"]),
        ("chain of 6", HANDED, ["link5:out"], ["link2:out"], ["link2"]),
        ("chain of 6", UPSTREAM, ["link3:out"], [], ["link4", "link5"]),
    ],
)
def test_only_what_no_cache_has_is_built(
    make_run: MakeRun, shape: str, where: str, held: list[str], lost: list[str], built: list[str]
) -> None:
    run = make_run(chain(6) if shape == "chain of 6" else SHAPES[shape](), settings=APART)
    run.seed(where, [run.path_of(one) for one in held])
    for one in lost:
        run.lose(run.path_of(one))
    execute(run)
    assert names(run.executions()) == built


# --- the example


def test_the_example_is_built_once_on_runners_that_keep_their_stores(make_run: MakeRun) -> None:
    execute(make_run(None, stores="runner"))


@pytest.mark.parametrize("nix_bin", OTHER_NIX, ids=str)
def test_the_example_is_built_once_with_another_nix(make_run: MakeRun, nix_bin: Path) -> None:
    if not nix_bin.is_dir():
        pytest.skip(f"there is no Nix in {nix_bin}")
    execute(make_run(None, settings=APART, nix_bin=nix_bin))


_SHIM = """\
#!/bin/sh
file=$(mktemp {folder}/XXXXXXXX)
printf '%s\\n' "${{CI_JOB_NAME:-inspect}}" {program} "$@" > "$file.argv"
case " $* " in
  *" - "*) cat > "$file.stdin"; exec {real} "$@" < "$file.stdin" ;;
esac
exec {real} "$@"
"""
_EVALUATORS = ("nix", "nix-instantiate", "nix-build", "nix-shell", "nix-eval-jobs")
_EVALUATE = {"build", "develop", "eval", "flake", "print-dev-env", "profile", "run", "search", "shell", "repl"}
_READS = ("import", "builtins", "<", "./", "fetch")


def evaluates(program: str, arguments: list[str], stdin: str | None) -> bool:
    """Whether a call looks at any Nix file: what only puts the paths of derivations into a list does not."""
    if program == "nix":
        return any(word in _EVALUATE for word in arguments)
    if program == "nix-instantiate" and stdin is not None:
        return any(word in stdin for word in _READS)
    return True


def test_the_example_is_built_once_and_evaluated_by_the_job_that_plans_alone(make_run: MakeRun, tmp_path: Path) -> None:
    calls, programs = tmp_path / "calls", tmp_path / "programs"
    calls.mkdir()
    programs.mkdir()
    for program in _EVALUATORS:
        real = shutil.which(program) or "/nonexistent"
        (programs / program).write_text(_SHIM.format(folder=calls, program=program, real=real))
        (programs / program).chmod(0o755)
    command = '[[tests]]\nname = "switch script is valid sh"\ncommand = "sh -n lib/switch-to-configuration.sh"\n'
    run = make_run(None, settings=command, path=programs, shell=True)  # noqa: S604  # of jobs, as GitLab does
    execute(run)
    seen: set[str] = set()
    evaluating: Counter[str] = Counter()
    for file in calls.glob("*.argv"):
        job, program, *arguments = file.read_text().splitlines()
        stdin = file.with_suffix(".stdin")
        seen.add(job)
        evaluating[job] += evaluates(program, arguments, stdin.read_text() if stdin.exists() else None)
    assert seen >= run.units.keys(), "a job that builds calls Nix"
    assert {job for job, count in evaluating.items() if count} == {"inspect"}


# --- any flake


@dataclass(frozen=True)
class Situation:
    """A flake, what the caches hold of it (share of its outputs that were pushed), and settings."""

    sketch: Sketch
    options: dict[str, Any]
    held: tuple[float, ...]
    lost: float | None
    where: str
    packing: dict[str, Any]
    runners: int

    def make(self, make_run: MakeRun) -> Run:
        """The pipeline, not planned yet."""
        packing = "\n".join(f"{key} = {json.dumps(value)}" for key, value in self.packing.items())
        runners = f'[[runners]]\nsystem = "x86_64-linux"\ncount = {self.runners}\n'
        run = make_run(self.sketch, settings=f"{runners}[packing]\n{packing}\n", runners=2, **self.options)
        paths = run.all_paths()
        run.seed(UPSTREAM if run.mode != "cache" else self.where, {_at(paths, place) for place in self.held})
        left = sorted(run.fetchable(), key=paths.index)
        if self.lost is not None and left:
            run.lose(_at(left, self.lost))
        return run


def _at(items: list[str], place: float) -> str:
    return items[int(place * len(items))]


_PLACES = st.floats(0, 1, exclude_max=True)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any flake in any state, on runners of any kind."""
    return Situation(
        sketch=draw(sketches()),
        options={
            "mode": draw(st.sampled_from(["cache", "cache", "artifacts", "runner"])),
            "stores": draw(st.sampled_from(["job", "job", "runner"])),
        },
        held=tuple(draw(st.lists(_PLACES, max_size=6))) if draw(st.booleans()) else (),
        lost=draw(st.none() | _PLACES),
        where=draw(st.sampled_from([HANDED, UPSTREAM])),
        packing={
            "job_seconds": draw(st.integers(0, 600)),
            "default_seconds": draw(st.sampled_from([1, 30, 300])),
            "max_job_seconds": draw(st.sampled_from([1, 60, 600, 1800])),
            "repeat": draw(st.booleans()),
        },
        runners=draw(st.integers(1, 4)),
    )


def any_situation(number: int, count: int, check: Callable[[Situation, st.DataObject], None]) -> None:
    """Check `count` situations, the same ones in every run."""

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        # A smaller example of a failure would take minutes to find; the situation itself is printed.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(situations(), st.data())
    def examples(situation: Situation, data: st.DataObject) -> None:
        check(situation, data)

    examples()


@pytest.mark.parametrize("number", range(5))
def test_any_flake_is_built_once(make_run: MakeRun, number: int) -> None:
    def check(situation: Situation, data: st.DataObject) -> None:
        run = situation.make(make_run)
        execute(run)
        if not situation.packing["repeat"]:
            assert run.repeats() == {}
        shutil.rmtree(run.folder)

    any_situation(number, 10, check)


@pytest.mark.parametrize("number", range(2))
def test_a_failure_costs_what_depends_on_it_and_a_retry_goes_on_from_there(make_run: MakeRun, number: int) -> None:
    def check(situation: Situation, data: st.DataObject) -> None:
        run = situation.make(make_run)
        run.plan()
        builds = run.truth.to_build(run.available)
        if not builds:
            return
        culprit = _at(sorted(builds, key=list(run.truth.inputs).index), data.draw(_PLACES))
        fail_and_repair(run, culprit)
        shutil.rmtree(run.folder)

    any_situation(100 + number, 6, check)


def fail_and_repair(run: Run, culprit: str) -> None:
    """Execute a planned pipeline in which a derivation does not build, then once more when it does."""
    builds = run.truth.to_build(run.available)
    affected = run.truth.need(builds, culprit)
    impossible = run.truth.need(builds, culprit, run.available)
    repeats = run.repeats()
    (name,) = names([culprit])
    run.ledger.break_(name)
    run.executor.run()
    first = run.executions()
    assert "failed" in run.executor.statuses().values()
    assert first[culprit] >= 1
    assert names(set(first) & impossible) == [name]
    assert {drv for drv, count in first.items() if count > repeats.get(drv, 1)} == set()
    spared = {drv for drv in run.truth.wanted if drv in builds and drv not in affected}
    assert names(spared - set(first)) == []
    run.require_handed_over(spared)
    if run.mode == "cache":
        made = {drv: outputs for drv, outputs in builds.items() if drv in first and drv != culprit}
        assert set(run.truth.paths(made)) <= run.fetchable(), "what was made before the failure is handed over"

    run.ledger.repair(name)
    run.executor.run()
    run.require_passed()
    run.require_built_once(failed=culprit)
    run.require_handed_over()
