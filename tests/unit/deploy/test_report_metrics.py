"""Metrics of a deployment, as a strict reader and as GitLab understand them."""

from __future__ import annotations

import pytest

from pipelinegen.deploy.report import Phase
from pipelinegen.deploy.report_metrics import to_metrics
from tests.unit.deploy.reports import RESULTS, report
from tests.unit.run.test_metrics import gitlab, read

HERE = (("host", "web1"),)


def test_a_deployment_is_told_completely() -> None:
    phases = (Phase(name="preflight", seconds=2.0), Phase(name="activate", seconds=3.25))
    families = read(to_metrics(report("rolled-back", phases=phases, newly_failed=("a.service", "b.service"))))
    assert families["pipelinegen_deploy_result"].samples == {(*HERE, ("result", "rolled-back")): "1"}
    assert families["pipelinegen_deploy_successes"].samples == {HERE: "0"}
    assert families["pipelinegen_deploy_rollbacks"].samples == {HERE: "1"}
    assert families["pipelinegen_deploy_failed_units"].samples == {HERE: "2"}
    assert families["pipelinegen_deploy_exit_code"].samples == {HERE: "20"}
    seconds = families["pipelinegen_deploy_phase_seconds"]
    assert seconds.samples == {(*HERE, ("phase", "preflight")): "2.000", (*HERE, ("phase", "activate")): "3.250"}
    assert seconds.unit == "seconds"
    assert families["pipelinegen_deploy_duration_seconds"].samples == {HERE: "5.250"}
    assert all(family.help for family in families.values())


@pytest.mark.parametrize("result", RESULTS)
def test_successes_and_rollbacks_are_counted_by_the_result(result: str) -> None:
    families = read(to_metrics(report(result)))
    success = families["pipelinegen_deploy_successes"].samples[HERE] == "1"
    assert success == (result in {"deployed", "unchanged", "warnings"})
    undone = families["pipelinegen_deploy_rollbacks"].samples[HERE] == "1"
    assert undone == (result in {"rolled-back", "rolled-back-unhealthy", "rollback-failed"})


def test_a_phase_that_is_entered_twice_is_one_sample() -> None:
    phases = (Phase(name="activate", seconds=1.0), Phase(name="activate", seconds=2.0))
    seconds = read(to_metrics(report(phases=phases)))["pipelinegen_deploy_phase_seconds"]
    assert list(seconds.samples.values()) == ["3.000"]


def test_nothing_but_the_result_and_the_values_changes_from_run_to_run() -> None:
    one = report(activation="pipelinegen-00000000", revision="a" * 40)
    other = report(activation="pipelinegen-11111111", revision="b" * 40, system="/nix/store/other")
    assert to_metrics(one) == to_metrics(other)
    assert gitlab(to_metrics(one))["pipelinegen_deploy_result{host=web1,result=deployed}"] == "1"
