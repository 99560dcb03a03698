"""What is said of evaluation: which derivations are known, what is read, and what every commit evaluates."""

from __future__ import annotations

from typing import Any

import pytest

from pipelinegen.config_file import parse
from pipelinegen.report.explain import explain, explain_text
from pipelinegen.report.reading import (
    LISTED,
    Reading,
    explain_lines,
    known_sentence,
    preview_lines,
    reason_for_evaluating,
    reasons_for_always,
    show_text,
    summary,
)
from pipelinegen.report.text import plan_text
from pipelinegen.testing import plan_recording
from tests.factory import Fleet


def style(text: str, _: str) -> str:
    return text


def known(attr: str, files: int = 3, **fields: Any) -> Reading:
    paths = tuple(f"hosts/{attr}-{number}.nix" for number in range(files))
    return Reading(attr=attr, known=True, reads=files, files=paths, trees=2, **fields)


def evaluated(attr: str, why: str = "flake.lock changed", **fields: Any) -> Reading:
    return Reading(attr=attr, known=False, reads=2, files=("flake.lock", "flake.nix"), why=why, **fields)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (0, "derivation known: it reads no file"),
        (1, "derivation known: the only file it reads has not changed"),
        (3, "derivation known: none of the 3 files it reads changed"),
    ],
    ids=["no file", "one file", "files"],
)
def test_a_known_derivation_says_how_many_files_it_depends_on(files: int, sentence: str) -> None:
    assert known_sentence(known("a", files)) == sentence


@pytest.mark.parametrize(("files", "words"), [(1, "the only file it reads is"), (3, "all 3 files it reads are")])
def test_what_differs_from_the_base_and_is_known_from_elsewhere_does_not_claim_to_be_unchanged(
    files: int, words: str
) -> None:
    reading = known("a", files, changed=("hosts/a-0.nix",))
    assert known_sentence(reading) == (
        f"derivation known: {words} as in an earlier evaluation (hosts/a-0.nix changed since the base)"
    )


@pytest.mark.parametrize(
    ("fields", "paths_changed", "why"),
    [
        ({"changed": ("hosts/a.nix",)}, False, "hosts/a.nix changed"),
        ({"changed": ("a", "b", "c")}, True, "a and 2 more that it reads changed"),
        ({"changed": ("",)}, False, "the top folder changed"),
        ({"changed": ("a\x1b[2J\nb",)}, False, "a␛[2J␊b changed"),
        ({"changed": ()}, True, "files were added, deleted or renamed, and nobody sees"),
        ({"changed": ()}, False, "nothing that holds here is remembered"),
        ({"changed": (), "trees": 2}, False, "it had been seen at one tree only"),
        ({"changed": None}, False, "nothing that holds here is remembered"),
        ({"changed": ("a",), "always": ("it reads self.rev",)}, True, "it reads self.rev"),
    ],
    ids=["a file", "files", "the top", "hostile", "paths", "nothing", "unconfirmed", "no base", "always"],
)
def test_why_it_was_evaluated_is_the_reason_that_counts_most(
    fields: dict[str, Any], paths_changed: bool, why: str
) -> None:
    reading = Reading(attr="a", known=False, files=("a", "b", "c"), **fields)
    assert reason_for_evaluating(reading, paths_changed=paths_changed).startswith(why)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metadata": ["submodules"]}, []),
        ({"metadata": ["rev"]}, ["it may read self.rev, which every commit changes"]),
        (
            {"metadata": ["shortRev", "lastModifiedDate", "rev", "submodules"]},
            ["it may read self.lastModifiedDate, self.rev and self.shortRev, which every commit changes"],
        ),
        ({"metadata": [], "coupled": True}, ["it depends on the source tree's own store path"]),
        ({"metadata": [], "builds": True}, ["evaluating it builds something"]),
        ({"metadata": ["narHash"], "unrecorded": "the watch limit"}, ["the watch limit", "it may read self.narHash"]),
    ],
    ids=["harmless", "rev", "several", "the tree", "a build", "both"],
)
def test_each_coupling_is_a_reason_of_its_own(arguments: dict[str, Any], words: list[str]) -> None:
    reasons = reasons_for_always(**arguments)
    assert len(reasons) == len(words)
    assert all(reason.startswith(start) for reason, start in zip(reasons, words, strict=True))


def test_one_output_that_is_known_is_one_line_of_summary() -> None:
    readings = [known("a")]
    assert preview_lines(readings, style) == []
    assert summary(readings) == "1 of 1 derivation known: nothing that they read has changed"
    assert preview_lines(readings, style, everything=True) == [
        "evaluation",
        "  = a  derivation known: none of the 3 files it reads changed",
    ]


def test_of_some_outputs_each_that_is_known_has_a_line() -> None:
    readings = [*(known(f"host{number}") for number in range(19)), evaluated("web", "hosts/web.nix changed")]
    assert len(readings) == LISTED
    lines = preview_lines(readings, style)
    assert lines[:3] == [
        "evaluation",
        "  * web  evaluated: hosts/web.nix changed",
        "  = host0  derivation known: none of the 3 files it reads changed",
    ]
    assert len(lines) == 21
    assert summary(readings) == "19 of 20 derivations known, 1 evaluated"


def test_of_many_outputs_there_is_a_line_for_each_reason() -> None:
    readings = [
        *(known(f"host{number}") for number in range(9_000)),
        *(evaluated(f"pkg{number}") for number in range(998)),
        evaluated("one", "hosts/one.nix changed"),
        evaluated("two", "hosts/two.nix changed"),
    ]
    assert preview_lines(readings, style) == [
        "evaluation",
        "  * pkg0, pkg1 and 996 more  evaluated: flake.lock changed",
        "  * one  evaluated: hosts/one.nix changed",
        "  * two  evaluated: hosts/two.nix changed",
        "  = 9000 outputs  derivation known: nothing that they read changed",
    ]
    assert len(preview_lines(readings, style, everything=True)) == 10_001


def test_ten_thousand_outputs_with_a_reason_each_do_not_flood() -> None:
    readings = [evaluated(f"host{number:05}", f"hosts/{number:05}.nix changed") for number in range(10_000)]
    lines = preview_lines(readings, style)
    assert len(lines) == LISTED + 2
    assert lines[-1] == f"  * {10_000 - LISTED} more  evaluated for other reasons: --all lists each"
    assert summary(readings) == "0 of 10000 derivations known, 10000 evaluated"


def test_where_nothing_is_remembered_the_summary_says_so_once() -> None:
    readings = [evaluated(f"host{number}", "nothing that holds here is remembered") for number in range(3)]
    assert preview_lines(readings, style) == []
    assert summary(readings) == "0 of 3 derivations known, 3 evaluated: nothing that holds here is remembered"


def test_what_does_not_evaluate_counts_as_evaluated() -> None:
    assert summary([known("a")], failures=1) == "1 of 2 derivations known, 1 evaluated"
    assert summary([evaluated("a"), evaluated("b")], failures=1) == "0 of 3 derivations known, 3 evaluated"


def test_a_flake_without_outputs_has_a_summary() -> None:
    assert summary([]) == "0 of 0 derivations known"
    assert preview_lines([], style, everything=True) == []


def test_the_text_of_a_plan_tells_of_evaluation_only_where_that_is_known() -> None:
    fleet = Fleet()
    fleet.package("one", fleet.drv("one"))
    fleet.package("two", fleet.drv("two"))
    plan = plan_recording(fleet.recording(), config=parse({})).plan
    one, two = (output.attr for output in plan.outputs)
    without = plan_text(plan, style)
    assert "known" not in without.replace("is known to hold", "")
    told = plan_text(plan, style, readings=[known(one), evaluated(two)])
    assert (
        f"\n\nevaluation\n  * {two}  evaluated: flake.lock changed\n  = {one}  derivation known: none of the " in told
    )
    assert "\n1 of 2 derivations known, 1 evaluated\n" in told
    added = set(told.splitlines()) - set(without.splitlines())
    assert len(added) == 4


def test_an_explanation_lists_what_is_read_and_what_of_it_changed() -> None:
    reading = Reading(
        attr="a", known=False, files=("flake.nix", "hosts/a.nix"), folders=("", "hosts"), metadata=("lastModified",),
        changed=("hosts/a.nix", "hosts"), always=reasons_for_always(["lastModified"], coupled=True),
        why="hosts/a.nix and 1 more that it reads changed",
    )  # fmt: skip
    assert list(explain_lines(reading, style)) == [
        "  evaluated   hosts/a.nix and 1 more that it reads changed",
        "  coupled     it depends on the source tree's own store path, as with `${self}` in a string",
        "  coupled     it may read self.lastModified, which every commit changes",
        "  reads       flake.nix",
        "              hosts/a.nix (changed since the base)",
        "  lists       the top folder",
        "              hosts (changed since the base)",
        "  uses        self.lastModified",
    ]
    assert next(explain_lines(known("a"), style)) == "  known       none of the 3 files it reads changed"


def test_only_the_outputs_that_were_asked_for_are_explained() -> None:
    fleet = Fleet()
    fleet.package("one", fleet.drv("one"))
    fleet.package("two", fleet.drv("two"))
    plan = plan_recording(fleet.recording(), config=parse({})).plan
    one, two = (output.attr for output in plan.outputs)
    explanation = explain(plan, "one", [known(one), evaluated(two)])
    assert [reading.attr for reading in explanation.readings] == [one]
    text = explain_text(explanation, style)
    assert "  known       none of the 3 files it reads changed\n" in text
    assert f"              hosts/{one}-1.nix\n" in text
    assert "flake.lock" not in text


def test_what_every_commit_evaluates_is_a_list_of_its_own() -> None:
    always = reasons_for_always(["rev"], coupled=True)
    readings = [
        known("quiet"),
        Reading(attr="new", known=False, reads=1, folders=("hosts",), trees=1, why="x"),
        Reading(attr="version", known=True, reads=1, metadata=("rev",), always=always, trees=1),
        Reading(attr="dark", known=False, recorded=False, always=("the limit of watches",), why="the limit of watches"),
    ]
    assert show_text(readings, ["broken"], style).splitlines() == [
        "= quiet  reads 3 files",
        "? new  reads 1 file and the names in 1 folder",
        "! version  reads 1 file and self.rev",
        "! dark  what it reads is not known",
        "",
        "evaluated at every commit",
        "  version",
        "    because it depends on the source tree's own store path, as with `${self}` in a string",
        "    because it may read self.rev, which every commit changes",
        "  dark",
        "    because the limit of watches",
        "  broken",
        "    because it does not evaluate",
        "",
        "2 of 5 derivations known, 3 evaluated; 3 evaluated at every commit",
        "1 output was seen at one tree only (marked ?): the next one evaluates it once more",
    ]


@pytest.mark.parametrize("name", ["a\x1b[31m", "b\nc"], ids=["escape", "line"])
def test_foreign_names_cannot_command_a_terminal(name: str) -> None:
    reading = Reading(
        attr=name, known=False, files=(name,), folders=(name,), metadata=(name,), changed=(name,), always=(name,),
        why=name,
    )  # fmt: skip
    shown = "\n".join(
        [
            *preview_lines([reading], style, everything=True),
            *explain_lines(reading, style),
            show_text([reading], [name], style),
            summary([reading, reading]),
        ]
    )
    assert "\x1b" not in shown
    assert "b\nc" not in shown
