"""How far a push is: seen on a terminal, heard of in a log."""

from __future__ import annotations

import io

from pipelinegen.cache.model import PushProgress
from pipelinegen.console import Console
from pipelinegen.run.push_view import PushView

ERASE = "\r\x1b[K"
HALF = PushProgress(paths_done=120, paths=362, bytes_done=85 << 20, bytes=310 << 20, retries=2, jobs=4)


class Screen(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class Show:
    """A view with a clock of its own."""

    def __init__(self, *, terminal: bool, sections: bool = False, quiet: bool = False) -> None:
        self.now = 0.0
        self.screen = Screen(terminal=terminal)
        console = Console(self.screen, sections=sections, quiet=quiet, clock=lambda: self.now)
        self.view = PushView(console, "ci")

    def at(self, now: float, progress: PushProgress) -> None:
        self.now = now
        self.view.progress(progress)

    @property
    def text(self) -> str:
        return self.screen.getvalue()


def test_a_terminal_shows_one_line_that_is_gone_at_the_end() -> None:
    show = Show(terminal=True)
    with show.view:
        show.at(0.5, HALF)
        show.at(14.0, HALF)
        show.at(14.05, HALF)
    line = "pushing to cache ci: 120 of 362 paths, 85 MiB of 310 MiB, 2 retries, 4 at once, 14 s"
    assert show.text == ERASE + line + ERASE


def test_lines_of_a_command_stand_where_the_live_line_was() -> None:
    show = Show(terminal=True)
    with show.view:
        show.at(2.0, PushProgress(paths=1, jobs=1))
        show.view.line("copying \x1b[2Jpath")
    assert show.text.endswith(f"2 s{ERASE}  copying path\n")


def test_a_log_hears_of_it_now_and_then_with_everything_that_matters() -> None:
    show = Show(terminal=False)
    for second in range(62):
        show.at(float(second), HALF)
    assert show.text == "".join(
        f"… still pushing to cache ci: 120 of 362 paths, 85 MiB of 310 MiB, 2 retries, 4 at once ({seconds} s)\n"
        for seconds in (30, 60)
    )


def test_a_push_that_has_not_said_anything_yet_lives_too() -> None:
    show = Show(terminal=False)
    show.now = 31.0
    show.view.idle()
    assert show.text == "… still pushing to cache ci (31 s)\n"
    assert Show(terminal=True).text == ""


def test_a_job_log_is_no_terminal_and_hears_of_it_even_when_quiet() -> None:
    show = Show(terminal=True, sections=True, quiet=True)
    show.at(31.0, HALF)
    assert show.text.startswith("… still pushing")
    assert "\r" not in show.text


def test_a_line_of_a_command_is_a_sign_of_life_as_well() -> None:
    show = Show(terminal=False)
    show.now = 29.0
    show.view.line("copying")
    show.at(31.0, HALF)
    assert show.text == "  copying\n"


def test_what_was_heard_last_is_kept() -> None:
    show = Show(terminal=False)
    assert show.view.last is None
    show.at(1.0, HALF)
    assert show.view.last == HALF
