"""Whether a host is well: units that newly failed, and the probes of the configuration."""

from __future__ import annotations

import contextlib
import fnmatch
import re
import time
from collections.abc import Callable, Iterable, Sequence

from pipelinegen import durations
from pipelinegen.config_hosts import Probe
from pipelinegen.console import Console, clean
from pipelinegen.deploy import probe_tries
from pipelinegen.deploy.probe_tries import Answer
from pipelinegen.deploy.report import ProbeResult
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.switch_words import USER
from pipelinegen.errors import CommandError
from pipelinegen.run.heartbeat import Heartbeat, duration

BEAT = 1.0
"""Seconds between two calls of `renew`."""
NAP = 0.5
SHORTEST_PERIOD = 0.1
"""Seconds between two tries, also where the configuration says 0."""
SAID_LINES = 3
SAID_CHARACTERS = 200
"""Of each line."""


def newly_failed(
    before: Iterable[str], after: Iterable[str], ignored: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Units that failed and had not failed before: those that count, and those that may fail; each sorted.

    Args:
        before, after: names of failed units; a user's unit has `switch_words.USER` behind its name.
        ignored: globs of those that may fail, in which case counts.
    """
    new = sorted(set(after) - set(before))
    may = [unit for unit in new if any(fnmatch.fnmatchcase(unit.removesuffix(USER), glob) for glob in ignored)]
    return tuple(unit for unit in new if unit not in may), tuple(may)


def ask_all(
    probes: Sequence[Probe],
    target: Target,
    console: Console,
    *,
    renew: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[ProbeResult, ...]:
    """Ask one after another, up to the first that is not answered well: a bad system should not be kept waiting.

    Arguments and errors are those of `ask`.
    """
    results: list[ProbeResult] = []
    for probe in probes:
        results.append(ask(probe, target, console, renew=renew, sleep=sleep))
        if not results[-1].passed:
            break
    return tuple(results)


def ask(
    probe: Probe,
    target: Target,
    console: Console,
    *,
    renew: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> ProbeResult:
    """Ask every `period` until the answer is good or `within` has passed.

    Args:
        probe: the question. A command runs by `sh -euc` in the job, with the job's environment, or on the host as
            the user who logs in; its exit code, and `expect` in the last 64 KiB of what it prints, decide. A page
            is fetched without following redirections; its status, and `expect` in its first 64 KiB, decide.
        target: the host.
        console: where people read along; its clock counts.
        renew: gives a sign of life, and is called about every second also while an answer is waited for; that
            it does not arrive is not our matter.
        sleep: waits for seconds.

    Returns:
        How it ended; a bad answer, none, or a host that cannot be reached is no exception.

    Raises:
        InterruptedRunError: a signal arrived.
    """
    return _Asking(probe, target, console, renew, sleep).to_the_end()


class _Asking:
    """One probe, asked again and again."""

    def __init__(
        self,
        probe: Probe,
        target: Target,
        console: Console,
        renew: Callable[[], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._probe = probe
        self._title = clean(probe.title.replace("\n", " "), colour=False)
        self._target = target
        self._console = console
        self._renew = renew
        self._sleep = sleep
        self._started = console.clock()
        self._renewed = self._started - BEAT
        self._heartbeat = Heartbeat(console, lambda: f"still asking: {self._title} ({duration(self._passed)})")

    @property
    def _passed(self) -> float:
        return self._console.clock() - self._started

    def to_the_end(self) -> ProbeResult:
        within, timeout = _seconds(self._probe.within), _seconds(self._probe.timeout)
        period = max(_seconds(self._probe.period), SHORTEST_PERIOD)
        tries, said = 0, ""
        while True:
            tries += 1
            self._alive()
            limit = max(min(timeout, within - self._passed), 0.1)
            answer = probe_tries.ask_once(self._probe, self._target, seconds=limit, alive=self._alive)
            bad = judge(self._probe, answer)
            if bad is None:
                self._console.say(f"well: {self._title} ({_times(tries)}, {duration(self._passed)})")
                return ProbeResult(title=self._title, passed=True, tries=tries, seconds=self._passed, said=said)
            # A try that was given less than its time says less than the one before.
            if limit >= timeout or answer.fault is None or not said:
                if bad != said:
                    self._console.say(f"not well: {self._title}: {bad}")
                    self._heartbeat.spoke()
                said = bad
            if not self._pause(period, within):
                return ProbeResult(title=self._title, passed=False, tries=tries, seconds=self._passed, said=said)

    def _pause(self, period: float, within: float) -> bool:
        """Wait for the next try; whether there is time for one."""
        end = self._passed + period
        if end >= within:
            return False
        while (left := end - self._passed) > 0:
            self._sleep(min(left, NAP))
            self._alive()
        return self._passed < within

    def _alive(self) -> None:
        if self._console.clock() - self._renewed >= BEAT:
            # Whoever waits for signs of life notices by itself that none arrives.
            with contextlib.suppress(UnreachableError, CommandError):
                self._renew()
            self._renewed = self._console.clock()
        self._heartbeat.tick()


def judge(probe: Probe, answer: Answer) -> str | None:
    """What is not well with an answer: one line, cleaned; null where it is well."""
    said = _said(answer.text) if probe.command is not None else ""
    if answer.fault is not None or answer.code is None:
        return ": ".join(part for part in (_said(answer.fault or "no answer"), said) if part)
    if probe.command is not None:
        if answer.code != 0:
            ended = f"exit code {answer.code}" if answer.code > 0 else f"ended by signal {-answer.code}"
            return ended + (f": {said}" if said else "")
    elif not (answer.code in probe.status if probe.status else 200 <= answer.code < 400):
        first = _said(answer.text[:SAID_CHARACTERS])
        return f"status {answer.code}" + (f": {first}" if first else "")
    if probe.expect is not None and not re.search(probe.expect, answer.text):
        what = _said(answer.text if probe.command is not None else answer.text[:SAID_CHARACTERS])
        return f"{clean(probe.expect, colour=False)!r} is not in it" + (f": {what}" if what else "; it is empty")
    return None


def _said(text: str) -> str:
    """The last lines of a text as one line."""
    lines = [clean(line, colour=False).strip() for line in text[-64 * SAID_CHARACTERS :].split("\n")]
    return " | ".join([line[:SAID_CHARACTERS] for line in lines if line][-SAID_LINES:])


def _seconds(text: str) -> float:
    return float(durations.seconds(text) or 0)


def _times(tries: int) -> str:
    return "1 try" if tries == 1 else f"{tries} tries"
