"""A plan that does not fit one pipeline becomes several, one after another; nothing is lost and no limit broken."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelinegen.changes.model import Head
from pipelinegen.config import Config
from pipelinegen.config_file import parse
from pipelinegen.errors import VerificationError
from pipelinegen.pipeline.children import AWAITING, TOP, PipelineFile, PipelineFiles, make_files
from pipelinegen.pipeline.compile import FROM_PARENT, Surroundings, compile_tasks
from pipelinegen.pipeline.conductor import FOLDER, part_files
from pipelinegen.pipeline.emit import from_yaml
from pipelinegen.pipeline.limits import Limits, memory_estimate
from pipelinegen.pipeline.model import Job, Need
from pipelinegen.pipeline.schema import schema_findings
from pipelinegen.pipeline.verify import Severity, verify
from pipelinegen.plan.model import Action, Plan, Planned, Stage, Task, Work

STAGE_OF = {
    Action.BUILD: Stage.BUILD,
    Action.TEST: Stage.TEST,
    Action.GATE: Stage.TEST,
    Action.PUSH: Stage.PUSH,
    Action.RECORD: Stage.PUSH,
    Action.APPROVE: Stage.DEPLOY,
    Action.DEPLOY: Stage.DEPLOY,
}


def task(action: Action, subject: str, /, *needs: str, **keywords: Any) -> Task:
    name = f"{action} {subject}" if subject else str(action)
    made = action in (Action.BUILD, Action.TEST)
    more: dict[str, Any] = {"system": "x86_64-linux"} if made else {}
    if action is Action.DEPLOY:
        more["store_paths"] = (f"/nix/store/{'0' * 32}-{subject}",)
    fields = {"name": name, "stage": STAGE_OF[action], "needs": needs, "needs_handoff": made, "subject": subject}
    return Task(action=action, **{**fields, **more, **keywords})


def builds(count: int, *needs: str, word: str = "b") -> list[Task]:
    return [task(Action.BUILD, f"{word}{number}", *needs) for number in range(count)]


def names(tasks: Iterable[Task]) -> tuple[str, ...]:
    return tuple(task.name for task in tasks)


def planned(*tasks: Task) -> Planned:
    return Planned(plan=Plan(flake=".", base=None, head=Head(rev="1" * 40)), work=Work(flake="."), tasks=tasks)


def fleet(hosts: int, *, manual: bool = False, gate: str = "all") -> tuple[Planned, dict[str, Any]]:
    """Builds, tests, a gate, pushes and deployments, `hosts` of each."""
    built = builds(hosts)
    tested = [task(Action.TEST, f"t{number}", f"build b{number}") for number in range(hosts)]
    opened = task(Action.GATE, "", *names(tested), name="gate")
    pushed = [task(Action.PUSH, f"b{number}", f"build b{number}", "gate") for number in range(hosts)]
    deployed: list[Task] = []
    for number in range(hosts):
        needs: tuple[str, ...] = (f"build b{number}", "gate", f"push b{number}")
        if manual:
            deployed.append(task(Action.APPROVE, f"h{number}", *needs))
            needs += (f"approve h{number}",)
        deployed.append(task(Action.DEPLOY, f"h{number}", *needs))
    named = {f"h{number}": {"address": "h", "gate": gate} for number in range(hosts)}
    return planned(*built, *tested, opened, *pushed, *deployed), {"hosts": named}


def config(more: dict[str, Any] | None = None, **gitlab: Any) -> Config:
    return parse({"gitlab": {"max_pipelines": 20, **gitlab}, **(more or {})})


def make(plan: Planned, settings: Config, limits: Limits | None = None, **surroundings: Any) -> PipelineFiles:
    return make_files(plan, settings, Surroundings(**surroundings), limits)


def jobs_of(file: PipelineFile) -> list[str]:
    return [job.name for job in file.pipeline.jobs]


def stages_of(made: PipelineFiles) -> list[list[str]]:
    return [list(dict.fromkeys(job.stage for job in part.pipeline.jobs)) for part in made.parts]


# --- one pipeline or several


def test_what_fits_one_pipeline_is_one_file() -> None:
    plan, more = fleet(3)
    made = make(plan, config(more, max_jobs=13))
    assert [file.name for file in made.files] == [TOP]
    assert made.parts == made.files
    assert made.warnings == ("W06: 13 of 13 jobs: 100 % of the limit",)


def test_one_job_too_many_is_divided_where_a_stage_ends() -> None:
    plan, more = fleet(3)
    made = make(plan, config(more, max_jobs=12))
    assert [file.name for file in made.files] == [TOP, "pipeline-1.yml", "pipeline-2.yml"]
    assert stages_of(made) == [["build", "test"], ["push", "deploy"]]
    (warning,) = made.warnings
    assert warning.startswith(
        "13 jobs do not fit one pipeline: they run in 2 parts (of at most 20, gitlab.max_pipelines"
    )


def test_needs_of_an_earlier_part_are_implied_and_others_stay() -> None:
    plan, more = fleet(3)
    deploy = make(plan, config(more, max_jobs=12)).parts[1].pipeline.job("deploy h0")
    assert deploy is not None
    assert deploy.local_needs == ("push b0",)
    build = make(planned(*builds(8)), config(max_jobs=4)).parts[1].pipeline.jobs[0]
    assert build.needs == (FROM_PARENT,), "what comes from the parent stays"


def test_there_are_as_few_parts_as_can_be_and_they_are_of_one_size() -> None:
    made = make(planned(*builds(31)), config(max_jobs=10))
    assert [len(part.pipeline.jobs) for part in made.parts] == [7, 8, 8, 8]
    assert [len(part.pipeline.jobs) for part in make(planned(*builds(30)), config(max_jobs=10)).parts] == [10, 10, 10]


def test_a_stricter_order_is_said_where_a_gate_is_only_about_what_is_related() -> None:
    plan, more = fleet(3, gate="related")
    warnings = make(plan, config(more, max_jobs=12)).warnings
    assert warnings[1] == ('a failure in one part keeps all later ones from starting, also what has gate = "related"')
    assert len(make(plan, config(more)).warnings) == 0


def test_collectors_count() -> None:
    gathered = builds(9)
    plan = planned(*gathered, task(Action.GATE, "", *names(gathered), name="gate"))
    assert len(make(plan, config(max_jobs=12, max_needs=9)).files) == 1, "two collectors of four, and one job"
    made = make(plan, config(max_jobs=11, max_needs=9))
    assert len(made.parts) == 2
    assert all(len(part.pipeline.jobs) <= 11 for part in made.parts)


def test_deployments_count_apart() -> None:
    plan, more = fleet(5)
    made = make(plan, config(more, max_deployments=2, publish_environment=""))
    deployments = [sum(job.environment is not None for job in part.pipeline.jobs) for part in made.parts]
    assert sum(deployments) == 5
    assert max(deployments) == 2
    assert len(deployments) == 3


def test_pushes_count_as_deployments_where_they_have_an_environment() -> None:
    plan, more = fleet(5)
    made = make(plan, config(more, max_deployments=4))
    counts = [sum(job.environment is not None for job in part.pipeline.jobs) for part in made.parts]
    assert sum(counts) == 10
    assert max(counts) == 4
    assert len(counts) == 3


def test_a_file_that_would_take_too_much_memory_is_divided() -> None:
    limits = Limits(max_memory=20_000)
    made = make(planned(*builds(30)), config(), limits)
    assert len(made.parts) > 1
    assert all(memory_estimate(len(file.text.encode())) <= limits.max_memory for file in made.files)


# --- what belongs together


@pytest.mark.parametrize("max_jobs", range(7, 15))
def test_an_approval_and_what_it_releases_are_in_one_part(max_jobs: int) -> None:
    plan, more = fleet(4, manual=True)
    for part in make(plan, config(more, max_jobs=max_jobs)).parts:
        jobs = jobs_of(part)
        assert {name.removeprefix("approve ") for name in jobs if name.startswith("approve")} == {
            name.removeprefix("deploy ") for name in jobs if name.startswith("deploy")
        }


def test_a_part_in_which_all_wait_for_a_person_has_a_job_that_does_not() -> None:
    plan, more = fleet(4, manual=True)
    made = make(plan, config(more, max_jobs=6))
    waiting = [part for part in made.parts if jobs_of(part)[0] == AWAITING]
    assert waiting
    assert all(not part.pipeline.job(AWAITING).needs for part in waiting)  # type: ignore[union-attr]
    assert all(
        finding.rule != "L01"
        for part in made.parts
        for finding in verify(part.pipeline, Limits(), "17.5")
        if finding.severity is Severity.ERROR
    )


def test_jobs_that_hand_over_artifacts_are_not_divided() -> None:
    plan = planned(*builds(3), *builds(1, "build b0", "build b1", "build b2", word="top"))
    taking = plan.tasks[-1].model_copy(update={"takes": names(plan.tasks[:3])})
    plan = plan.model_copy(update={"tasks": (*plan.tasks[:-1], taking)})
    assert len(make(plan, config(max_jobs=3)).parts) == 2, "they only wait where outputs go through a cache"
    with pytest.raises(VerificationError) as caught:
        make(plan, config({"handoff": {"mode": "artifacts"}}, max_jobs=3))
    assert caught.value.findings[0].startswith("L21: 4 jobs")
    assert "belong together" in caught.value.findings[1]
    assert "handoff.mode" in caught.value.findings[1]


def test_each_part_that_builds_records_its_build_times() -> None:
    plan, more = fleet(3)
    record = task(Action.RECORD, "", name="record build times")
    plan = plan.model_copy(update={"tasks": (*plan.tasks, record)})
    made = make(plan, config(more, max_jobs=6))
    for part in made.parts:
        worked = {"build", "test"} & {job.stage for job in part.pipeline.jobs}
        assert ("record build times" in jobs_of(part)) == bool(worked)
    assert len(made.parts) >= 3


# --- the conductor


def conductor_of(made: PipelineFiles) -> dict[str, Job]:
    return {job.name: job for job in made.files[0].pipeline.jobs}


def test_the_conductor_starts_each_part_when_the_one_before_has_passed() -> None:
    plan, more = fleet(3)
    made = make(plan, config(more, max_jobs=6))
    jobs = conductor_of(made)
    assert list(jobs) == ["part-files", "part 1 of 3: build", "part 2 of 3: test", "part 3 of 3: push, deploy"]
    for before, job in itertools.pairwise(jobs.values()):
        assert before.name in job.local_needs
    for number, job in enumerate(list(jobs.values())[1:], 1):
        assert job.trigger is not None
        assert job.trigger.strategy == "depend"
        assert job.trigger.include[0].artifact == f"{FOLDER}/pipeline-{number}.yml"
        assert job.trigger.forward is not None
        assert job.trigger.forward.pipeline_variables, "the parent's id is not passed on by itself"
        assert job.variables == {}, "what is set here would win over what the part sets"


def test_the_files_are_taken_from_the_job_that_planned() -> None:
    plan, more = fleet(3)
    made = make(plan, config(more, max_jobs=6), handoff="out/it's here")
    taker = conductor_of(made)["part-files"]
    assert taker.needs == (FROM_PARENT,)
    assert taker.artifacts is not None
    assert taker.artifacts.paths == tuple(f"{FOLDER}/pipeline-{number}.yml" for number in (1, 2, 3))
    assert taker.script[0] == """handoff=${PIPELINEGEN_HANDOFF:-'out/it'"'"'s here'}"""


def test_an_archive_is_no_larger_than_gitlab_reads() -> None:
    limits = Limits(max_bytes=14_000)
    made = make(planned(*builds(60)), config(), limits)
    sizes = {part.name: len(part.text.encode()) for part in made.parts}
    takers = [job for job in made.files[0].pipeline.jobs if job.trigger is None]
    assert len(takers) > 1
    for taker in takers:
        assert taker.artifacts is not None
        assert sum(sizes[path.removeprefix(f"{FOLDER}/")] for path in taker.artifacts.paths) <= limits.max_bytes


def test_the_conductor_names_its_parts_and_another_pipeline_none() -> None:
    plan, more = fleet(3)
    made = make(plan, config(more, max_jobs=6))
    assert part_files(from_yaml(made.files[0].text)) == tuple(part.name for part in made.parts)
    assert part_files(made.parts[0].pipeline) == ()


def test_gitlabs_own_schema_accepts_every_file() -> None:
    plan, more = fleet(4, manual=True)
    for file in make(plan, config(more, max_jobs=7)).files:
        assert schema_findings(file.text).findings == (), file.name


def test_the_conductor_looks_like_this() -> None:
    plan, more = fleet(3)
    text = make(plan, config(more, max_jobs=12)).files[0].text
    assert text[text.index("stages:") : text.index("default:")] == 'stages:\n  - "files"\n  - "part 1"\n  - "part 2"\n'
    assert text[text.index('"part 2 of 2') :] == CONDUCTED


CONDUCTED = """\
"part 2 of 2: push, deploy":
  stage: "part 2"
  needs:
    - job: "part 1 of 2: build, test"
      artifacts: false
    - job: "part-files"
      artifacts: true
  trigger:
    include:
      - artifact: ".pipelinegen-parts/pipeline-2.yml"
        job: "part-files"
    strategy: "depend"
    forward:
      pipeline_variables: true
"""


# --- refusals


def test_more_parts_than_allowed_are_refused_with_what_would_be_needed() -> None:
    with pytest.raises(VerificationError) as caught:
        make(planned(*builds(31)), config(max_jobs=10, max_pipelines=3))
    assert caught.value.findings == (
        "L21: 31 jobs; the server's plan allows 10",
        "it would take 4 child pipelines; gitlab.max_pipelines allows 3",
    )
    assert "gitlab.max_pipelines" in (caught.value.hint or "")


def test_a_single_job_beyond_a_limit_is_refused() -> None:
    with pytest.raises(VerificationError, match="breaks a rule") as caught:
        make(planned(*builds(1), task(Action.BUILD, "x" * 50)), config(), Limits(max_bytes=1100))
    assert any("alone is too large" in finding for finding in caught.value.findings)


def test_another_mistake_is_told_as_such() -> None:
    with pytest.raises(VerificationError) as caught:
        make(planned(*builds(3), *builds(1, "build ghost", word="x")), config(max_jobs=2))
    assert [finding.split(":")[0] for finding in caught.value.findings] == ["L03", "L21"]


# --- any plan, any limits


@st.composite
def plans(draw: st.DrawFn) -> Planned:
    """Any tasks as planning could make them: each needs some before it in no later stage."""
    tasks: list[Task] = []
    hosts = draw(st.integers(0, 5))
    actions = sorted(
        draw(st.lists(st.sampled_from([Action.BUILD, Action.TEST, Action.GATE, Action.PUSH]), min_size=4, max_size=30)),
        key=lambda action: list(Stage).index(STAGE_OF[action]),
    )
    for number, action in enumerate(actions):
        before = (
            draw(st.sets(st.sampled_from(names(tasks)), max_size=draw(st.sampled_from([1, 3, 20])))) if tasks else set()
        )
        needs = tuple(sorted(before))
        takes = needs if len(needs) == 1 and draw(st.booleans()) else ()
        tasks.append(task(action, f"j{number}{'é' * draw(st.integers(0, 30))}", *needs, takes=takes))
    if draw(st.booleans()):
        tasks.append(task(Action.RECORD, "", name="record build times"))
    for number in range(hosts):
        candidates = [name for name in names(tasks) if not name.startswith(("approve", "deploy", "record"))]
        waves = [name for name in names(tasks) if name.startswith("deploy") and draw(st.integers(0, 3)) == 0]
        needs = (*sorted(draw(st.sets(st.sampled_from(candidates), max_size=5))), *waves)
        if draw(st.booleans()):
            tasks.append(task(Action.APPROVE, f"h{number}", *needs))
            needs = (*needs, f"approve h{number}")
        tasks.append(task(Action.DEPLOY, f"h{number}", *needs))
    if not any(one.action not in (Action.APPROVE, Action.DEPLOY) for one in tasks):
        tasks.append(task(Action.BUILD, "one"))
    return planned(*tasks)


TINY = st.builds(
    Limits,
    max_jobs=st.integers(1, 20),
    max_needs=st.integers(2, 12),
    max_deployments=st.integers(1, 6),
    max_bytes=st.integers(1000, 40_000),
    max_memory=st.integers(3000, 100_000),
)
SMALL = st.builds(
    Limits,
    max_jobs=st.integers(8, 30),
    max_needs=st.integers(4, 12),
    max_deployments=st.integers(2, 6),
    max_bytes=st.integers(8000, 40_000),
    max_memory=st.integers(20_000, 100_000),
)
HOSTS = {f"h{number}": {"address": "h"} for number in range(5)}


@settings(max_examples=250, deadline=None)
@given(plans(), TINY | SMALL | SMALL, st.integers(1, 20), st.sampled_from(["runner", "runner", "artifacts"]))
def test_any_plan_under_any_limits_is_divided_soundly_or_refused(
    plan: Planned, limits: Limits, most: int, mode: str
) -> None:
    chosen = config({"hosts": HOSTS, "handoff": {"mode": mode}}, max_pipelines=most)
    try:
        made = make(plan, chosen, limits)
    except VerificationError:
        return  # with findings: there is no other way to make one
    for file in made.files:
        within_limits(file, limits)
    assert len(made.parts) <= most
    whole = compile_tasks(plan, chosen, Surroundings())
    part_of: dict[str, int] = {}
    for number, part in enumerate(made.parts):
        for job in part.pipeline.jobs:
            if not ours(job.name):
                assert job.name not in part_of, "in one part only"
                part_of[job.name] = number
                original = whole.job(job.name)
                assert original is not None
                assert job.model_copy(update={"needs": original.needs}) == original, "nothing else is changed"
    assert set(part_of) == {job.name for job in whole.jobs if job.name != "record build times"}
    order_is_kept(whole.jobs, made, part_of)
    assert make(plan, chosen, limits) == made


def ours(name: str) -> bool:
    return name.startswith("collect ") or name in (AWAITING, "record build times")


def within_limits(file: PipelineFile, limits: Limits) -> None:
    """Counted here once more, not by the verifier."""
    read = from_yaml(file.text)
    assert read == file.pipeline
    assert len(read.jobs) <= limits.max_jobs
    assert sum(job.environment is not None for job in read.jobs) <= limits.max_deployments
    assert len(file.text.encode()) <= limits.max_bytes
    assert memory_estimate(len(file.text.encode())) <= limits.max_memory
    assert all(len(job.needs or ()) <= limits.max_needs for job in read.jobs)
    assert all(len(job.name) <= 128 for job in read.jobs)
    assert any(job.automatic for job in read.jobs)


def order_is_kept(jobs: Iterable[Job], made: PipelineFiles, part_of: dict[str, int]) -> None:
    """Each need is a way through its part's needs, or its part runs earlier and cannot pass without it."""
    reach = [reachable(part.pipeline.jobs) for part in made.parts]
    manual = {job.name for job in jobs if job.manual}
    for job in jobs:
        for need in local(job):
            one, other = part_of[need.job], part_of[job.name]
            if one == other:
                found = reach[other][job.name]
                assert (need.job, need.artifacts) in found or (need.job, True) in found
            else:
                assert one < other
                assert not need.artifacts, "artifacts do not leave their pipeline"
                assert not manual & {need.job, *(name for name, _ in reach[one][need.job])}, "it may pass without"


def local(job: Job) -> list[Need]:
    return [need for need in job.needs or () if need.pipeline is None]


def reachable(jobs: Iterable[Job]) -> dict[str, set[tuple[str, bool]]]:
    """Job → all that it waits for, and whether artifacts come all the way from there."""
    found: dict[str, set[tuple[str, bool]]] = {}
    by_name = {job.name: job for job in jobs}

    def visit(name: str) -> set[tuple[str, bool]]:
        if name not in found:
            found[name] = set()
            for need in local(by_name[name]):
                collected = need.job.startswith("collect ")
                found[name].add((need.job, need.artifacts))
                found[name] |= {(one, carried and need.artifacts and collected) for one, carried in visit(need.job)}
        return found[name]

    for name in by_name:
        visit(name)
    return found


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 200))
def test_jobs_that_only_wait_are_refused_only_when_all_parts_together_are_too_small(
    max_jobs: int, most: int, count: int
) -> None:
    plan = planned(*builds(count))
    needed = -(-count // max_jobs)
    # The conductor is a pipeline too: a job that takes the files, and one per part.
    allowed = needed == 1 or (needed <= most and needed + 1 <= max_jobs)
    try:
        parts = len(make(plan, config(max_jobs=max_jobs, max_pipelines=most)).parts)
    except VerificationError:
        assert not allowed
    else:
        assert allowed
        assert parts == needed


def test_the_names_of_parts_do_not_look_like_groups() -> None:
    made = make(planned(*builds(150)), config(max_jobs=14))
    assert len(made.parts) > 9
    assert not [warning for warning in made.warnings if "W01" in warning]
    assert re.fullmatch(r"part 10 of \d+: build", made.files[0].pipeline.jobs[10].name)


def test_a_job_that_plans_under_another_name_is_the_one_that_is_asked() -> None:
    plan, more = fleet(3)
    around = Surroundings(parent_job="scheduled-inspect")
    needed = {need.job for job in parents(make_files(plan, config(more), around)) for need in job}
    divided = {need.job for job in parents(make_files(plan, config(more, max_jobs=6), around)) for need in job}
    assert needed == divided == {"scheduled-inspect"}


def parents(made: PipelineFiles) -> list[list[Need]]:
    """Of each job of each file, what it needs of the parent pipeline."""
    return [
        [need for need in job.needs or () if need.pipeline is not None]
        for file in made.files
        for job in file.pipeline.jobs
    ]
