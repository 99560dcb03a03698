"""A job's own way to the caches: exact options for our Nix commands, a private nix.conf for those of others.

Tokens reach Nix by a netrc file in a folder that only this job's user can open, that lies outside of the
repository (so that no artifact can hold it), and that is removed at the end. Only `kill -9` leaves it behind.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from pipelinegen import nix, nix_daemon, process, secret_files
from pipelinegen.cache import netrc
from pipelinegen.cache.attic.token import complaint, decode
from pipelinegen.cache.substituters import (
    DaemonSettings,
    Source,
    cache_name,
    passwords,
    refuse_lacking,
    without_key,
)
from pipelinegen.cache.trust import PipelineClass, handoff_cache, trusted_caches
from pipelinegen.config import Config
from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import ConfigError, CredentialsError, ToolError, TransientError
from pipelinegen.private_files import private_folder, write_private

Say = Callable[[str], None]


@dataclass(frozen=True)
class Access:
    """Where a job may fetch from.

    Attributes:
        substitution: for our own commands; null (Nix's own settings) without any cache.
        environment: variables that other people's commands get besides those that are there.
        doubts: why caches may refuse a token of this job, one sentence each. Nix tells that from a cache that is
            none as little as Attic tells a bad token from no token.
    """

    substitution: nix.Substitution | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


@contextlib.contextmanager
def access(
    config: Config, kind: PipelineClass, *, first: Path | None = None, near: Path, say: Say, strict: bool = True
) -> Iterator[Access]:
    """The way to the caches that a pipeline of this class trusts, as long as this lasts.

    Args:
        config, kind: the caches, and which of them are trusted.
        first: folder with a binary cache that comes before all others and needs no signatures.
        near: a folder of the repository, outside of which the private files lie.
        say: takes what people should know, one sentence each.
        strict: the handoff cache must be usable, and a daemon must let this job fetch from all caches. Otherwise
            what cannot be used is left out.

    Raises:
        CredentialsError: the credentials of the handoff cache are missing, or one host wants two tokens.
        ConfigError: nothing says which key signs the handoff cache.
        TransientError: 1Password cannot be asked just now for those of the handoff cache.
        ToolError: a Nix daemon does not let this user fetch from there; the hint has the lines for its settings.
    """
    if not config.caches and first is None:
        yield Access()
        return
    sources = trusted_sources(config, kind, say=say, strict=strict)
    if not nix_daemon.listens_to_us():
        with _through_daemon(sources, first=first, near=near, say=say, strict=strict) as given:
            yield given
        return
    here = () if first is None else (f"file://{first}?trusted=true",)
    substitution = nix.Substitution(
        substituters=(*here, *(source.url for source in sources)),
        public_keys=tuple(dict.fromkeys(key for source in sources for key in source.keys)),
    )
    entries, warnings = passwords(sources)
    doubts = _doubts(sources, entries)
    for warning in (*warnings, *doubts):
        say(warning)
    with private_folder(near) as folder:
        if entries:
            # Nix reads one file: what the machine's own has would be gone.
            entries += _read_netrc(Path(nix.settings().get("netrc-file", ""))) or ()
            file = write_private(folder / "netrc", netrc.text(netrc.merged(entries)))
            substitution = substitution.model_copy(update={"netrc_file": file})
        yield Access(substitution, _environment(folder, substitution.settings()), doubts)


def _doubts(sources: Sequence[Source], entries: Sequence[netrc.Entry]) -> tuple[str, ...]:
    """What the tokens that Nix sends say against themselves; a public cache is read without."""
    sent = {entry.machine: entry.password.get_secret_value() for entry in reversed(entries)}
    now = time.time()
    found = []
    for source in sources:
        if source.token is None or source.config.public:
            continue
        token, cache = sent[source.host], cache_name(source.config.url)
        info = decode(token)
        if info is not None and (info.expired(now) or not info.may(cache, "pull")):
            found.append(f"cache {source.name} lets this job fetch nothing: {complaint(token, cache, 'pull', now)}")
    return tuple(found)


@contextlib.contextmanager
def _through_daemon(
    sources: Sequence[Source], *, first: Path | None, near: Path, say: Say, strict: bool
) -> Iterator[Access]:
    if first is not None:
        raise ToolError(
            "the Nix daemon takes nothing from job artifacts",
            why="what other jobs left there has no signature, and it does not trust this user",
            hint='hand over through a cache (handoff.mode = "cache"), or let jobs have a store of their own',
        )
    daemon = _daemon_settings()
    if strict:
        refuse_lacking(sources, daemon)
        if daemon.remembers != "0":
            say(
                f"the Nix daemon remembers for {daemon.remembers} s that a cache lacked a path, though another job may "
                "have put it there since; narinfo-cache-negative-ttl = 0 in its nix.conf cures that"
            )
    known = [spelled for source in sources if (spelled := daemon.spelled(source.url)) is not None]
    # It heeds neither keys nor passwords from here, and would complain about them for each command.
    substitution = nix.Substitution(substituters=tuple(known), public_keys=None)
    with private_folder(near) as folder:
        # A list that it does not accept is no list, and then nothing would be fetched at all.
        yield Access(substitution, _environment(folder, substitution.settings()) if known else {})


def _daemon_settings() -> DaemonSettings:
    settings = nix_daemon.daemon_settings()
    file = settings.get("netrc-file", "")
    return DaemonSettings(
        substituters=(*settings.get("substituters", "").split(), *settings.get("trusted-substituters", "").split()),
        public_keys=frozenset(settings.get("trusted-public-keys", "").split()),
        require_sigs=settings.get("require-sigs", "true") != "false",
        netrc_file=file or "the netrc-file of the daemon",
        netrc=_read_netrc(Path(file)) if file else (),
        remembers=settings.get("narinfo-cache-negative-ttl", "0"),
    )


def trusted_sources(config: Config, kind: PipelineClass, *, say: Say, strict: bool = True) -> list[Source]:
    """The caches that a pipeline of this class may fetch from, with what reading from them takes.

    A cache whose credentials are not in this job is left out: those of protected pipelines are absent in others.
    Planning could not ask it either, so nothing relies on it. So is one whose credentials cannot be had just now:
    building again what it holds costs less than the job.

    Raises:
        CredentialsError, ConfigError, TransientError: see `access`.
    """
    handoff = handoff_cache(config, kind) if strict else None
    sources = []
    for name, cache in trusted_caches(config, kind).items():
        if without_key(cache):
            if name == handoff:
                raise ConfigError(
                    f"cache {name} cannot be fetched from",
                    problems=[f"caches.{name}: it has no public_key, so that nothing it sends can be believed"],
                    hint="pipelinegen cache info prints the key",
                )
            say(f"cache {name} is not fetched from: it has no public_key (pipelinegen cache info prints it)")
            continue
        try:
            sources.append(_source(name, cache))
        except (CredentialsError, TransientError) as error:
            if name == handoff:
                raise
            say(f"cache {name} is not fetched from: {error.message}" + (f", {error.why}" if error.why else ""))
    return sources


def _source(name: str, cache: CacheConfig) -> Source:
    if cache.backend == "attic":
        return Source(name, cache, token=_reading_token(name, cache))
    with secret_files.opened(cache.netrc_file, purpose=f"netrc file of cache {name}") as file:
        if file is None:
            return Source(name, cache)
        entries = _read_netrc(file)
    if entries is None:
        raise CredentialsError(f"the netrc file of cache {name} cannot be read", why="this user may not")
    return Source(name, cache, entries=entries)


def _reading_token(name: str, cache: CacheConfig) -> SecretStr | None:
    try:
        return secret_files.cache_token(name, cache, push=False)
    except CredentialsError:
        if cache.public:
            return None
        raise


def _read_netrc(file: Path) -> tuple[netrc.Entry, ...] | None:
    """The passwords in a file, none where there is none; null where this user may not look."""
    try:
        return tuple(netrc.parse(file.read_text("utf-8", "replace")))
    except PermissionError:
        return None
    except OSError:
        return ()


def _environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """What makes any Nix command fetch from there: ours comes first, so it wins over the user's own settings."""
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    file = write_private(folder / "nix.conf", lines)
    environment = process.environment()
    theirs = environment.get("NIX_USER_CONF_FILES")
    if theirs is None:
        home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
        others = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        theirs = ":".join(f"{place}/nix/nix.conf" for place in (home, *others.split(":")))
    return {"NIX_USER_CONF_FILES": f"{file}:{theirs}" if theirs else str(file)}
