"""What the Nix of this machine says of itself, and what a build sees of the machine around it."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipelinegen import nix, nix_daemon, process
from pipelinegen.characters import inert
from pipelinegen.errors import CommandError, InterruptedRunError, PipelinegenError

TIMEOUT = 120.0
"""Seconds for one question."""

_PROBE = Path(__file__).with_name("probe.nix")
_WORD = "PIPELINEGEN_DOCTOR"


@dataclass(frozen=True)
class NixFacts:
    """What is known of Nix.

    Attributes:
        version: null where there is none.
        trouble: why there is none, or why it says nothing of itself.
        settings: its effective settings by name.
        flakes: why flakes cannot be evaluated; null where they can.
        listens: whether the settings that jobs bring count (no daemon, or one that trusts this user); null: not known.
        store: why nothing can be put into the store; null where it can.
        free_bytes: on the disk of the store; null where that is not known.
    """

    version: str | None
    trouble: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    flakes: str | None = None
    listens: bool | None = None
    store: str | None = None
    free_bytes: int | None = None


@dataclass(frozen=True)
class SandboxFacts:
    """What a build saw.

    Attributes:
        configured: the setting `sandbox`.
        seen: `processes`, `file` and `environment` of the machine; null where the build was not done.
        said: why it was not done.
        shell: whether the machine has the builder of the probe.
    """

    configured: str
    seen: frozenset[str] | None
    said: str = ""
    shell: bool = True


def read_nix() -> NixFacts:
    """Ask Nix. Raises nothing but InterruptedRunError."""
    try:
        version = nix.version()
        settings = nix.settings()
    except InterruptedRunError:
        raise
    except PipelinegenError as error:
        return NixFacts(None, _words(error))
    return NixFacts(
        version,
        None,
        settings,
        _trouble_of(_evaluate_a_flake),
        _listens(),
        _trouble_of(_add_to_store),
        free_bytes(Path(os.path.realpath(settings.get("store-dir") or "/nix/store"))),
    )


def read_sandbox(settings: dict[str, str]) -> SandboxFacts:
    """Build something that looks around. What was configured is one thing, and what the kernel allows another.

    Raises nothing but InterruptedRunError.
    """
    configured = settings.get("sandbox", "")
    word = secrets.token_hex(16)
    # Another machine's sandbox says nothing of this one, unless it does all builds.
    here = () if settings.get("max-jobs") == "0" else ("--option", "builders", "")
    with tempfile.TemporaryDirectory(prefix="pipelinegen-doctor-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # builds may run as another user, and what they look for is no secret
        canary = folder / "canary"
        canary.write_text("a build that sees this is not in a sandbox\n", "utf-8")
        strings = {"left": word[:16], "right": word[16:], "canary": str(canary)}
        arguments = [part for key, value in strings.items() for part in ("--argstr", key, value)]
        try:
            derivation = _run("nix-instantiate", *arguments, _PROBE).text.strip()
            # The word stands in the environment of this command, as tokens do in that of a job.
            built = _run(
                *("nix-store", "--option", "substitute", "false", *here, "--realise", derivation), extra={_WORD: word}
            ).text.strip()
            seen = Path(built).read_text("utf-8").split()[1:]
        except InterruptedRunError:
            raise
        except (PipelinegenError, OSError) as error:
            return SandboxFacts(configured, None, _words(error, 2000), Path("/bin/sh").exists())
    return SandboxFacts(configured, frozenset(seen))


def free_bytes(folder: Path) -> int | None:
    """Bytes that this user may still write there; null where nobody knows."""
    for place in (folder, *folder.parents):
        try:
            found = os.statvfs(place)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return None


def _run(*command: str | Path, extra: dict[str, str] | None = None) -> process.Completed:
    return process.run(command, env=process.environment(extra=extra), timeout=TIMEOUT)


def _evaluate_a_flake() -> None:
    with tempfile.TemporaryDirectory(prefix="pipelinegen-doctor-") as name:
        Path(name, "flake.nix").write_text("{ outputs = _: { works = true; }; }\n", "utf-8")
        _run("nix", *nix.FEATURES, "eval", "--no-write-lock-file", f"path:{os.path.realpath(name)}#works")


def _add_to_store() -> None:
    with tempfile.TemporaryDirectory(prefix="pipelinegen-doctor-") as name:
        file = Path(name, "pipelinegen-doctor")
        file.write_text("pipelinegen doctor\n", "utf-8")
        _run("nix-store", "--add", file)


def _trouble_of(work: Callable[[], None]) -> str | None:
    try:
        work()
    except InterruptedRunError:
        raise
    except (PipelinegenError, OSError) as error:
        return _words(error)
    return None


def _listens() -> bool | None:
    try:
        return nix_daemon.listens_to_us()
    except InterruptedRunError:
        raise
    except PipelinegenError:
        return None


def _words(error: Exception, most: int = 300) -> str:
    """Why, in one line; of a command its own last words."""
    if isinstance(error, CommandError) and error.stderr_tail:
        return inert(" ".join(" ".join(line.split()) for line in error.stderr_tail if line.strip()))[-most:]
    if isinstance(error, PipelinegenError):
        return error.message
    return str(error)
