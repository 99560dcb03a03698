"""Statuses of outputs, and when evaluation may be skipped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.changes.compare import compare, may_skip_evaluation, nothing_before
from pipelinegen.changes.model import Base, ChangeSet, Head, Status
from pipelinegen.config import Config
from pipelinegen.inventory.model import FlakeOutput
from tests.unit.changes.inventories import failure, inventory, output

REV = "a" * 40
HEAD = "b" * 40


def status_of(now: FlakeOutput, then: FlakeOutput) -> Status:
    status, removed = compare(inventory([now]), inventory([then]))
    assert removed == ()
    return status[now.attr]


class TestStatus:
    @pytest.mark.parametrize(
        ("now", "then", "status"),
        [
            (output("p.a", "1"), output("p.a", "1"), Status.UNCHANGED),
            (output("p.a", "2"), output("p.a", "1"), Status.CHANGED),
            (output("p.a", "1", drv="2"), output("p.a", "1", drv="1"), Status.UNCHANGED),
            (output("p.a", out="/1", dev="/2"), output("p.a", dev="/2", out="/1"), Status.UNCHANGED),
            (output("p.a", out="/1", dev="/3"), output("p.a", out="/1", dev="/2"), Status.CHANGED),
            (output("p.a", out="/1", dev="/2"), output("p.a", out="/1"), Status.CHANGED),
            (output("p.a", drv="1", out=None), output("p.a", drv="1", out=None), Status.UNCHANGED),
            (output("p.a", drv="2", out=None), output("p.a", drv="1", out=None), Status.CHANGED),
            (output("p.a", drv="2", out="/1", dev=None), output("p.a", drv="1", out="/1", dev=None), Status.CHANGED),
            (output("p.a", drv="1", out="/1"), output("p.a", drv="1", out=None), Status.CHANGED),
            (output("p.a", unavailable="broken"), output("p.a", unavailable="broken"), Status.UNCHANGED),
            (output("p.a", unavailable="broken"), output("p.a", unavailable="unsupported"), Status.CHANGED),
            (output("p.a"), output("p.a", unavailable="broken"), Status.CHANGED),
            (output("p.a", unavailable="broken"), output("p.a"), Status.CHANGED),
        ],
        ids=[
            "the same",
            "another path",
            "made differently but the same",
            "the same in another order",
            "one of several paths differs",
            "one more output",
            "paths unknown, the same derivation",
            "paths unknown, another derivation",
            "one path unknown, another derivation",
            "paths known only now",
            "still broken",
            "broken for another reason",
            "mended",
            "broken now",
        ],
    )
    def test_an_output_is_compared_by_what_it_yields(self, now: FlakeOutput, then: FlakeOutput, status: Status) -> None:
        assert status_of(now, then) is status

    def test_an_output_of_which_nothing_is_known_is_unknown(self) -> None:
        nothing = output("p.a").model_copy(update={"outputs": {}, "drv_path": ""})
        assert status_of(nothing, nothing) is Status.UNKNOWN

    def test_with_an_unknown_base_everything_is_unknown_and_nothing_removed(self) -> None:
        head = inventory([output("p.a"), output("p.b", unavailable="broken")])
        assert compare(head, None) == ({"p.a": Status.UNKNOWN, "p.b": Status.UNKNOWN}, ())

    def test_with_nothing_before_everything_is_new(self) -> None:
        head = inventory([output("p.a")], [failure("p.b")])
        assert compare(head, nothing_before(head)) == ({"p.a": Status.NEW}, ())

    def test_what_only_head_has_is_new(self) -> None:
        status, _ = compare(inventory([output("p.a"), output("p.b")]), inventory([output("p.a")]))
        assert status == {"p.a": Status.UNCHANGED, "p.b": Status.NEW}

    @pytest.mark.parametrize("failed", ["p.x.a", "p.x", "p"])
    def test_what_failed_before_by_itself_or_in_its_set_is_unknown(self, failed: str) -> None:
        status, removed = compare(inventory([output("p.x.a")]), inventory([], [failure(failed)]))
        assert (status, removed) == ({"p.x.a": Status.UNKNOWN}, ())

    def test_a_failure_of_a_neighbour_means_nothing(self) -> None:
        status, _ = compare(inventory([output("p.ab")]), inventory([], [failure("p.a")]))
        assert status == {"p.ab": Status.NEW}

    def test_names_that_print_alike_are_told_apart(self) -> None:
        head = inventory([output('p."a.b"', "1"), output("p.a.b", "2")])
        base = inventory([output('p."a.b"', "1"), output("p.a.b", "3")])
        assert compare(head, base)[0] == {'p."a.b"': Status.UNCHANGED, "p.a.b": Status.CHANGED}


class TestRemoved:
    def test_what_only_base_has_is_removed_in_order(self) -> None:
        base = inventory([output("p.z"), output("p.a"), output("p.kept")], [failure("p.m")])
        assert compare(inventory([output("p.kept")]), base)[1] == ("p.a", "p.m", "p.z")

    @pytest.mark.parametrize("failed", ["p.x.a", "p.x", "p"])
    def test_what_fails_now_is_not_removed(self, failed: str) -> None:
        head = inventory([], [failure(failed)])
        assert compare(head, inventory([output("p.x.a")]))[1] == ()
        assert compare(head, inventory([], [failure("p.x.a")]))[1] == ()

    @pytest.mark.parametrize("failed", ["p.x.a", "p.x", "p"])
    def test_a_failure_that_was_mended_is_not_removed(self, failed: str) -> None:
        assert compare(inventory([output("p.x.a")]), inventory([], [failure(failed)]))[1] == ()


CONTENTS = st.dictionaries(st.sampled_from([f"p.{name}" for name in "abcdef"]), st.sampled_from("123"))


@given(CONTENTS, CONTENTS)
def test_status_and_removed_account_for_every_output_once(now: dict[str, str], then: dict[str, str]) -> None:
    head = inventory([output(attr, content) for attr, content in now.items()])
    base = inventory([output(attr, content) for attr, content in then.items()])
    status, removed = compare(head, base)
    assert set(status) == set(now)
    assert set(removed) == set(then) - set(now)
    assert {attr for attr in status if status[attr] is Status.NEW} == set(now) - set(then)
    same = {attr for attr in now if now[attr] == then.get(attr)}
    assert {attr for attr in status if status[attr] is Status.UNCHANGED} == same
    assert set(compare(head, head)[0].values()) <= {Status.UNCHANGED}


def change_set(
    files: tuple[str, ...] | None = ("docs/a",),
    *,
    rev: str | None = REV,
    passed: bool | None = True,
    head: str | None = HEAD,
    dirty: bool = False,
) -> ChangeSet:
    base = Base(rev=rev, rule="test", reason="test", passed=passed)
    return ChangeSet(base=base, head=Head(rev=head, dirty=dirty), files=files)


class TestSkippingEvaluation:
    CONFIG = Config(ignore_paths=("docs/**", "*.md", "*.toml"))

    def test_evaluation_is_skipped_when_nothing_relevant_changed_since_a_passed_base(self) -> None:
        assert may_skip_evaluation(change_set(), self.CONFIG) == (
            "the only changed file is irrelevant by ignore_paths, and the pipeline of aaaaaaaaaaaa passed"
        )
        assert "all 2 changed files" in (may_skip_evaluation(change_set(("docs/a", "x.md")), self.CONFIG) or "")

    @pytest.mark.parametrize(
        "changes",
        [
            change_set(("docs/a", "flake.nix")),
            change_set(passed=None),
            change_set(passed=False),
            change_set(dirty=True),
            change_set(rev=None),
            change_set(None),
            change_set(()),
            change_set(head=None),
            change_set(("pipelinegen.toml",)),
            change_set(("pyproject.toml",)),
            change_set(("sub/pipelinegen.toml", "docs/a")),
        ],
        ids=[
            "a relevant file",
            "not known to have passed",
            "known to have failed",
            "uncommitted files",
            "base unknown",
            "files unknown",
            "no file changed",
            "no commit",
            "our configuration",
            "the file that may hold our configuration",
            "our configuration in a subfolder",
        ],
    )
    def test_any_doubt_means_evaluation(self, changes: ChangeSet) -> None:
        assert may_skip_evaluation(changes, self.CONFIG) is None

    def test_without_ignored_paths_nothing_is_skipped(self) -> None:
        assert may_skip_evaluation(change_set(), Config()) is None
