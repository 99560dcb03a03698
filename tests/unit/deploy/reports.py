"""Reports of deployments to make views of."""

from __future__ import annotations

from pipelinegen.deploy.report import DeployReport, PackageChange, Phase, ProbeResult, UnitChanges
from pipelinegen.deploy.state import HostState
from pipelinegen.errors import DeployOutcome

OLD = "/nix/store/00000000000000000000000000000000-nixos-system-web1-1.0"
NEW = "/nix/store/11111111111111111111111111111111-nixos-system-web1-1.1"

PLAIN = ("deployed", "unchanged", "dry-run", "interrupted")
RESULTS = (*PLAIN, *(one.word for one in DeployOutcome))

# What the host runs and boots after each result, where that is not both the old system.
_AFTER = {
    "deployed": (NEW, NEW),
    "unchanged": (NEW, NEW),
    "warnings": (NEW, NEW),
    "boot-failed": (NEW, OLD),
    "reboot-required": (OLD, NEW),
}
_REACHED = {
    "unchanged": ("preflight",),
    "dry-run": ("preflight",),
    "refused": ("preflight",),
    "locked": ("preflight",),
}


def report(result: str = "deployed", **fields: object) -> DeployReport:
    """A report of a deployment from `OLD` to `NEW` that ended so."""
    outcome = None if result in PLAIN else next(one for one in DeployOutcome if one.word == result)
    running, profile = _AFTER.get(result, (OLD, OLD))
    reached = _REACHED.get(result, ("preflight", "copy", "activation"))
    values: dict[str, object] = {
        "host": "web1",
        "address": "web1.example.org",
        "system": NEW,
        "result": result,
        "before": HostState(running=OLD, profile=OLD),
        "after": None if result == "state-unknown" else HostState(running=running, profile=profile),
        "exit_code": 0 if outcome is None else int(outcome),
        "message": None if outcome is None else outcome.meaning,
        "refusals": ("/nix/store has 1 MiB free",) if result == "refused" else (),
        "phases": tuple(Phase(name=name, seconds=1.5) for name in reached),
    }
    return DeployReport.model_validate(values | fields)


def full(text: str, number: int = 1) -> DeployReport:
    """A report in which `text` stands wherever text from elsewhere can."""
    texts = (text,) * number
    probes = (ProbeResult(title=text, passed=False, tries=3, seconds=1.0, said=text),) * number
    state = HostState(running=text, profile=text, hostname=text, failed=texts)
    return report(
        "rolled-back",
        host=text,
        address=text,
        system=text,
        action=text,
        revision=text,
        before=state,
        after=state,
        generation_before=41,
        message=text,
        why=text,
        hint=text,
        switch_exit_code=4,
        units=UnitChanges(stopped=texts, started=texts, restarted=texts, reloaded=texts, failed=texts),
        newly_failed=texts,
        tolerated=texts,
        health=probes,
        smoke=probes,
        diff=(PackageChange(name=text, before=texts, after=texts, bytes=1),) * number,
        refusals=texts,
        warnings=texts,
        reboot_needed=texts,
        missing_bytes=1,
        phases=(Phase(name="activation", seconds=2.0),),
        log=texts,
        log_file=text,
        activation=text,
    )
