"""The rules: one decision per output and stage, each with a reason; doubt means build."""

from __future__ import annotations

from typing import Any

import pytest

from pipelinegen import config_file as configuration
from pipelinegen.cache.access import trusted_sources
from pipelinegen.cache.trust import PipelineClass
from pipelinegen.errors import ConfigError, CredentialsError
from pipelinegen.inventory.model import Kind
from pipelinegen.plan.model import Action, Choice, Decision, Planned, Stage
from pipelinegen.report.explain import explain, explain_text
from pipelinegen.report.text import plan_text
from pipelinegen.testing import plan_recording, render_pipeline
from tests.factory import Fleet

CACHES: dict[str, dict[str, Any]] = {
    "main": {"url": "https://cache.example.org/main", "writers": "protected", "public_key": "main:k"},
    "open": {"url": "https://cache.example.org/open", "writers": "unprotected"},
    "public": {"url": "https://cache.example.org/public", "writers": "protected", "publish": True},
}
BARE = {"flake_check": False}
SETTINGS = {"caches": CACHES, "hosts": {"web1": {"address": "web1"}}}


def fleet() -> Fleet:
    made = Fleet()
    lib = made.drv("lib")
    made.package("hello", made.drv("hello", lib))
    made.check("hello", made.drv("hello-check", lib))
    made.host("web1", made.drv("system", lib))
    return made


def plan(made: Fleet, settings: dict[str, Any] | None = None, **push: Any) -> Planned:
    return plan_recording(made.recording(), config=configuration.parse(settings or SETTINGS), **push)


def decision(planned: Planned, name: str, stage: Stage) -> Decision:
    output = next(output for output in planned.plan.outputs if output.attr.endswith(name))
    return output.decisions[stage]


def test_every_output_has_one_decision_with_a_reason_for_each_of_its_stages() -> None:
    planned = plan(fleet())
    stages = {output.attr: set(output.decisions) for output in planned.plan.outputs}
    assert stages == {
        "checks.x86_64-linux.hello": {Stage.TEST},
        "nixosConfigurations.web1": {Stage.BUILD, Stage.PUSH, Stage.DEPLOY},
        "packages.x86_64-linux.hello": {Stage.BUILD, Stage.PUSH},
    }
    for output in planned.plan.outputs:
        for one in output.decisions.values():
            assert one.reasons
            assert (one.job is None) == (one.decision is Choice.SKIP)


def test_every_job_that_a_decision_names_exists() -> None:
    planned = plan(fleet())
    names = {job.name for job in planned.plan.jobs}
    assert {one.job for output in planned.plan.outputs for one in output.decisions.values() if one.job} <= names
    assert {need for job in planned.plan.jobs for need in job.needs} <= names


def test_what_was_built_before_the_merge_is_still_pushed_and_deployed() -> None:
    planned = plan(fleet(), held={"main": "*"})
    assert decision(planned, "web1", Stage.BUILD).decision is Choice.SKIP
    assert decision(planned, "web1", Stage.PUSH).decision is Choice.RUN
    assert decision(planned, "web1", Stage.DEPLOY).decision is Choice.RUN


def test_outputs_that_lie_in_two_caches_need_not_be_built() -> None:
    made = Fleet()
    hello = made.drv("hello", outputs=("out", "man"))
    made.output(("packages", "x86_64-linux", "hello"), hello, Kind.PACKAGE, wanted=("out", "man"))
    out, man = (str(hello.outputs[name]) for name in ("out", "man"))
    planned = plan(made, {"caches": CACHES}, held={"main": {out}, "public": {man}})
    build = decision(planned, "hello", Stage.BUILD)
    assert (build.decision, build.reasons) == (Choice.SKIP, ("caches main, public hold its outputs",))
    assert decision(planned, "hello", Stage.PUSH).decision is Choice.RUN
    half = plan(made, {"caches": CACHES}, held={"main": {out}})
    assert decision(half, "hello", Stage.BUILD).job == "build packages.x86_64-linux.hello"


def test_a_system_that_a_cache_holds_is_deployed_without_a_runner_of_its_system() -> None:
    made = Fleet()
    made.host("web1", made.drv("system", system="aarch64-linux"))
    assert decision(plan(made), "web1", Stage.DEPLOY).decision is Choice.SKIP
    held = plan(made, held={"main": "*"})
    assert decision(held, "web1", Stage.BUILD).reasons == ("cache main holds it",)
    assert decision(held, "web1", Stage.PUSH).decision is Choice.RUN
    assert decision(held, "web1", Stage.DEPLOY).decision is Choice.RUN


def test_a_download_is_built_by_any_runner() -> None:
    made = Fleet()
    made.output(("packages", "x86_64-linux", "src"), made.drv("src", system="builtin"), Kind.PACKAGE)
    assert decision(plan(made, {"caches": CACHES}), "src", Stage.BUILD).decision is Choice.RUN


@pytest.mark.parametrize("version", ["14.0", "15.8", "16.10", "17.1", "17.5", "18.2"])
def test_an_older_server_gets_a_pipeline_without_the_keywords_that_it_does_not_know(version: str) -> None:
    manual = {"web1": {"address": "web1", "policy": "manual"}}
    settings = configuration.parse({"caches": CACHES, "hosts": manual, "gitlab": {"version": version}})
    text = render_pipeline(fleet().recording(), config=settings)
    assert ("exit_codes:" in text) == (version in {"17.5", "18.2"})
    assert ("workflow:\n  name:" in text) == (version != "14.0")


def test_a_gate_that_names_no_check_is_said() -> None:
    host = {"address": "web1", "gate": "related", "checks": ["checks.*.hello", "checks.*.helo", "checks.*.bad"]}
    made = fleet()
    made.failure("checks", "x86_64-linux", "bad", kind=Kind.CHECK)
    notes = [note for note in plan(made, {"hosts": {"web1": host}}).plan.notes if "names no check" in note]
    assert notes == ["hosts.web1.checks: checks.*.helo names no check of the flake, so nothing waits for it"]


def test_a_cache_of_merge_requests_is_not_one_that_main_believes() -> None:
    url = CACHES["main"]["url"]
    with pytest.raises(ConfigError) as raised:
        configuration.parse({"caches": {**CACHES, "open": {"url": f"{url}/", "writers": "unprotected"}}})
    assert "one URL for both" in raised.value.problems[0]


def test_credentials_that_only_protected_pipelines_have_cost_others_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETRC_OF_MAIN", raising=False)
    caches = {**CACHES, "main": {**CACHES["main"], "netrc_file": "$NETRC_OF_MAIN"}}
    config = configuration.parse(
        {"caches": caches, "handoff": {"mode": "cache", "protected": "main", "unprotected": "open"}}
    )
    said: list[str] = []
    found = trusted_sources(config, PipelineClass.UNPROTECTED, say=said.append)
    assert found[0].url == CACHES["open"]["url"] + "?trusted=true"
    assert "main" not in [source.name for source in found]
    assert any("cache main is not fetched from" in line for line in said)
    with pytest.raises(CredentialsError):
        trusted_sources(config, PipelineClass.PROTECTED, say=said.append)


def test_a_derivation_that_asks_for_years_does_not_cost_the_pipeline() -> None:
    made = Fleet()
    slow = made.package("slow", made.drv("slow"))
    made.outputs = [slow.model_copy(update={"timeout": 10**11})]
    assert "720h" in render_pipeline(made.recording(), config=configuration.parse({"caches": CACHES}))


def test_a_job_whose_features_no_runner_offers_goes_to_a_runner_of_its_system() -> None:
    made = Fleet()
    made.package("hello", made.drv("hello", made.drv("machine", features=["kvm"])))
    runners = [{"system": "aarch64-linux", "tags": ["arm"]}, {"system": "x86_64-linux", "tags": ["intel"]}]
    text = render_pipeline(
        made.recording(), config=configuration.parse({"runners": runners, "packing": {"record": False}})
    )
    assert "intel" in text
    assert "arm" not in text


@pytest.mark.parametrize("name", ["flake check", "checks.x86_64-linux.hello"], ids=["flake check", "a check"])
def test_a_test_named_as_another_job_is_a_configuration_error(name: str) -> None:
    settings = {"flake_check": True, "tests": [{"name": name, "command": "true"}]}
    with pytest.raises(ConfigError) as raised:
        plan(fleet(), settings)
    assert name in raised.value.problems[0]


def test_a_reason_that_quotes_the_flake_stays_on_its_line() -> None:
    made = Fleet()
    made.output(("packages", "x86_64-linux", "odd"), made.drv("odd", system="x\n  + forged\x1b[31m"), Kind.PACKAGE)
    planned = plan(made, {"caches": CACHES})
    said = plan_text(planned.plan, lambda text, _: text, everything=True)
    said += explain_text(explain(planned.plan, "odd"), lambda text, _: text)
    assert "\x1b" not in said
    assert not [line for line in said.split("\n") if line.lstrip().startswith("+ forged")]


def test_explaining_a_failed_output_names_its_job_and_its_job_the_failure() -> None:
    made = fleet()
    made.failure("packages", "x86_64-linux", "bad", message="error: it broke")
    planned = plan(made)
    by_output = explain(planned.plan, "bad")
    by_job = explain(planned.plan, "evaluate packages.x86_64-linux.bad")
    assert [job.name for job in by_output.jobs] == ["evaluate packages.x86_64-linux.bad"]
    assert [failure.message for failure in by_job.failures] == ["error: it broke"]


def test_an_unprotected_cache_counts_for_a_merge_request_only() -> None:
    in_request = plan(fleet(), held={"open": "*"}, merge_request=True)
    assert decision(in_request, "packages.x86_64-linux.hello", Stage.BUILD).decision is Choice.SKIP
    on_main = plan(fleet(), held={"open": "*"})
    assert decision(on_main, "packages.x86_64-linux.hello", Stage.BUILD).decision is Choice.RUN


def test_a_cache_that_could_not_say_is_named_in_the_reasons() -> None:
    from pipelinegen.cache.model import Availability
    from pipelinegen.plan.rules import must_be_built
    from pipelinegen.plan.situation import Ref, Situation

    recording = fleet().recording()
    from pipelinegen.changes.model import Base, ChangeSet, Head

    situation = Situation(
        config=configuration.parse(SETTINGS),
        inventory=recording.inventory,
        changes=ChangeSet(base=Base(rev=None, rule="r", reason="r"), head=Head(rev=None)),
        availability=Availability(trusted=("main",), trouble={"main": "HTTP error 401"}),
        ref=Ref(),
    )
    verdict = must_be_built(recording.inventory.outputs[0], situation)
    assert any("HTTP error 401" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("push", "words"),
    [
        ({"branch": "feature", "merge_request": True}, "merge request"),
        ({"branch": "feature"}, "branch feature"),
        ({"branch": None}, "only branches"),
        ({"protected": False}, "not protected"),
    ],
    ids=["merge request", "feature branch", "tag", "unprotected default branch"],
)
def test_nothing_leaves_from_refs_that_may_not(push: dict[str, Any], words: str) -> None:
    planned = plan(fleet(), **push)
    for stage in (Stage.PUSH, Stage.DEPLOY):
        one = decision(planned, "web1", stage)
        assert one.decision is Choice.SKIP
        assert any(words in reason for reason in one.reasons)
    assert not [task for task in planned.tasks if task.action in {Action.PUSH, Action.DEPLOY}]


def test_other_branches_deploy_where_the_configuration_says_so() -> None:
    planned = plan(fleet(), {**SETTINGS, "refs": ["release/*"]}, branch="release/1", protected=True)
    assert decision(planned, "web1", Stage.DEPLOY).decision is Choice.RUN
    assert decision(plan(fleet(), {**SETTINGS, "refs": ["release/*"]}), "web1", Stage.DEPLOY).decision is Choice.SKIP


def test_a_host_is_left_out_only_when_its_last_system_is_known_and_equal() -> None:
    made = fleet()
    system = next(output for output in made.outputs if output.path[-1] == "web1").wanted_paths[0]
    assert decision(plan(made, deployed={"web1": system}), "web1", Stage.DEPLOY).decision is Choice.SKIP
    assert decision(plan(made, deployed={"web1": system + "x"}), "web1", Stage.DEPLOY).decision is Choice.RUN
    assert decision(plan(made), "web1", Stage.DEPLOY).decision is Choice.RUN


def test_a_host_without_an_address_is_built_and_not_deployed() -> None:
    planned = plan(fleet(), {"caches": CACHES})
    assert decision(planned, "web1", Stage.BUILD).decision is Choice.RUN
    assert decision(planned, "web1", Stage.DEPLOY).decision is Choice.SKIP


def test_a_configured_host_that_the_flake_does_not_have_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        plan(fleet(), {"hosts": {"web9": {"address": "web9"}}})
    assert "web9" in str(caught.value.why)


def test_a_configured_host_that_does_not_evaluate_is_no_configuration_error() -> None:
    made = fleet()
    made.outputs = [output for output in made.outputs if output.path[-1] != "web1"]
    made.failure("nixosConfigurations", "web1")
    planned = plan(made)
    assert [task.subject for task in planned.tasks if task.action is Action.EVALUATION_FAILURE]
    assert not [task for task in planned.tasks if task.action is Action.DEPLOY]


def test_the_gate_of_all_waits_for_every_test_and_every_failed_evaluation() -> None:
    made = fleet()
    made.failure("packages", "x86_64-linux", "broken")
    planned = plan(made, {**SETTINGS, "flake_check": True, "tests": [{"name": "smoke", "command": "true"}]})
    gate = next(task for task in planned.tasks if task.action is Action.GATE)
    actions = {task.action for task in planned.tasks if task.name in gate.needs}
    assert actions == {Action.TEST, Action.EVALUATION_FAILURE, Action.FLAKE_CHECK, Action.COMMAND}
    for task in planned.tasks:
        if task.action in {Action.PUSH, Action.DEPLOY}:
            assert gate.name in task.needs


def test_a_related_gate_waits_for_what_it_names_and_nothing_else() -> None:
    made = fleet()
    made.check("other", made.drv("other-check"))
    made.failure("packages", "x86_64-linux", "broken")
    hosts = {"web1": {"address": "web1", "gate": "related", "checks": ["checks.*.hello"]}}
    planned = plan(made, {"hosts": hosts})
    deploy = next(task for task in planned.tasks if task.action is Action.DEPLOY)
    (gate,) = [task for task in planned.tasks if task.action is Action.GATE]
    assert gate.name in deploy.needs
    assert [task.targets for task in planned.tasks if task.name in gate.needs] == [("checks.x86_64-linux.hello",)]


@pytest.mark.parametrize(
    ("cache_gate", "cache_checks", "waits"),
    [
        ("all", [], False),
        ("related", ["checks.*.other"], False),
        ("related", ["checks.*.hello"], True),
        ("related", [], True),
    ],
    ids=["all", "other checks", "the same checks", "no checks"],
)
def test_a_host_waits_for_a_push_that_waits_for_nothing_more_than_the_host(
    cache_gate: str, cache_checks: list[str], *, waits: bool
) -> None:
    made = fleet()
    made.check("other", made.drv("other-check"))
    public = {**CACHES["public"], "gate": cache_gate, "checks": cache_checks}
    hosts = {"web1": {"address": "web1", "gate": "related", "checks": ["checks.*.hello"]}}
    planned = plan(made, {"caches": {**CACHES, "public": public}, "hosts": hosts})
    deploy = next(task for task in planned.tasks if task.action is Action.DEPLOY)
    assert ("push nixosConfigurations.web1" in deploy.needs) is waits


def test_the_related_gates_of_a_push_and_of_a_deployment_are_two() -> None:
    made = fleet()
    made.check("other", made.drv("other-check"))
    public = {**CACHES["public"], "gate": "related", "checks": ["checks.*.other"]}
    hosts = {"web1": {"address": "web1", "gate": "related", "checks": ["checks.*.hello"]}}
    planned = plan(made, {"caches": {**CACHES, "public": public}, "hosts": hosts})
    waits = {task.name: task.needs for task in planned.tasks if task.action is Action.GATE}
    (push,) = [task for task in planned.tasks if task.name == "push nixosConfigurations.web1"]
    (deploy,) = [task for task in planned.tasks if task.action is Action.DEPLOY]
    needed = {task.name: [waits[need] for need in task.needs if need in waits] for task in (push, deploy)}
    assert needed == {
        "push nixosConfigurations.web1": [("test checks.x86_64-linux.other",)],
        "deploy web1": [("test checks.x86_64-linux.hello",)],
    }


def test_a_related_gate_stays_shut_when_the_set_of_its_checks_does_not_evaluate() -> None:
    made = fleet()
    made.outputs = [output for output in made.outputs if output.path[0] != "checks"]
    made.failure("checks", "x86_64-linux")
    hosts = {"web1": {"address": "web1", "gate": "related", "checks": ["checks.x86_64-linux.hello"]}}
    planned = plan(made, {"hosts": hosts})
    (failure,) = [task.name for task in planned.tasks if task.action is Action.EVALUATION_FAILURE]
    (gate,) = [task for task in planned.tasks if task.action is Action.GATE]
    assert gate.needs == (failure,)


def test_a_check_that_a_package_needs_gates_all_the_same() -> None:
    made = Fleet()
    check = made.drv("check")
    made.check("check", check)
    made.package("uses-it", made.drv("uses-it", check))
    made.host("web1", made.drv("system"))
    planned = plan(made)
    gate = next(task for task in planned.tasks if task.action is Action.GATE)
    assert decision(planned, "checks.x86_64-linux.check", Stage.TEST).job in gate.needs


def test_only_approvals_left_still_gives_an_automatic_job() -> None:
    hosts = {"web1": {"address": "web1", "policy": "manual"}}
    planned = plan(fleet(), {"caches": CACHES, "hosts": hosts}, held={"main": "*", "public": "*"})
    assert [task.action for task in planned.tasks] == [Action.APPROVE, Action.DEPLOY, Action.SUMMARY]


def test_content_addressed_outputs_are_built_and_not_named_in_push_or_deploy_jobs() -> None:
    made = Fleet()
    made.package("ca", made.drv("ca", content_addressed=True))
    planned = plan(made, {"caches": CACHES})
    assert decision(planned, "ca", Stage.BUILD).decision is Choice.RUN
    assert decision(planned, "ca", Stage.PUSH).decision is Choice.SKIP


def test_units_fetch_by_path_what_others_make_and_what_caches_hold() -> None:
    made = Fleet()
    source = made.drv("source")
    lib = made.drv("lib", source)
    made.package("one", made.drv("one", lib))
    made.package("two", made.drv("two", lib))
    held = [path for path in source.outputs.values() if path]
    planned = plan(made, {"caches": CACHES}, held={"main": held})
    by_job = {unit.job: unit for unit in planned.work.units}
    shared = by_job["build shared lib"]
    assert shared.serves == ("packages.x86_64-linux.one", "packages.x86_64-linux.two")
    assert (shared.targets, shared.served) == ((), 2)
    assert by_job["build shared lib"].fetch == tuple(held)
    assert by_job["build packages.x86_64-linux.one"].fetch == (lib.outputs["out"],)
    assert by_job["build packages.x86_64-linux.one"].needs == ("build shared lib",)


def test_a_related_gate_is_shut_when_a_named_check_cannot_run() -> None:
    made = fleet()
    made.check("needs-kvm", made.drv("needs-kvm", features=("kvm",)))
    hosts = {"web1": {"address": "web1", "gate": "related", "checks": ["checks.*.needs-kvm"]}}
    one = decision(plan(made, {"hosts": hosts}), "web1", Stage.DEPLOY)
    assert one.decision is Choice.SKIP
    assert "needs-kvm" in one.reasons[0]


def test_a_class_without_a_handoff_cache_is_told() -> None:
    settings = {"caches": CACHES, "handoff": {"mode": "cache", "protected": "main"}}
    notes = plan(fleet(), settings, branch="feature", merge_request=True).plan.notes
    assert any("handoff.unprotected" in note and "as artifacts" in note for note in notes)
    assert not any("handoff" in note for note in plan(fleet(), settings).plan.notes)


def test_two_names_of_one_derivation_are_pushed_once() -> None:
    made = Fleet()
    hello = made.drv("hello")
    made.package("default", hello)
    made.package("hello", hello)
    planned = plan(made, {"caches": CACHES})
    (push,) = [task for task in planned.tasks if task.action is Action.PUSH]
    assert push.targets == ("packages.x86_64-linux.default", "packages.x86_64-linux.hello")
    assert decision(planned, ".hello", Stage.PUSH).job == decision(planned, ".default", Stage.PUSH).job == push.name


def test_shared_parts_are_named_by_what_they_end_in_and_how_much_more_they_hold() -> None:
    made = Fleet()
    lib = made.drv("source-0")
    for number in range(1, 12):
        lib = made.drv(f"source-{number}", lib)
    lib = made.drv("glibc-2.40", lib)
    for name in ("one", "two"):
        made.package(name, made.drv(name, lib))
    names = {unit.job for unit in plan(made, BARE).work.units}
    assert "build shared glibc-2.40 (+12)" in names


def test_a_part_of_one_target_is_named_by_both() -> None:
    made = Fleet()
    ways = []
    for side in ("left", "right"):
        previous = made.drv(f"{side}-0")
        for number in range(1, 20):
            previous = made.drv(f"{side}-{number}", previous)
        ways.append(previous)
    made.package("app", made.drv("app", *ways))
    assert {unit.job for unit in plan(made, BARE).work.units} == {
        "build packages.x86_64-linux.app: left-19 (+19)",
        "build packages.x86_64-linux.app: right-19 (+19)",
        "build packages.x86_64-linux.app",
    }


def test_a_plan_that_had_to_join_what_can_fail_by_itself_says_so() -> None:
    made = Fleet()
    for number in range(30):
        made.package(f"p{number:02}", made.drv(f"p{number:02}"))
    planned = plan(made, {"gitlab": {"max_jobs": 12}})
    assert len(planned.tasks) <= 12
    assert planned.plan.notes[-1].startswith("gitlab.max_jobs = 12 leaves no room for a job per part")
    assert any("(+" in task.name for task in planned.tasks), "a joined job says how many outputs it makes"
    assert {output.decisions[Stage.BUILD].job for output in planned.plan.outputs} <= {t.name for t in planned.tasks}


@pytest.mark.parametrize("checks", [55, 58, 90])
def test_what_hands_over_artifacts_leaves_room_for_the_collectors_of_its_gate(checks: int) -> None:
    made = Fleet()
    for number in range(checks):
        made.check(f"c{number:02}", made.drv(f"c{number:02}"))
    made.host("web1", made.drv("system"))
    settings = configuration.parse(
        {
            "handoff": {"mode": "artifacts"},
            "gitlab": {"max_jobs": 60, "max_needs": 15},
            "hosts": {"web1": {"address": "web1"}},
        }
    )
    text = render_pipeline(made.recording(), config=settings)
    assert not text.startswith("# ---"), "it is one file"
    assert "collect test #1" in text


def test_many_outputs_are_pushed_by_the_jobs_that_are_left_for_it() -> None:
    made = Fleet()
    for number in range(30):
        made.package(f"p{number:02}", made.drv(f"p{number:02}"))
    planned = plan(made, {"caches": CACHES, "gitlab": {"max_jobs": 30}})
    pushes = [task for task in planned.tasks if task.action is Action.PUSH]
    assert len(planned.tasks) <= 30
    assert sorted(path for task in pushes for path in task.store_paths) == sorted(
        path for output in made.outputs for path in output.wanted_paths
    )
    assert all(set(task.needs) <= {unit.job for unit in planned.work.units} for task in pushes)


def test_something_needed_for_a_system_without_runner_is_told() -> None:
    made = Fleet()
    made.package("app", made.drv("app", made.drv("firmware", system="riscv64-linux")))
    notes = plan(made, BARE).plan.notes
    assert notes[-1] == "no runner is configured for riscv64-linux, which something that is wanted needs"


def test_thousands_of_failures_share_jobs_and_do_not_stop_the_rest() -> None:
    made = Fleet()
    for number in range(3000):
        made.failure("packages", "x86_64-linux", f"broken{number:04}")
    made.failure("checks", "x86_64-linux", "broken", kind=Kind.CHECK)
    made.package("good", made.drv("good"))
    planned = plan(made, BARE)
    failing = [task for task in planned.tasks if task.action is Action.EVALUATION_FAILURE]
    assert len(failing) == 16
    assert sorted(attr for task in failing for attr in task.targets) == [one.attr for one in planned.work.failures]
    assert [task.stage for task in failing].count(Stage.TEST) == 1
    assert any(task.targets == ("packages.x86_64-linux.good",) for task in planned.tasks)
    render_pipeline(made.recording(), config=configuration.parse(BARE))
