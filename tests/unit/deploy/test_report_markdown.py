"""The page of a deployment says what happened, and nobody's text becomes anything else than text in it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelinegen.deploy.report import PackageChange, Phase, ProbeResult, UnitChanges
from pipelinegen.deploy.report_markdown import DIFF_ROWS, LIMIT, span, to_markdown
from tests.unit.deploy.reports import NEW, OLD, RESULTS, full, report


def outside_of_code(page: str) -> str:
    """What a reader of CommonMark takes for Markdown: the page without its code blocks and code spans."""
    lines: list[str] = []
    fence = ""
    for line in page.split("\n"):
        if fence:
            closing = re.fullmatch(r" {0,3}(`{3,})[ \t]*", line)
            if closing and len(closing[1]) >= len(fence):
                fence = ""
            continue
        opening = re.fullmatch(r" {0,3}(`{3,})([^`]*)", line)
        if opening:
            fence = opening[1]
            continue
        lines.append(without_spans(line))
    assert not fence, "the last block is closed"
    return "\n".join(lines)


def without_spans(line: str) -> str:
    """A line without its code spans: a run of backticks to the next one of the same length."""
    kept, rest = "", line
    while run := re.search("`+", rest):
        kept += rest[: run.start()]
        rest = rest[run.end() :]
        closing = re.search(rf"(?<!`){run[0]}(?!`)", rest)
        assert closing, f"an open code span: {line!r}"
        rest = rest[closing.end() :]
    return kept + rest


HOSTILE = [
    "<script>alert(1)</script>",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "https://evil.example",
    "@everybody !1 #2 ~bug %v1 &3 $4",
    "/close",
    "x\n/assign @root",
    "`/close`",
    "``` \n/close\n```",
    "x\n```\n/close",
    "x\n````\n@root\n````",
    "a | b | c",
    "a \\| b \\\\| c",
    "x\n# heading\n---\n| a |",
    "x\n\n<details>",
    "\x1b[31mred\x1b[0m\rover\u202e",
    ":tada: [[_TOC_]] $`x`$",
    "`",
    "a`",
    "`a",
    "``",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_elsewhere_stands_in_code_alone(text: str) -> None:
    frame = outside_of_code(to_markdown(full("plain")))
    assert outside_of_code(to_markdown(full(text))) == frame
    assert "plain" not in frame


@given(st.text(alphabet=st.sampled_from("`\\|~<>[]()!@#/\n\r\t -a\u202e\x1b"), max_size=40).filter(str.strip))
def test_any_text_stands_in_code_alone(text: str) -> None:
    # Its end is longer than what an escape sequence swallows.
    page = to_markdown(full(f"a{text}aaa"))
    assert outside_of_code(page) == outside_of_code(to_markdown(full("plain")))
    # A quick action is a line that begins with a slash, and some readers look for it before they look for blocks.
    assert not [line for line in page.split("\n") if line.startswith("/")]


@given(st.text(alphabet=st.characters(), max_size=40))
def test_a_table_keeps_its_cells(text: str) -> None:
    assert "|" not in span(text)
    assert "\n" not in span(text)
    assert span(text).strip()


@pytest.mark.parametrize("text", ["x", "€", "\U0001f600", "`"], ids=ascii)
def test_the_page_has_a_limit_whatever_is_told(text: str) -> None:
    page = to_markdown(full(text * 1000, number=100))
    assert len(page.encode()) <= LIMIT
    assert "… and" in page
    assert re.search("[`x]{20}", outside_of_code(page)) is None


def test_a_rollback_is_told_with_its_reason() -> None:
    page = to_markdown(
        report(
            "rolled-back",
            why="newly failed: worker.service",
            hint="look at the unit",
            generation_before=41,
            generation_after=41,
            units=UnitChanges(restarted=("web.service",), failed=("worker.service",)),
            newly_failed=("worker.service",),
            health=(ProbeResult(title="answers", passed=True, tries=2, seconds=2.5),),
            phases=(Phase(name="preflight", seconds=2.0), Phase(name="activation", seconds=61.0)),
            reboot_needed=("kernel",),
            log=("first", "last"),
        )
    )
    assert page.startswith("# Deployment of `web1`: rolled back, and healthy\n")
    for line in (
        f"| asked for | `switch` of `{NEW}` |",
        f"| from | `{OLD}` |",
        f"| now runs | `{OLD}` |",
        "| generation | 41 → 41 |",
        "| reboot needed for | `kernel` |",
        "| time | 63 s |",
        "| exit code | 20 |",
        "  why: newly failed: worker.service",
        "  hint: look at the unit",
        "- newly failed: `worker.service`",
        "- restarted: `web.service`",
        "| `answers` | health | yes | 2 | 2.5 s | — |",
        "| `activation` | 61 s |",
        "  last",
    ):
        assert line in page.split("\n")


def test_the_largest_changes_come_first_and_the_rest_is_counted() -> None:
    changes = tuple(PackageChange(name=f"p{number:02}", bytes=number * 1024) for number in range(DIFF_ROWS + 5))
    shrunk = PackageChange(name="gone", before=("1.0",), bytes=-(2**30))
    page = to_markdown(report(diff=(*changes, shrunk)))
    rows = [line for line in page.split("\n") if re.match(r"\| `(p\d|gone)", line)]
    assert rows[0] == "| `gone` | `1.0` | — | -1.0 GiB |"
    assert rows[1] == "| `p24` | — | — | +24 KiB |"
    assert len(rows) == DIFF_ROWS
    assert "… and 6 more" in page


def test_a_diff_that_is_not_known_is_not_told_as_none() -> None:
    assert "What changes" not in to_markdown(report(diff=None))
    assert "No package" in to_markdown(report(diff=()))


def test_the_last_lines_of_a_long_log_are_kept() -> None:
    page = to_markdown(report(log=tuple(f"line {number} {'x' * 300}" for number in range(100))))
    assert "line 99 " in page
    assert "line 0 " not in page


@pytest.mark.parametrize("result", RESULTS)
def test_every_result_has_a_page_of_its_own(result: str) -> None:
    pages = {one: to_markdown(report(one)).split("\n")[0] for one in RESULTS}
    assert "not known here" not in pages[result]
    assert [one for one in RESULTS if pages[one] == pages[result]] == [result]


def test_the_same_report_gives_the_same_bytes() -> None:
    one, other = full("x", 3), full("x", 3)
    assert to_markdown(one) == to_markdown(other)
