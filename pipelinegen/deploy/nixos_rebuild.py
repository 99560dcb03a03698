"""The engine `nixos-rebuild`: NixOS's own tool switches the host, we look before and afterwards and say what there is.

It activates over the connection of the job and has no way back: what went wrong stays as it is, and is named.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable

from pipelinegen import attrpath, durations, nix, process
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console, clean
from pipelinegen.deploy import health
from pipelinegen.deploy.activation import Applied
from pipelinegen.deploy.follow import REACH_TIMEOUT
from pipelinegen.deploy.rebuild_words import (
    PROBE,
    STORE_PATH,
    RebuildAction,
    arguments,
    judge,
    known_options,
    options_not_refused,
    state_text,
    way_back,
)
from pipelinegen.deploy.report import UnitChanges
from pipelinegen.deploy.settling import settled
from pipelinegen.deploy.ssh import Target
from pipelinegen.deploy.state import HostState, read_state
from pipelinegen.deploy.switch_words import with_line, would_change
from pipelinegen.deploy.verdict import UNITS_FAILED
from pipelinegen.errors import CommandError, DeployOutcome, InterruptedRunError, ToolError, TransientError
from pipelinegen.run.heartbeat import LineLog

TOOL = "nixos-rebuild"
LOG_LINES = 50
SAID_LINES = 2000
"""Of a dry activation, in which what would change is looked for."""
AROUND = 120.0
"""Seconds that nixos-rebuild may take besides the activation: it looks whether all of the system is there."""

_HINT = 'put nixos-rebuild (nixpkgs: nixos-rebuild-ng) into the image of the job, or take engine = "supervised"'


class NixosRebuild:
    """Runs nixos-rebuild; an `activation.Activation`.

    Args:
        target: the host.
        host: its settings.
        console: where people read along; its clock counts.
        name: of its `nixosConfigurations` entry.
        action: passed through.
        flake: the flake that a nixos-rebuild without `--store-path` evaluates.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        target: Target,
        host: HostConfig,
        console: Console,
        *,
        name: str,
        action: RebuildAction = "switch",
        flake: str = ".",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target = target
        self._host = host
        self._console = console
        self._name = name
        self._action = action
        self._flake = flake
        self._sleep = sleep
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._said: deque[str] = deque(maxlen=SAID_LINES)
        self._units = UnitChanges()

    def apply(self, system: str, before: HostState) -> Applied:
        """See `Activation.apply`.

        Raises:
            ToolError: there is no nixos-rebuild, or it does not say what it can do.
        """
        known = self._known_options()
        refusal = self._refusal(system, local=STORE_PATH in known)
        if refusal is not None:
            return dataclasses.replace(refusal, state=before)
        code = self._run(arguments(
            self._action,
            system,
            known,
            login=self._login,
            root=self._target.user == "root",
            substitute=self._host.substitute,
            flake=self._flake,
            name=self._name,
        ))  # fmt: skip
        after_switch = self._moved if self._action in {"switch", "test"} else self._target
        after = self._settled(after_switch)
        if after is None:
            return self._unknown(code, before)
        return self._judged(system, code, before, after, after_switch)

    def _known_options(self) -> frozenset[str]:
        process.find_tool(TOOL, hint=_HINT)
        environment = process.environment(extra={"LC_ALL": "C", "MANPAGER": "cat", "PAGER": "cat"})
        asked = process.run([TOOL, "--help"], env=environment, allowed="any", merge_output=False, timeout=60)
        known = known_options(asked.text)
        if known is None:
            refused = process.run([TOOL, *PROBE], env=environment, allowed="any", merge_output=True, timeout=60)
            known = options_not_refused("\n".join(refused.stderr_tail))
        if known is None:
            raise ToolError(f"{TOOL} does not say which options it knows", hint=_HINT)
        return known

    def _refusal(self, system: str, *, local: bool) -> Applied | None:
        """Why it cannot be nixos-rebuild that brings this system to the host; null where it can."""
        if local:
            if not nix.invalid_paths([system]):
                return None
            message = f"nothing was changed: {TOOL} copies systems from here, and {system} is not in this store"
            return Applied(DeployOutcome.FAILED, message, hint='engine = "supervised" takes what the host has')
        attribute = attrpath.show(
            ("nixosConfigurations", self._name, "config", "system", "build", "toplevel", "outPath")
        )
        try:
            found = nix.evaluate_raw(f"{self._flake}#{attribute}", on_line=self._line_log("evaluating").line)
        except CommandError as error:
            message = f"nothing was changed: this {TOOL} knows no --store-path, and the flake cannot be evaluated here"
            return Applied(DeployOutcome.FAILED, message, error.message, hint=_HINT)
        if found == system:
            return None
        message = f"nothing was changed: this {TOOL} knows no --store-path, and the flake here makes another system"
        why = f"the pipeline built {system}, the flake here is {clean(found, colour=False)}"
        return Applied(DeployOutcome.FAILED, message, why, hint=_HINT)

    @property
    def _login(self) -> str:
        address = f"[{self._target.address}]" if ":" in self._target.address else self._target.address
        return f"{self._target.user}@{address}"

    @property
    def _moved(self) -> Target:
        address = self._host.confirm_address
        if address is None:
            return self._target
        return dataclasses.replace(self._target, address=address.removeprefix("[").removesuffix("]"))

    def _line_log(self, what: str) -> LineLog:
        return LineLog(self._console, f"{what} {self._name}")

    def _run(self, words: list[str]) -> int | None:
        """Its exit code; null when it was ended because its time was up."""
        # Without these sudo asks a question that nobody answers, and checks that were overruled come back.
        extra = {"NIX_SUDOOPTS": "-n"} | ({"NIXOS_NO_CHECK": "1"} if self._host.on_inhibitor == "force" else {})
        lines = self._line_log(f"waiting for {TOOL} on")

        def take(line: str) -> None:
            self._log.append(clean(line, colour=False))
            self._said.append(line)
            self._units = with_line(self._units, line)
            lines.line(line)

        command = [TOOL, *words]
        self._console.say(f"$ {process.quote(command)}")
        try:
            return process.run(
                command,
                env=self._target.nix_environment | extra,
                allowed="any",
                merge_output=True,
                timeout=(durations.seconds(self._host.activation_timeout) or 0) + AROUND,
                on_line=take,
                on_idle=lines.idle,
            ).returncode
        except TransientError as error:
            self._console.warn(f"{error.message}; what it began on the host may still go on")
            return None
        except InterruptedRunError:
            self._console.warn(
                f"interrupted: {TOOL} was ended, and what it began on {self._target.address} goes on or breaks off "
                "there; look at `readlink -f /run/current-system /nix/var/nix/profiles/system`"
            )
            raise

    def _judged(self, system: str, code: int | None, before: HostState, after: HostState, target: Target) -> Applied:
        now = set(after.failed)
        if code == UNITS_FAILED:
            # A unit that failed and is started again and again is not always found failed.
            now |= set(self._units.failed)
        failed, may = health.newly_failed(before.failed, sorted(now), self._host.ignore_units)
        tolerated = [f"{unit} failed, which may" for unit in may]
        if code == UNITS_FAILED:
            again = sorted(set(self._units.failed) & set(before.failed))
            tolerated += [f"{unit} failed again; it had failed before" for unit in again]
        verdict = judge(self._action, system, code, before, after, failed, units_named=bool(self._units.failed))
        applied = Applied(
            outcome=verdict.outcome,
            message=verdict.message,
            why=verdict.why,
            hint=verdict.hint,
            exit_code=code,
            newly_failed=failed,
            tolerated=tuple(tolerated),
            state=after,
            units=would_change(self._said) if self._action == "dry-activate" else self._units,
            log=tuple(self._log),
        )
        if applied.outcome is None and self._action in {"switch", "test"}:
            applied = self._asked(applied, system, before, after, target)
        if applied.outcome is None and tolerated and self._host.fail_on_warnings:
            message, why = "the new system runs, with warnings", "; ".join(tolerated)
            return dataclasses.replace(applied, outcome=DeployOutcome.WARNINGS, message=message, why=why)
        return applied

    def _asked(self, applied: Applied, system: str, before: HostState, after: HostState, target: Target) -> Applied:
        """With the answers of the configuration's health probes."""
        probes = health.ask_all(self._host.health, target, self._console, renew=lambda: None, sleep=self._sleep)
        applied = dataclasses.replace(applied, health=probes)
        bad = [f"{probe.title}: {probe.said}" for probe in probes if not probe.passed]
        if not bad:
            return applied
        return dataclasses.replace(
            applied,
            outcome=DeployOutcome.FAILED,
            message=f"the new system is not healthy: the host {state_text(system, before, after)}",
            why=f"not healthy: {'; '.join(bad)}",
            hint=way_back(before) if before.running else None,
        )

    def _unknown(self, code: int | None, before: HostState) -> Applied:
        ended = f"{TOOL} ended with exit code {code}" if code is not None else f"{TOOL} did not end in its time"
        return Applied(
            DeployOutcome.STATE_UNKNOWN,
            f"{self._target.address} does not answer; what it runs is not known",
            why=f"{ended}; its profile is set before the switch, so the next boot may take the new system",
            hint=way_back(before) if before.running else None,
            exit_code=code,
            units=self._units,
            log=tuple(self._log),
        )

    def _settled(self, target: Target) -> HostState | None:
        """What the host runs once systemd has come to rest; null when it does not answer for long."""
        return settled(
            lambda: read_state(target),
            self._console,
            settle=durations.seconds(self._host.settle) or 0,
            patience=REACH_TIMEOUT,
            sleep=self._sleep,
        )
