"""Choosing outputs by patterns, and whom to believe when nobody says."""

from __future__ import annotations

import pytest

from pipelinegen.cache.trust import PipelineClass
from pipelinegen.config_file import parse
from pipelinegen.errors import UsageError
from pipelinegen.inventory.model import Inventory, Kind
from pipelinegen.push_targets import class_for, select
from tests.factory import Fleet


def inventory() -> Inventory:
    made = Fleet()
    for name in ("web-1", "web-2", "tool"):
        made.package(name, made.drv(name))
    made.host("web1", made.drv("system"))
    made.output(("packages", "x86_64-linux", "unknown"), made.drv("u", content_addressed=True), Kind.PACKAGE)
    made.failure("packages", "x86_64-linux", "web-3")
    made.failure("checks", kind=Kind.CHECK)
    return made.recording().inventory


@pytest.mark.parametrize(
    ("patterns", "names", "failures"),
    [
        (["packages.*.web-?"], ["web-1", "web-2"], ["packages.x86_64-linux.web-3"]),
        (["packages.*.tool", "packages.x86_64-linux.t*"], ["tool"], []),
        (["nixosConfigurations.web1"], ["web1"], []),
        (["packages.*.tool", "nixosConfigurations.*"], ["web1", "tool"], []),
        (["checks.**"], [], ["checks"]),
        (["checks.x86_64-linux.one"], [], ["checks"]),
        (["packages.*.unknown"], [], []),
    ],
    ids=" ".join,
)
def test_patterns_choose_outputs_and_what_may_hide_some(
    patterns: list[str], names: list[str], failures: list[str]
) -> None:
    chosen = select(inventory(), patterns)
    assert [output.path[-1] for output in chosen.outputs] == names
    assert [failure.attr for failure in chosen.failures] == failures
    assert list(chosen.left_out) == ["packages.x86_64-linux.unknown"] * ("unknown" in patterns[0])


@pytest.mark.parametrize(
    ("patterns", "hint"),
    [
        (["packages.x86_64-linux.tol"], "did you mean packages.x86_64-linux.tool"),
        (["packages.*.tool", "nixosConfigurations.web2"], "did you mean nixosConfigurations.web1"),
        (["zzz"], "there is: nixosConfigurations.web1, packages.x86_64-linux.tool"),
    ],
)
def test_a_pattern_without_a_match_is_an_error_with_close_matches(patterns: list[str], hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(inventory(), patterns)
    assert (caught.value.hint or "").startswith(hint)
    assert patterns[-1] in caught.value.message


def test_what_is_no_pattern_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="no attribute path"):
        select(inventory(), ["packages..tool"])


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["public"], PipelineClass.PROTECTED),
        (["ours", "public"], PipelineClass.PROTECTED),
        (["theirs"], PipelineClass.UNPROTECTED),
        (["public", "theirs"], PipelineClass.PROTECTED),
        (["theirs", "upstream"], PipelineClass.PROTECTED),
    ],
    ids=" ".join,
)
def test_what_only_protected_pipelines_write_is_filled_with_what_they_believe(
    names: list[str], kind: PipelineClass
) -> None:
    caches = {
        "ours": {"url": "file:///ours", "writers": "protected"},
        "public": {"url": "file:///public", "writers": "protected", "publish": True},
        "theirs": {"url": "file:///theirs", "writers": "unprotected"},
        "upstream": {"url": "file:///upstream", "writers": "upstream"},
    }
    assert class_for(names, parse({"caches": caches})) is kind
