"""Settings of the hosts that are deployed, and of how a fleet of them is."""

from __future__ import annotations

import enum
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipelinegen import durations
from pipelinegen.config_words import GATE, Duration, Gate, Pattern, SecretFile, VariableName
from pipelinegen.values import Value


class Policy(enum.StrEnum):
    """Whether a host is deployed."""

    AUTO = "auto"
    MANUAL = "manual"
    NEVER = "never"


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return text


def _share(text: object) -> object:
    if not isinstance(text, str) or not re.fullmatch(r"[1-9][0-9]*|(?:[1-9][0-9]?|100)%", text):
        raise ValueError('expected a number of hosts such as "5", or a share such as "25%"')
    return text


def _some_time(text: str) -> str:
    if durations.seconds(text) == 0:
        raise ValueError("expected more than no time at all")
    return text


Regex = Annotated[str, AfterValidator(_regex)]
Share = Annotated[str, BeforeValidator(_share)]
"""Hosts by number (`"5"`) or by share (`"25%"`)."""

SomeTime = Annotated[Duration, AfterValidator(_some_time)]

Trigger = Literal["units", "health", "smoke"]
"""What may undo a deployment besides an activation that failed."""


class Probe(Value):
    """A question that a healthy host answers well: a command or a web address."""

    name: str | None = Field(default=None, max_length=80, description="how reports call it; the question by default")
    command: str | None = Field(default=None, min_length=1, description="run by `sh -euc`; exit code 0 is well")
    url: str | None = Field(
        default=None, pattern=r"^https?://[^\s/@]+(/\S*)?$", description="fetched by GET; 2xx and 3xx are well"
    )
    on: Literal["job", "host"] = Field(
        default="job", description="where it is asked: in the job, from outside, or on the host"
    )
    expect: Regex | None = Field(default=None, description="regular expression to be found in its output or body")
    status: tuple[Annotated[int, Field(ge=100, le=599)], ...] = Field(
        default=(), description="url: the status codes that are well, instead of 2xx and 3xx"
    )
    period: Duration = Field(default="2 seconds", description="pause between two tries")
    timeout: SomeTime = Field(default="5 seconds", description="time of one try")
    within: SomeTime = Field(default="30 seconds", description="time until it must have answered well once")

    @property
    def title(self) -> str:
        """What reports call it."""
        return self.name or self.command or self.url or ""

    @model_validator(mode="after")
    def _one_question(self) -> Probe:
        if (self.command is None) == (self.url is None):
            raise ValueError("expected either `command` or `url`")
        if self.status and self.url is None:
            raise ValueError("`status` is about a `url`")
        return self


class HostConfig(Value):
    """How one host is deployed; the key is the name of its `nixosConfigurations` entry."""

    address: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9\[][A-Za-z0-9.:\[\]%_-]*$",
        description="host name or address for SSH; needed unless hosts_from gives it",
    )
    user: str = Field(default="root", pattern=r"^[a-z_][a-z0-9_-]*\$?$", description="SSH user")
    port: int = Field(default=22, gt=0, lt=65536, description="SSH port")
    policy: Policy = Field(default=Policy.AUTO, description="auto, manual (behind an approval job) or never")
    gate: Gate = Field(default="all", description=GATE)
    checks: tuple[Pattern, ...] = Field(default=(), description="with gate = related: these must have passed")
    environment: str | None = Field(default=None, description="GitLab environment; the host's name by default")
    url: str | None = Field(default=None, description="URL of the environment")
    tier: Literal["production", "staging", "testing", "development", "other"] = Field(
        default="production", description="GitLab's deployment tier"
    )
    tags: tuple[str, ...] = Field(default=(), description="runner tags of the deploy job")
    ssh_key_file: SecretFile | None = Field(
        default="$DEPLOY_SSH_KEY",
        description="private key; `$NAME` takes it from a variable of either type, `op://…` from 1Password",
    )
    ssh_key_env: VariableName | None = Field(
        default=None, description="variable that holds the private key itself; taken instead of ssh_key_file"
    )
    known_hosts_file: SecretFile | None = Field(
        default="$DEPLOY_KNOWN_HOSTS",
        description="known_hosts; `$NAME` takes it from a variable of either type, `op://…` from 1Password",
    )
    substitute: bool = Field(default=True, description="let the host fetch from the caches it knows")
    min_free_mb: int = Field(default=512, ge=0, description="MiB to be left free on the host's store")
    min_free_boot_mb: int = Field(
        default=64, ge=0, description="MiB to be free on the host's /boot where a new kernel or initrd comes"
    )
    engine: Literal["supervised", "nixos-rebuild"] = Field(
        default="supervised", description="what switches the host: our supervisor, or nixos-rebuild as it is"
    )
    action: Literal["switch", "boot", "reboot"] = Field(
        default="switch",
        description="switch: now and at boot; boot: at the next boot only; reboot: at boot, and reboot at once",
    )
    activation_timeout: SomeTime = Field(default="4 minutes", description="time that an activation may take")
    confirm_timeout: SomeTime = Field(
        default="30 seconds", description="silence from the job after which the host undoes an activation"
    )
    timeout: SomeTime = Field(default="30 minutes", description="time of the whole deployment")
    settle: Duration = Field(default="3 seconds", description="time that services have to fail after an activation")
    confirm_address: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9\[][A-Za-z0-9.:\[\]%_-]*$",
        description="address by which the host is reached after the activation, where that moves it",
    )
    ignore_units: tuple[str, ...] = Field(default=(), description="units (globs) whose failure is only a warning")
    health: tuple[Probe, ...] = Field(default=(), description="asked before the new system is confirmed")
    smoke: tuple[Probe, ...] = Field(default=(), description="asked last, when the new system is confirmed")
    rollback_on: tuple[Trigger, ...] = Field(
        default=("units", "health", "smoke"),
        description="what undoes a deployment, besides an activation that fails: newly failed units, failed health "
        "probes, failed smoke tests; what is not listed fails the job and leaves the new system",
    )
    on_inhibitor: Literal["refuse", "boot", "reboot", "force"] = Field(
        default="refuse",
        description="where NixOS says that this switch is not possible live: refuse, deploy at the next boot, reboot, "
        "or switch all the same",
    )
    on_reboot_needed: Literal["ignore", "warn", "fail"] = Field(
        default="warn", description="where a kernel, an initrd or modules differ from those booted with"
    )
    on_drift: Literal["ignore", "warn", "refuse"] = Field(
        default="warn", description="where the host runs a system that no pipeline brought there"
    )
    on_newer: Literal["warn", "refuse"] = Field(
        default="refuse", description="where the host runs a system of a later commit"
    )
    fail_on_warnings: bool = Field(
        default=False, description="exit with 10, which GitLab counts as failed, where units failed that may"
    )
    log_folder: str | None = Field(
        default="/var/log/nixos-rebuild",
        pattern=r"^/[A-Za-z0-9_./-]+$",
        description="folder on the host in which each activation's log stays",
    )
    last: bool | None = Field(
        default=None,
        description="deploy it in the last wave, as what runs a cache or a runner; by default where a cache's URL "
        "names its address",
    )


class Fleet(Value):
    """In which order hosts are deployed: canaries, then waves; each begins when the one before went well."""

    canary: tuple[str, ...] = Field(default=(), description="hosts (globs) of the first wave")
    wave: Share = Field(default="100%", description='hosts of a wave behind the canaries: a number or a share ("25%")')
    max_failures: int = Field(
        default=0, ge=0, description="failed hosts in a wave, canaries excepted, after which the next one still begins"
    )
    rollback_succeeded: bool = Field(
        default=False, description="where a wave fails, bring the hosts back that the pipeline had deployed before"
    )
    approve: Literal["none", "after-canary", "each"] = Field(
        default="none", description="whether a person starts the waves behind the canaries: once, or each"
    )

    @model_validator(mode="after")
    def _nobody_is_counted_before_the_start(self) -> Fleet:
        if self.approve != "none" and (self.max_failures or self.rollback_succeeded):
            key = "max_failures" if self.max_failures else "rollback_succeeded"
            raise ValueError(
                f"approve and {key} exclude each other: what counts failed hosts runs when a wave is over, and for "
                "GitLab a wave that waits for a person is over"
            )
        return self
