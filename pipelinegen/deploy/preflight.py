"""Looking before leaping: everything that speaks against a deployment, all at once, with nothing changed.

What is asked is in `probe`, the rules are in `checks`, `inhibitors` and `closure_diff`; here they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelinegen.config_caches import CacheConfig
from pipelinegen.config_hosts import HostConfig
from pipelinegen.console import Console, clean, plain
from pipelinegen.deploy import checks, checks_of_change, closure_diff, new_system, preflight_answers
from pipelinegen.deploy.closure_diff import difference
from pipelinegen.deploy.findings import Findings
from pipelinegen.deploy.inhibitors import inhibitors, reboot_needed
from pipelinegen.deploy.new_system import System
from pipelinegen.deploy.preflight_answers import Seen, refuse_strange
from pipelinegen.deploy.report import PackageChange, UnitChanges
from pipelinegen.deploy.ssh import Target, UnreachableError
from pipelinegen.deploy.state import HostState
from pipelinegen.deploy.switch_words import would_change
from pipelinegen.deploy.system_kind import files_of, kind_of, refusal
from pipelinegen.errors import CommandError, DeployError, DeployOutcome
from pipelinegen.run.push_report import size
from pipelinegen.values import Value

_INVALID = "xargs nix-store --check-validity --print-invalid << 'END'\n{paths}\nEND\n"

_DRY_ACTIVATE = '"$1/bin/switch-to-configuration" dry-activate 2>&1\n'


class Survey(Value):
    """What the pre-flight found out of a host.

    Attributes:
        state: what it runs.
        generation: number of its profile's generation.
        missing_bytes: what it lacks of the new closure, uncompressed; null where that could not be found out.
        reboot_needed: what of the new system needs a reboot, see `inhibitors.reboot_needed`.
        inhibitors: why it cannot switch live, one `NAME: OLD → NEW` each.
        instead: what the action must become for that reason, by the host's settings: `boot` or `reboot`.
        deployed, last: the host's records of the last confirmed activation, and of the last one; empty where
            there is none.
        diff: packages that change; null where that could not be found out.
        would: what a switch would do with units; null where the host could not be asked.
    """

    state: HostState
    generation: int | None = None
    missing_bytes: int | None = None
    reboot_needed: tuple[str, ...] = ()
    inhibitors: tuple[str, ...] = ()
    instead: Literal["boot", "reboot"] | None = None
    deployed: dict[str, str] = Field(default_factory=dict)
    last: dict[str, str] = Field(default_factory=dict)
    diff: tuple[PackageChange, ...] | None = None
    would: UnitChanges | None = None


def survey(
    target: Target,
    name: str,
    host: HostConfig,
    system: str,
    findings: Findings,
    *,
    revision: str | None,
    newer: Callable[[str], bool | None],
    fetch: Callable[[], list[str]] | None,
    action: str = "switch",
    caches: Mapping[str, CacheConfig] | None = None,
    others: Sequence[str] = (),
    dry_run: bool = False,
) -> Survey | None:
    """Look at a host; nothing there is changed. What was found goes to `findings`.

    Args:
        target: how to reach it.
        name, host: of it in the configuration, and its settings.
        system: store path of what it is to be given.
        revision: the commit that `system` is of.
        newer: whether a commit is a descendant of `revision`; null where that is not known.
        fetch: brings `system` into the local store; reasons why that is not possible. Null: only the host need
            have it (a generation of its own).
        action: as of `run deploy`.
        caches: those that are trusted; the host should believe their keys.
        others: names of the other hosts.
        dry_run: ask also what a switch would do with units, where the host has the system already.

    Returns:
        What is known; null where the host could not be asked what it runs.

    Raises:
        CommandError: the local store does not answer.
    """
    look = _Look(target, name, host, system, findings, action)
    seen = look.ask()
    state = seen.state if seen is not None and seen.whole else None
    if seen is not None and state is not None:
        checks.check_locks(seen, target.address, findings)
        checks_of_change.check_last(seen, target.address, findings)
        done = state.runs(system) and not cut_off(seen.last, system)
        if done and action != "reboot" and not findings.refusals:
            return look.nothing_to_do(seen, state)
    reasons = fetch() if fetch is not None else []
    findings.refusals += reasons
    new = new_system.read_local(system) if fetch is not None and not reasons else None
    if seen is None or state is None:
        if new is not None:
            look.check_system(new, None)
        return None
    checks_of_change.check_newer(seen, host, revision, newer, target.address, findings)
    checks_of_change.check_drift(seen, system, host, target.address, findings)
    found = Survey(state=state, generation=state.generation, deployed=seen.deployed, last=seen.last)
    if reasons:
        return found
    missing, diff, new = look.compare(seen, new)
    if new is None:
        return found
    look.check_system(new, seen)
    findings.warnings += checks.check_trust(seen, host, caches or {}, target.address)
    look.check_names(new, state, others)
    stops = inhibitors(new.facts, seen.running)
    needed = reboot_needed(new.facts, seen.booted)
    instead = checks_of_change.check_inhibitors(stops, host, action, findings)
    checks_of_change.check_reboot(needed, host, instead or action, findings)
    would = None
    if dry_run and missing == 0 and not findings.refusals:
        would = look.would()
    return found.model_copy(
        update={
            "missing_bytes": missing,
            "reboot_needed": needed,
            "inhibitors": stops,
            "instead": instead,
            "diff": diff,
            "would": would,
        }
    )


class _Look:
    """One pre-flight on its way: the parts that ask."""

    def __init__(
        self, target: Target, name: str, host: HostConfig, system: str, findings: Findings, action: str
    ) -> None:
        self.target = target
        self.name = name
        self.host = host
        self.system = system
        self.findings = findings
        self.action = action

    def ask(self) -> Seen | None:
        """What the host says of itself; null where it cannot be asked at all."""
        try:
            seen = preflight_answers.ask(self.target)
        except UnreachableError as error:
            self.findings.refuse(_sentence(error), error.hint)
            return None
        except CommandError as error:
            said = "; ".join(clean(line, colour=False) for line in error.stderr_tail[-2:])
            self.findings.refuse(
                f"{self.target.login} does not run a shell script: {error.message}" + (f" ({said})" if said else ""),
                "the user's login shell there must be able to run `sh -s`",
            )
            return None
        checks.check_login(seen, self.host, self.target.address, self.findings)
        return seen

    def nothing_to_do(self, seen: Seen, state: HostState) -> Survey:
        """The host runs and boots the system already."""
        return Survey(
            state=state,
            generation=state.generation,
            missing_bytes=0,
            reboot_needed=reboot_needed(seen.running, seen.booted),
            deployed=seen.deployed,
            last=seen.last,
            diff=(),
        )

    def compare(
        self, seen: Seen, new: System | None
    ) -> tuple[int | None, tuple[PackageChange, ...] | None, System | None]:
        """Bytes that the host lacks, packages that change, and the system, which only the host may know."""
        paths = list(new.closure or ()) if new is not None else [self.system]
        caches = seen.settings.get("substituters", "").split() if self.host.substitute else []
        try:
            there = preflight_answers.ask_closures(
                self.target, paths, system="" if new is not None else self.system, caches=caches
            )
        except (UnreachableError, CommandError) as error:
            self.findings.refuse(_sentence(error), error.hint)
            return None, None, new
        self.findings.warnings += [f"{self.target.address} cannot reach its cache {url}" for url in there.unreachable]
        if new is None:
            new = new_system.of_the_host(there)
            missing = 0
            if there.missing:
                self.findings.refuse(f"{self.system} is not in the store of {self.target.address} any more")
        else:
            missing = sum((new.closure or {})[path] for path in there.missing)
        checks.check_room(seen, self.host, missing, self.target.address, self.findings)
        if self.action in {"switch", "boot", "reboot"}:
            checks.check_boot_room(seen, self.host, new.boot_files, self.target.address, self.findings)
        diff = None
        if there.running is not None and new.closure is not None:
            diff = difference(there.running, new.closure)
        return missing, diff, new

    def check_system(self, new: System, seen: Seen | None) -> None:
        """Whether it is a system that this machine can switch to."""
        if not new.switches:
            self.findings.refuse(*refusal(self.system, kind_of(files_of(Path(self.system)))))
        if seen is not None:
            checks.check_platform(new.platform, seen.machine, self.target.address, self.findings)

    def check_names(self, new: System, state: HostState, others: Sequence[str]) -> None:
        """Whether it is this machine's system."""
        checks.check_identity(self.name, new.hostname, state.hostname, others, self.target.address, self.findings)

    def would(self) -> UnitChanges | None:
        """What a switch would do; that the host cannot say so is only a pity."""
        try:
            return dry_activate(self.target, self.system)
        except DeployError as error:
            self.findings.warnings.append(f"{error.message}: {plain(error.why or '')}")
            return None


def cut_off(last: Mapping[str, str], system: str) -> bool:
    """Whether the last activation ended while `system` became the one to boot: the boot loader may not know it."""
    return last.get("system") == system and last.get("phase") == "committing"


def dry_activate(target: Target, system: str, console: Console | None = None) -> UnitChanges:
    """What a switch to `system`, which the host has, would do with units.

    It takes NixOS's lock for a moment. What it says is shown on `console`, where there is one.

    Raises:
        DeployError: REFUSED, since it does not say so.
    """
    try:
        lines = target.run(_DRY_ACTIVATE, system, root=True, timeout=120).text.splitlines()
    except (UnreachableError, CommandError) as error:
        said = error.stderr_tail if isinstance(error, CommandError) else ()
        raise DeployError(
            f"{target.address} does not say what a switch would do",
            outcome=DeployOutcome.REFUSED,
            why="\n".join([_sentence(error), *(clean(line, colour=False) for line in said[-3:])]),
        ) from error
    if console is not None:
        for line in lines:
            console.foreign(line, "  ")
    return would_change(lines)


def describe(found: Survey, address: str) -> Iterator[str]:
    """What a deployment would change, for people, one line each."""
    if found.missing_bytes is not None:
        lacks = f"{address} lacks {size(found.missing_bytes)} of it"
        yield lacks if found.missing_bytes else f"{address} has all of it in its store"
    if found.diff:
        yield f"packages that change ({closure_diff.kib(sum(change.bytes for change in found.diff))}):"
        yield from (f"  {clean(line, colour=False)}" for line in closure_diff.lines(found.diff))
    elif found.diff is not None:
        yield "no package changes its version or its size by much"
    if found.would is not None:
        kinds = (
            ("stop", found.would.stopped),
            ("restart", found.would.restarted),
            ("reload", found.would.reloaded),
            ("start", found.would.started),
        )
        told = [f"would {verb}: {', '.join(units)}" for verb, units in kinds if units]
        yield from (clean(line, colour=False) for line in told or ["no unit would be stopped or started"])


def missing_on(target: Target, paths: Sequence[str]) -> list[str]:
    """Which store paths the host does not have.

    Raises:
        UnreachableError, CommandError: it cannot be asked.
    """
    said = target.run(_INVALID.format(paths="\n".join(paths)), root=True, timeout=300).text.split()
    refuse_strange(target, said, frozenset(paths))
    return said


def _sentence(error: UnreachableError | CommandError) -> str:
    return ": ".join(part for part in (error.message, error.why) if part)
