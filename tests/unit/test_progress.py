"""Progress is seen where it helps, and nowhere else."""

from __future__ import annotations

import io

from pipelinegen.console import Console
from pipelinegen.progress import Progress


class Screen(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def shown(*, terminal: bool, steps: list[tuple[float, int]], sections: bool = False, quiet: bool = False) -> str:
    """What is written when at each time (seconds) so much is done."""
    screen = Screen(terminal)
    now = 0.0
    console = Console(screen, sections=sections, quiet=quiet, clock=lambda: now)
    with Progress(console, "evaluating", "attributes") as progress:
        for now, done in steps:  # noqa: B007  # the clock reads it
            progress(done, 40)
    return screen.getvalue()


def test_a_terminal_shows_one_line_that_changes_and_is_gone_at_the_end() -> None:
    erase = "\r\x1b[K"
    assert shown(terminal=True, steps=[(0.5, 1), (1.5, 3), (1.52, 4), (2.5, 7)]) == (
        f"{erase}evaluating: 3 of 40 attributes, 2 s{erase}evaluating: 7 of 40 attributes, 2 s{erase}"
    )


def test_a_log_gets_a_line_every_half_minute() -> None:
    assert shown(terminal=False, steps=[(n / 2, n) for n in range(150)]) == (
        "… evaluating: 60 of 40 attributes, 30 s\n… evaluating: 120 of 40 attributes, 60 s\n"
    )


def test_what_ends_soon_shows_nothing() -> None:
    assert shown(terminal=True, steps=[(0.1, 1), (0.9, 40)]) == ""
    assert shown(terminal=False, steps=[(0.1, 1), (29.0, 40)]) == ""


def test_more_can_be_told_and_the_line_makes_room_for_others() -> None:
    screen = Screen(terminal=True)
    now = 2.0
    with Progress(Console(screen, clock=lambda: now), "pushing", "paths") as progress:
        now = 4.0
        progress(3, 40, "85 MiB")
        progress.clear()
        screen.write("a line\n")
        progress.clear()
    assert screen.getvalue() == "\r\x1b[Kpushing: 3 of 40 paths, 85 MiB, 2 s\r\x1b[Ka line\n"


def test_a_job_log_is_no_terminal_and_quiet_is_quiet() -> None:
    assert "\r" not in shown(terminal=True, sections=True, steps=[(31.0, 1)])
    assert shown(terminal=True, quiet=True, steps=[(31.0, 1)]) == ""
