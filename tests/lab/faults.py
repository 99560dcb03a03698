"""Random deployments with random faults at random moments, and what must hold after each of them.

Everything is drawn from one seed. What came of a run is asked of the machine itself, and compared with what the
report says; where there is none, since the deployer was killed, with the machine's own record and with what the next
pre-flight finds.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lab.deployer import RECORDS, Deployer, Job, Situation, last_record, look, record, until
from tests.lab.host import Host

_EARLY = ("Looking at the host", "Bringing the system", "activating")
_CONFIRMED = (*_EARLY, "waiting", "committing")
_JUDGED = (*_EARLY, "waiting", "restoring")
_FAILED = (*_EARLY, "restoring")

SYSTEMS = {
    **dict.fromkeys(("good", "better", "slow", "cutting", "talkative", "slow-to-install", "unbootable"), _CONFIRMED),
    **dict.fromkeys(("broken-service", "failing-service", "bad-unit", "closed", "offline"), _JUDGED),
    **dict.fromkeys(("broken-activation", "half-activated", "endless", "half-lost", "lost"), _FAILED),
    "slow-to-return-to": _CONFIRMED,
    "needs-reboot": (*_EARLY, "committing"),
    "rebooting": _EARLY,
}
"""Systems of `systems.nix`, and the moments that their deployments have: words of the deployer's log, and phases of
the supervisor."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: what it is.
        strike: does it; told the deployer, the job and the moment's own randomness.
        fatal: whether the deployer is ended by it.
    """

    name: str
    strike: Callable[[Deployer, Job, random.Random], None]
    fatal: bool = False


def _nothing(deployer: Deployer, job: Job, luck: random.Random) -> None:
    pass


def _kill(deployer: Deployer, job: Job, luck: random.Random) -> None:
    job.kill()


def _interrupt(deployer: Deployer, job: Job, luck: random.Random) -> None:
    job.kill(signal.SIGTERM)


def _cut_for_a_moment(deployer: Deployer, job: Job, luck: random.Random) -> None:
    with deployer.host.network_cut():
        time.sleep(luck.uniform(0.2, 3))


def _cut_for_long(deployer: Deployer, job: Job, luck: random.Random) -> None:
    with deployer.host.network_cut():
        time.sleep(9)


def _cut_power(deployer: Deployer, job: Job, luck: random.Random) -> None:
    deployer.host.restart()


def _reboot(deployer: Deployer, job: Job, luck: random.Random) -> None:
    before = deployer.host.boot_id()
    deployer.host.inside("systemctl --no-block reboot", check=False)
    deployer.host.wait_up(after=before)


def _end_supervisor(deployer: Deployer, job: Job, luck: random.Random) -> None:
    deployer.host.inside("systemctl kill --signal=KILL 'pipelinegen-*'", check=False)


def _restart_sshd(deployer: Deployer, job: Job, luck: random.Random) -> None:
    deployer.host.inside("pkill sshd; sleep 0.5; systemctl restart ssh", check=False)


def _all_at_once(deployer: Deployer, job: Job, luck: random.Random) -> None:
    job.kill()
    _cut_power(deployer, job, luck)


FAULTS = (
    Fault("nothing", _nothing),
    Fault("the deployer is killed", _kill, fatal=True),
    Fault("the deployer is interrupted", _interrupt, fatal=True),
    Fault("the network is cut for a moment", _cut_for_a_moment),
    Fault("the network is cut for long", _cut_for_long),
    Fault("the power is cut", _cut_power),
    Fault("the host is rebooted", _reboot),
    Fault("the supervisor is killed", _end_supervisor),
    Fault("all connections are ended", _restart_sshd),
    Fault("the deployer is killed and the power is cut", _all_at_once, fatal=True),
)


@dataclass
class Run:
    """One deployment and its fault.

    Attributes:
        system, fault, moment, delay: what was drawn; the delay is in seconds after the moment.
        struck: whether the moment came.
        said: the deployer's log.
        told: result and exit code, by the report or the record.
    """

    system: str
    fault: Fault
    moment: str
    delay: float
    struck: bool = False
    said: str = ""
    told: str = ""

    def __str__(self) -> str:
        when = f"{self.moment!r} + {self.delay:.1f} s" + ("" if self.struck else " (which did not come)")
        return f"{self.system}: {self.fault.name} at {when}: {self.told}"


@dataclass
class Gauntlet:
    """A machine that is never set up anew, and the runs that it went through."""

    deployer: Deployer
    luck: random.Random
    runs: list[Run] = field(default_factory=list)

    @property
    def host(self) -> Host:
        """The machine."""
        return self.deployer.host

    def story(self) -> str:
        """What happened so far, for messages of failed assertions."""
        said = self.runs[-1].said if self.runs else ""
        return "\n".join(["", *map(str, self.runs), said, f"record: {last_record(self.host)}"])

    def run(self) -> Run:
        """Draw one, do it, and assert what must hold."""
        name = self.luck.choice(tuple(SYSTEMS))
        run = Run(
            name,
            self.luck.choice(FAULTS),
            self.luck.choice(SYSTEMS[name]),
            self.luck.choice((0.0, self.luck.uniform(0, 1.5))),
        )
        self.runs.append(run)
        before = look(self.host)
        known = last_record(self.host).get("id")
        system = self.deployer.build(run.system)
        with self.deployer.started(system) as job:
            self._strike(run, job)
            code = job.wait(seconds=110).returncode
            run.said = job.stderr
        self.deployer.quiet()
        found = look(self.host)
        self._judge(run, before, found, system, code, known)
        self._mend(found)
        return run

    def _strike(self, run: Run, job: Job) -> None:
        def come() -> bool:
            return run.moment in job.stderr or self.deployer.phase_now() == run.moment

        until(lambda: job.over or come(), f"moment {run.moment!r}", seconds=100)
        if not job.over:
            run.struck = True
            time.sleep(run.delay)
            run.fault.strike(self.deployer, job, self.luck)

    def _judge(self, run: Run, before: Situation, found: Situation, system: str, code: int, known: str | None) -> None:
        """What must hold after every run."""
        story = self.story
        last = last_record(self.host)
        confirmed = record(self.host, f"{RECORDS}/deployed").get("system")
        decided = last.get("id") != known and (last["result"] or last["phase"]) in {
            *("confirmed", "boot-failed", "committing"),
        }
        assert found.runs in {before.runs, system}, f"{found}{story()}"
        if found.boots != before.boots:
            assert found.boots == system, f"{found}{story()}"
            assert decided or confirmed == system, f"{found}{story()}"
        assert not found.ours, f"{found}{story()}"

        if code in {-signal.SIGKILL, 128 + signal.SIGTERM}:
            assert run.fault.fatal, story()
            new = last.get("id") != known
            run.told = f"{code}, the record says {(last['result'] or last['phase']) if new else 'nothing'}"
            if new and last["result"] in {"confirmed", "restored"}:
                done = last["result"] == "confirmed"
                runs = system if done and last["action"] != "boot" else before.runs
                assert (found.runs, found.boots) == (runs, system if done else before.boots), f"{found}{story()}"
            looked = self.deployer.deploy(system, "--dry-run")
            state = self.deployer.report()["before"]
            if last.get("phase") == "committing":
                # Nobody was there to mend it: the profile may say one thing and the boot loader the other.
                assert "(phase: committing)" in looked.stderr, f"{looked.output}{story()}"
                assert (state["running"], state["profile"]) == (found.runs, found.profile), f"{state}{found}{story()}"
                return
        else:
            report = self.deployer.report()
            run.told = f"{report['result']} {code}"
            assert report["exit_code"] == code, story()
            expected = {
                "deployed": (system, system),
                "unchanged": (system, system),
                "rolled-back": (before.runs, before.boots),
                "rolled-back-unhealthy": (before.runs, before.boots),
                "boot-failed": (system, before.boots),
                "reboot-required": (before.runs, system),
                "refused": (before.runs, before.boots),
                "locked": (before.runs, before.boots),
            }.get(report["result"])
            if expected is not None:
                assert (found.runs, found.boots) == expected, f"{found}{story()}"
            state = report["after"]
            if state is None:
                assert report["result"] in {"state-unknown", "refused"}, story()
                return
        # What is said to run runs, and what is said to boot boots.
        assert (state["running"], state["profile"]) == (found.runs, found.profile), f"{state}{found}{story()}"
        assert found.boots == found.profile, f"{found}{story()}"

    def _mend(self, found: Situation) -> None:
        """Take away what the systems themselves broke for good; where it is in disorder, a good system helps."""
        mounts = self.host.read(
            "grep -o -e '/nix/store/[^ ]*switch-to-configuration' -e ' /boot ' /proc/self/mountinfo || true"
        )
        for place in mounts.split():
            self.host.inside(f"umount {place}")
        if found.litter or found.failed or not found.runs == found.boots == found.profile:
            self.works()

    def works(self) -> None:
        """A good deployment works now."""
        runs = self.host.current_system()
        good = next(path for path in map(self.deployer.build, ("good", "better")) if path != runs)
        result = self.deployer.deploy(good)
        assert result.returncode == 0, f"{result.output}{self.story()}"
        found = look(self.host)
        assert (found.runs, found.profile, found.boots) == (good, good, good), f"{found}{self.story()}"
