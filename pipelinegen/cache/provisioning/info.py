"""What is known of a cache, as values: what `cache info` shows. Pure."""

from __future__ import annotations

from pipelinegen.cache.provisioning.provision import Setting
from pipelinegen.config_caches import WriterClass
from pipelinegen.values import Value


class Finding(Value):
    """Something to know about a cache.

    Attributes:
        exit_code: 0 is for knowing only, 1 means that it cannot be used, 4 that credentials are at fault.
        message: one sentence without a full stop.
        hint: what to do about it.
    """

    exit_code: int
    message: str
    hint: str | None = None


class TokenReport(Value):
    """What a token of this machine says of itself, for one cache.

    Attributes:
        purpose: `reading`, `pushing`, or both.
        source: the variable or file it is from.
        readable: whether it could be read here at all.
        subject: whom it was made for.
        permissions: words of `token.PERMISSIONS`, in their order.
        expires: seconds since the epoch; null where it has no end, or cannot be read.
        until: the same for people.
        accepted: whether the server took it for pushing; null where that was not asked.
    """

    purpose: str
    source: str
    readable: bool = True
    subject: str | None = None
    permissions: tuple[str, ...] = ()
    expires: int | None = None
    until: str | None = None
    accepted: bool | None = None


class CacheInfo(Value):
    """One cache.

    Attributes:
        settings: what the server says, in the words of `provision.WIRE`; null where it does not.
        api_endpoint, public_key: what it says of itself.
        key_matches: whether that key is among the configured ones; null where either is not known.
        tokens: of this machine.
        findings: in the order of their weight.
        advice: about the retention.
        add: lines for pipelinegen.toml.
    """

    name: str
    url: str
    push_url: str | None
    writers: WriterClass
    backend: str
    publish: bool
    public_keys: tuple[str, ...] = ()
    settings: dict[str, Setting] | None = None
    api_endpoint: str | None = None
    public_key: str | None = None
    key_matches: bool | None = None
    tokens: tuple[TokenReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    advice: tuple[str, ...] = ()
    add: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """The worst of its findings."""
        return max((finding.exit_code for finding in self.findings), default=0)
