"""What counts as well: failed units, and answers to probes."""

from __future__ import annotations

import pytest

from pipelinegen.config_hosts import Probe
from pipelinegen.deploy.health import SAID_CHARACTERS, judge, newly_failed
from pipelinegen.deploy.probe_tries import MOST_BYTES, Answer, host_answer
from pipelinegen.deploy.switch_words import USER


@pytest.mark.parametrize(
    ("before", "after", "ignored", "failed", "tolerated"),
    [
        pytest.param((), (), (), (), (), id="none"),
        pytest.param(("a.service",), ("a.service",), (), (), (), id="it had failed before"),
        pytest.param(("a.service",), (), (), (), (), id="it is well again"),
        pytest.param((), ("b.service", "a.service"), (), ("a.service", "b.service"), (), id="new ones, sorted"),
        pytest.param((), ("a.service", "b.timer"), ("*.timer",), ("a.service",), ("b.timer",), id="one may fail"),
        pytest.param((), ("A.service",), ("a.*",), ("A.service",), (), id="case counts"),
        pytest.param((), ("x@1.service",), ("x@[0-9].service",), (), ("x@1.service",), id="a set of letters"),
        pytest.param((), (f"a.service{USER}",), ("a.service",), (), (f"a.service{USER}",), id="a user's may fail"),
        pytest.param(("a.service",), (f"a.service{USER}",), (), (f"a.service{USER}",), (), id="a user's is another"),
    ],
)
def test_units_that_newly_failed_count_unless_they_may(
    before: tuple[str, ...],
    after: tuple[str, ...],
    ignored: tuple[str, ...],
    failed: tuple[str, ...],
    tolerated: tuple[str, ...],
) -> None:
    assert newly_failed(before, after, ignored) == (failed, tolerated)


COMMAND = Probe(command="check")
PAGE = Probe(url="https://example.org/")


@pytest.mark.parametrize(
    ("probe", "answer", "bad"),
    [
        (COMMAND, Answer(0, "anything"), None),
        (COMMAND, Answer(1, "why\n\n"), "exit code 1: why"),
        (COMMAND, Answer(-9), "ended by signal 9"),
        (COMMAND, Answer(text="begins\n", fault="no answer within 5 s"), "no answer within 5 s: begins"),
        (COMMAND, Answer(2, "1\n2\n3\n4\n"), "exit code 2: 2 | 3 | 4"),
        (COMMAND.model_copy(update={"expect": "^b$"}), Answer(0, "a\nb"), "'^b$' is not in it: a | b"),
        (COMMAND.model_copy(update={"expect": "(?m)^b$"}), Answer(0, "a\nb"), None),
        (PAGE, Answer(200), None),
        (PAGE, Answer(399), None),
        (PAGE, Answer(199), "status 199"),
        (PAGE, Answer(400, "<h1>no</h1>"), "status 400: <h1>no</h1>"),
        (PAGE, Answer(fault="the connection is refused"), "the connection is refused"),
        (PAGE.model_copy(update={"status": (418,)}), Answer(200), "status 200"),
        (PAGE.model_copy(update={"status": (418,), "expect": "tea"}), Answer(418, "teapot"), None),
    ],
)
def test_an_answer_is_well_or_it_is_said_why_not(probe: Probe, answer: Answer, bad: str | None) -> None:
    assert judge(probe, answer) == bad


def test_what_is_said_is_one_short_harmless_line() -> None:
    said = judge(COMMAND, Answer(1, "x" * 100_000 + "\n\x1b[2Jsection_start:1:a\r\x1b[0K\nend" + "\u202e"))
    assert said is not None
    assert "\x1b" not in said
    assert "\n" not in said
    assert "section_start:" not in said
    assert len(said) < 4 * SAID_CHARACTERS


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        pytest.param("body\n pipelinegen-status 200  exit 0", Answer(200, "body"), id="curl"),
        pytest.param("a\nb\n\n pipelinegen-status 404  exit 0", Answer(404, "a\nb\n"), id="curl, 404"),
        pytest.param("\ncurl: (7) no  pipelinegen-status 000  exit 7", Answer(fault="curl: (7) no"), id="curl, none"),
        pytest.param(
            "ha\ncurl: (18) closed pipelinegen-status 200  exit 18",
            Answer(fault="200, but curl: (18) closed"),
            id="curl, half",
        ),
        pytest.param("\n pipelinegen-status 200  exit 28", Answer(fault="no answer within 5 s"), id="curl, too late"),
        pytest.param("no\n  HTTP/1.1 500 Oh   X-A: HTTP/1.1 200 OK exit 8", Answer(500, "no"), id="wget, 500"),
        pytest.param("\n  HTTP/1.1 302 Found exit 8", Answer(302, ""), id="wget, 302"),
        pytest.param("ha\n  HTTP/1.1 200 OK exit 4", Answer(fault="200, but the page is not whole"), id="wget, half"),
        pytest.param("", Answer(fault="the host does not say what it was answered"), id="nothing"),
    ],
)
def test_what_curl_and_wget_say_is_understood(said: str, answer: Answer) -> None:
    assert host_answer(said.encode(), 5) == answer


def test_a_page_that_we_cut_off_is_whole_enough() -> None:
    page = "x" * MOST_BYTES
    assert (
        host_answer(f"{page}\ncurl: (23) Failed writing body pipelinegen-status 200  exit 23".encode(), 5).code == 200
    )
