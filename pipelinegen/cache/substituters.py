"""What Nix is told of the caches it may fetch from, and what a daemon lacks of that. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipelinegen.cache.attic.token import decode
from pipelinegen.cache.netrc import Entry, has_password
from pipelinegen.config_caches import CacheConfig
from pipelinegen.errors import CredentialsError, ToolError

LOGIN = "pipelinegen"
"""Attic looks at the password alone."""


@dataclass(frozen=True)
class Source:
    """A cache that a job may fetch from.

    Attributes:
        name: in the configuration.
        config: its settings.
        token: what reading from it takes (`attic`); null where it is open to all, or has a netrc file.
        entries: of its netrc file.
    """

    name: str
    config: CacheConfig
    token: SecretStr | None = None
    entries: tuple[Entry, ...] = ()

    @property
    def url(self) -> str:
        """See `substituter_url`."""
        return substituter_url(self.config)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys whose signatures are believed, `name:base64`."""
        return tuple((self.config.public_key or "").split())

    @property
    def host(self) -> str:
        """By which its password is looked up."""
        return urlsplit(self.config.url).hostname or ""


def substituter_url(cache: CacheConfig, *, unsigned: bool = True) -> str:
    """A cache in the words of Nix's `substituters`, in the configured order.

    Args:
        unsigned: believe it without signatures where it has no key.
    """
    extra = []
    if unsigned and not cache.public_key and cache.backend == "nix":
        extra.append("trusted=true")
    if cache.priority is not None and "priority=" not in cache.url.partition("?")[2]:
        extra.append(f"priority={cache.priority}")
    if not extra:
        return cache.url
    return cache.url + ("&" if "?" in cache.url else "?") + "&".join(extra)


def without_key(cache: CacheConfig) -> bool:
    """Whether it cannot be a substituter at all: an Attic server signs, so what it sends is never believed unsigned."""
    return cache.backend == "attic" and not cache.public_key


def passwords(sources: Sequence[Source]) -> tuple[list[Entry], list[str]]:
    """The entries of a netrc file for these caches, and what people should know about them.

    Raises:
        CredentialsError: several caches of one host need tokens, and none may pull from all of them.
    """
    by_host: dict[str, list[Source]] = {}
    for source in sources:
        if source.token is not None:
            by_host.setdefault(source.host, []).append(source)
    entries, warnings = [], []
    for host, some in by_host.items():
        token, warning = _token_for_all(host, some)
        entries.append(Entry(host, LOGIN, token))
        warnings += [warning] if warning else []
    for source in sources:
        for entry in source.entries:
            clash = next((one for one in entries if one.machine == entry.machine), None)
            if clash is not None and clash.password != entry.password:
                warnings.append(
                    f"the netrc file of cache {source.name} has another password for {entry.machine or 'all hosts'} "
                    "than a cache before it; that one is used"
                )
            entries.append(entry)
    return entries, warnings


def _token_for_all(host: str, sources: Sequence[Source]) -> tuple[SecretStr, str | None]:
    tokens = list(dict.fromkeys(source.token for source in sources if source.token is not None))
    if len(tokens) == 1:
        return tokens[0], None
    caches = sorted({cache_name(source.config.url) for source in sources})
    read = [decode(token.get_secret_value()) for token in tokens]
    for token, info in zip(tokens, read, strict=True):
        if info is not None and all(info.may(cache, "pull") for cache in caches):
            return token, None
    named = ", ".join(source.name for source in sources)
    if None in read:
        return tokens[0], (
            f"caches {named} are on {host} and have different tokens; Nix sends one per host, that of {sources[0].name}"
        )
    pulls = " ".join(f"--pull {cache}" for cache in caches)
    raise CredentialsError(
        f"no token may pull from all caches on {host}",
        where=f"caches {named}",
        why="Nix looks a password up by host alone, so that one token must do for all of them",
        hint=f"give them one token for reading: atticadm make-token --sub {LOGIN}-read --validity '90 days' {pulls}",
    )


def cache_name(url: str) -> str:
    """The name of a cache on its Attic server."""
    return urlsplit(url).path.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class DaemonSettings:
    """What the Nix daemon of this machine allows to users whom it does not trust.

    Attributes:
        substituters: all it may fetch from, whoever asks.
        public_keys: the keys it believes.
        require_sigs: whether it wants signatures.
        netrc_file: where it looks passwords up.
        netrc: what is in there; null where only the daemon may read it.
        remembers: seconds for which it believes a cache that did not have something.
    """

    substituters: tuple[str, ...]
    public_keys: frozenset[str]
    require_sigs: bool
    netrc_file: str
    netrc: tuple[Entry, ...] | None
    remembers: str = "0"

    def spelled(self, url: str) -> str | None:
        """A substituter in the daemon's own spelling, which is how it wants to hear it; null: it does not know it."""
        wanted = _bare(url)
        return next((own for own in self.substituters if _bare(own) == wanted), None)


def _bare(url: str) -> str:
    return url.partition("?")[0].rstrip("/")


def refuse_lacking(sources: Sequence[Source], daemon: DaemonSettings) -> None:
    """See that a daemon lets a user whom it does not trust fetch from these caches.

    Raises:
        ToolError: it does not. The hint has the lines that are missing in its settings; none of them gives any
            user more than those caches.
    """
    unknown = [one for one in sources if daemon.spelled(one.url) is None]
    keys = dict.fromkeys(key for one in sources for key in one.keys if key not in daemon.public_keys)
    unsigned = [one for one in sources if not one.keys and not _takes_unsigned(one, daemon)]
    asked: dict[str, list[str]] = {}
    for one in sources:
        needs = one.token is not None or has_password(one.entries, one.host)
        if needs and daemon.netrc is not None and not has_password(daemon.netrc, one.host):
            asked.setdefault(one.host, []).append(cache_name(one.config.url) or one.name)
    why: list[str] = []
    lines: list[str] = []
    if unknown:
        why.append(f"it does not fetch from {', '.join(one.name for one in unknown)} for this user")
        lines.append(
            "extra-trusted-substituters = " + " ".join(substituter_url(one.config, unsigned=False) for one in unknown)
        )
    if keys:
        why.append(f"it does not believe {len(keys)} of the keys that sign them")
        lines.append("extra-trusted-public-keys = " + " ".join(keys))
    if asked:
        why.append(f"it has no password for {', '.join(asked)}")
    if unsigned:
        names = ", ".join(one.name for one in unsigned)
        why.append(f"it takes nothing without a signature, and {names} has no public_key")
    if not why:
        return
    raise ToolError(
        "the Nix daemon would not fetch from the caches of this job",
        where=f"caches {', '.join(one.name for one in sources)}",
        why="; ".join(why),
        hint=_hint(lines, asked, unsigned, daemon.netrc_file),
    )


def _takes_unsigned(source: Source, daemon: DaemonSettings) -> bool:
    return not daemon.require_sigs or "trusted=true" in (daemon.spelled(source.url) or "").partition("?")[2]


def _hint(lines: Sequence[str], asked: Mapping[str, Sequence[str]], unsigned: Sequence[Source], netrc_file: str) -> str:
    parts = []
    if lines:
        parts += ["add to /etc/nix/nix.conf, and restart the daemon:", *(f"  {line}" for line in lines)]
    if asked:
        parts.append(f"add to {netrc_file} (of root, mode 0600):")
        parts += [
            f"  machine {host} login {LOGIN} password <a token that may pull from {', '.join(caches)}>"
            for host, caches in asked.items()
        ]
    if unsigned:
        parts.append("sign what is put there (secret_key_file), and give its public_key")
    return "\n".join(parts)
