"""Every way in which pipelinegen fails on purpose, each with its exit code.

    PipelinegenError                1   the answer is no
    ├── UsageError                  2   wrong use of the command line
    ├── ConfigError                 2   the configuration is wrong (all findings at once)
    ├── FlakeError                  2   the flake cannot be read at all
    ├── GitError                    2   the repository cannot answer what was asked
    │   └── NoRepositoryError       2   there is no repository
    ├── NothingSelectedError        3   nothing is selected, and --fail-if-empty was given
    ├── CredentialsError            4   credentials are missing or refused
    ├── ToolError                   5   a needed tool is missing or broke
    │   └── CommandError            5   a command failed (its own code is kept)
    ├── VerificationError           1   the child pipeline is not sound, nothing was written
    ├── StepFailedError             1   a build, test or push failed
    ├── DeployError                 10-50   see `DeployOutcome`
    ├── TransientError              75  worth a retry
    └── InterruptedRunError         129, 130, 143   a signal ended the run

Only `pipelinegen.cli` turns these into text and an exit status.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence


class PipelinegenError(Exception):
    """A failure that a person can act on: one sentence and at most four labelled lines.

    Args:
        message: what happened, one sentence without a full stop.
        where: the file, output, job or host it happened in.
        why: the cause, where it is known.
        hint: what to do next.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, where: str | None = None, why: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.why = why
        self.hint = hint


class UsageError(PipelinegenError):
    """Arguments that make no sense together, or name something that is not there."""

    exit_code = 2


class ConfigError(PipelinegenError):
    """The configuration file is wrong; `problems` lists every finding."""

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[str] = (),
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, where=where, why="\n".join(problems) or None, hint=hint)
        self.problems = tuple(problems)


class FlakeError(PipelinegenError):
    """The directory is no flake, or the flake cannot be read as a whole."""

    exit_code = 2


class GitError(PipelinegenError):
    """The git repository cannot answer: no repository, unknown revision, broken object."""

    exit_code = 2


class NoRepositoryError(GitError):
    """The folder is not in a git repository at all."""


class NothingSelectedError(PipelinegenError):
    """Nothing is selected and the user asked for that to be a failure."""

    exit_code = 3


class CredentialsError(PipelinegenError):
    """A token or key is missing, expired or not allowed to do this."""

    exit_code = 4


class ToolError(PipelinegenError):
    """A program that is needed is missing or does not work."""

    exit_code = 5


class CommandError(ToolError):
    """A command ended with a code that is not allowed.

    Attributes:
        command: the shell-quoted command, secrets removed.
        returncode: its exit status; negative is a signal as in `subprocess`.
        stderr_tail: its last lines on stderr, cleaned.
    """

    def __init__(
        self,
        message: str,
        *,
        command: str,
        returncode: int,
        stderr_tail: Sequence[str] = (),
        where: str | None = None,
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, where=where, why=why, hint=hint)
        self.command = command
        self.returncode = returncode
        self.stderr_tail = tuple(stderr_tail)


class VerificationError(PipelinegenError):
    """The child pipeline breaks a rule of GitLab's or ours; `findings` lists all of them."""

    def __init__(self, message: str, *, findings: Sequence[str], hint: str | None = None) -> None:
        super().__init__(message, why="\n".join(findings), hint=hint)
        self.findings = tuple(findings)


class MemoError(PipelinegenError):
    """What was remembered of evaluations is not what evaluation gives; nothing of it is used any more."""


class StepFailedError(PipelinegenError):
    """A build, test or push ended, and the answer is no."""


class TransientError(PipelinegenError):
    """Trouble that a second try may not have: emitted jobs retry on its exit code."""

    exit_code = 75


class InterruptedRunError(PipelinegenError):
    """SIGHUP, SIGINT or SIGTERM arrived; children were ended and half-written files removed."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.exit_code = 128 + signal_number


class DeployOutcome(enum.IntEnum):
    """How a deployment that is not plain success ended; the value is the exit code."""

    FAILED = 1
    WARNINGS = 10
    ROLLED_BACK = 20
    ROLLED_BACK_UNHEALTHY = 21
    ROLLBACK_FAILED = 22
    BOOT_FAILED = 23
    REFUSED = 30
    LOCKED = 31
    STATE_UNKNOWN = 40
    REBOOT_REQUIRED = 50

    @property
    def word(self) -> str:
        """As reports call it: `rolled-back`."""
        return self.name.lower().replace("_", "-")

    @property
    def meaning(self) -> str:
        """What the host ends as, in one sentence for people."""
        return _MEANINGS[self]


_MEANINGS = {
    DeployOutcome.FAILED: "something failed that is not to undo a deployment (`rollback_on`), or before there was "
    "anything to undo: the report says what the host runs",
    DeployOutcome.WARNINGS: "deployed, but units failed that may; only with `fail_on_warnings`",
    DeployOutcome.ROLLED_BACK: "the new system was bad; the previous one runs again and is healthy",
    DeployOutcome.ROLLED_BACK_UNHEALTHY: "the new system was bad; the previous one runs again and is not healthy",
    DeployOutcome.ROLLBACK_FAILED: "the host is neither as it was nor as it should be: somebody must look at it",
    DeployOutcome.BOOT_FAILED: "the new system runs, but the next boot takes the one before",
    DeployOutcome.REFUSED: "refused before anything was switched; the host runs what it ran",
    DeployOutcome.LOCKED: "another deployment or switch is going on there; this one changed nothing",
    DeployOutcome.STATE_UNKNOWN: "the host does not answer; what it runs is not known",
    DeployOutcome.REBOOT_REQUIRED: "a reboot is needed: the next boot takes the new system, or parts of it "
    '(`on_reboot_needed = "fail"`) wait for one',
}


class DeployError(PipelinegenError):
    """A deployment that did not end in plain success."""

    def __init__(
        self,
        message: str,
        *,
        outcome: DeployOutcome,
        where: str | None = None,
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, where=where, why=why, hint=hint)
        self.outcome = outcome
        self.exit_code = int(outcome)
