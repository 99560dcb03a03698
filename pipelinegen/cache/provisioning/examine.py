"""What an Attic server says of a cache, what the tokens of this machine may do there, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipelinegen.cache.attic import endpoint, loop, protocol, token
from pipelinegen.cache.attic.client import AtticClient
from pipelinegen.cache.attic.protocol import CacheSettings
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.model import FailureClass
from pipelinegen.cache.provisioning import client_lines, provision, wording
from pipelinegen.cache.provisioning.advice import retention_advice
from pipelinegen.cache.provisioning.info import CacheInfo, Finding, TokenReport
from pipelinegen.characters import inert
from pipelinegen.config_caches import CacheConfig, WriterClass
from pipelinegen.errors import ConfigError, CredentialsError, ToolError, TransientError
from pipelinegen.secret_files import cache_token
from pipelinegen.secret_references import is_reference

ANSWER_SECONDS = 30.0
SOON_DAYS = 14
DAY = 86400

NOWHERE = "00000000000000000000000000000000"
"""Hash of a store path that no cache holds: asking for it tells whether asking is allowed."""

_HERE = {"localhost", "127.0.0.1", "::1"}
_NEXT = "`pipelinegen cache token` prints how to make the next one"


def examine(name: str, cache: CacheConfig, now: Callable[[], float], base: CacheInfo) -> CacheInfo:
    """`base` with everything that can be found out.

    Args:
        now: seconds since the epoch.
    """
    return _Attic(name, cache, now).survey(base)


@dataclass(frozen=True)
class _Held:
    """A token of this machine and what it is for."""

    purpose: str
    source: str
    secret: SecretStr


@dataclass
class _Attic:
    name: str
    cache: CacheConfig
    now: Callable[[], float]
    findings: list[Finding] = field(default_factory=list)

    def survey(self, base: CacheInfo) -> CacheInfo:
        held = self._held()
        if held:
            self._in_the_clear()
        settings = self._settings(held)
        tokens = tuple(self._token(one) for one in held)
        update: dict[str, object] = {"tokens": tokens}
        if settings is not None:
            update |= self._told(settings)
        update["findings"] = tuple(sorted(self.findings, key=lambda one: -one.exit_code))
        return base.model_copy(update=update)

    def _held(self) -> list[_Held]:
        """The tokens that this machine has; what is configured and missing becomes a finding."""
        cache, found = self.cache, []
        separate = bool(cache.push_token_file or cache.push_token_env)
        for push in (False, True) if separate else (False,):
            file, variable = (
                (cache.push_token_file, cache.push_token_env) if push else (cache.token_file, cache.token_env)
            )
            purpose = ("pushing" if push else "reading") if separate else "reading and pushing"
            try:
                secret = cache_token(self.name, cache, push=push)
            except (CredentialsError, ConfigError, ToolError, TransientError) as error:
                why = f": {error.why}" if error.why else ""
                self._find(0, f"{error.message} ({error.where}){why}", error.hint)
                continue
            if secret is not None:
                kind = "reference" if is_reference(file) else "file"
                source = f"variable {variable}" if variable else f"{kind} {file}"
                found.append(_Held(purpose, source, secret))
        return found

    def _settings(self, held: list[_Held]) -> CacheSettings | None:
        secret = held[0].secret if held else None

        async def ask() -> CacheSettings:
            async with self._client(self.cache.url, secret) as client:
                return await client.settings()

        try:
            return loop.run(ask())
        except RefusedError as error:
            self._refused(error)
            return None

    def _told(self, settings: CacheSettings) -> dict[str, object]:
        cache = self.cache
        key = client_lines.readable_key(settings.public_key)
        configured = (cache.public_key or "").split()
        add: list[str] = []
        if key is not None and not configured:
            self._find(1, "it has no public_key in the configuration, so nothing that it holds is believed")
            add = client_lines.toml_lines(self.name, key)
        elif key is not None and key not in configured:
            self._find(
                1,
                "the configured public_key is not the one that it signs with: nothing that it holds is believed",
                "was the cache made anew? Then write the new key into pipelinegen.toml and into all nix.conf files",
            )
            add = client_lines.toml_lines(self.name, key)
        self._endpoints(settings)
        if cache.writers is not WriterClass.UPSTREAM:
            self._drift(settings)
        return {
            "settings": {name: value for name, value in provision.current(settings).items() if name in provision.WIRE},
            "api_endpoint": settings.api_endpoint,
            "public_key": key,
            "key_matches": key in configured if key is not None and configured else None,
            "advice": retention_advice(settings, warms=bool(cache.warm), publishes=cache.publish),
            "add": tuple(add),
        }

    def _endpoints(self, settings: CacheSettings) -> None:
        where = protocol.address(self.cache.push_url or self.cache.url)
        named = settings.api_endpoint
        if self.cache.push_url is not None and named is not None:
            where = where._replace(endpoint=named)  # it is not followed, so that it may well be another
        for sentence in endpoint.troubles(settings, where):
            self._find(0, sentence)
        if self.cache.url.startswith("https:") and (settings.substituter_endpoint or "").startswith("http:"):
            self._find(
                0, "the server tells people to substitute over unencrypted http", "its api-endpoint is to be https"
            )

    def _in_the_clear(self) -> None:
        for url in dict.fromkeys((self.cache.url, self.cache.push_url or self.cache.url)):
            parts = urlsplit(url)
            if parts.scheme == "http" and parts.hostname not in _HERE:
                self._find(0, f"tokens travel unencrypted to {url}", "serve it over https")

    def _drift(self, settings: CacheSettings) -> None:
        try:
            plan = provision.make_plan(self.name, self.cache, settings)
        except ConfigError as error:
            self._find(1, error.message, error.hint)
            return
        if plan.changes:
            differing = ", ".join(
                f"{one.field} ({wording.words(one.field, one.before)}, configured: "
                f"{wording.words(one.field, one.after)})"
                for one in plan.changes
            )
            self._find(0, f"it is not as configured: {inert(differing)}", f"pipelinegen cache provision {self.name}")

    def _token(self, held: _Held) -> TokenReport:
        info = token.decode(held.secret.get_secret_value())
        cache = protocol.address(self.cache.url).cache
        report = TokenReport(purpose=held.purpose, source=held.source, readable=info is not None)
        expired = False
        if info is not None:
            allowed = info.permissions(cache)
            report = report.model_copy(
                update={
                    "subject": inert(info.subject) if info.subject is not None else None,
                    "permissions": tuple(word for word in token.PERMISSIONS if word in allowed),
                    "expires": info.expires,
                    "until": token.until(info),
                }
            )
            expired = self._lasts(held, info)
        if expired or "pushing" not in held.purpose or (info is not None and not info.may(cache, "push")):
            if held.purpose == "pushing" and not expired:
                self._find(4, f"the token of {held.source} does not allow to push to {cache}")
            return report
        return report.model_copy(update={"accepted": self._accepted(held)})

    def _lasts(self, held: _Held, info: token.TokenInfo) -> bool:
        """Say when it ends, or ended; whether it did."""
        now = self.now()
        if info.expired(now):
            self._find(4, f"the token of {held.source} expired at {token.moment(info.expires)}", _NEXT)
            return True
        if info.expires is not None and info.expires - now < SOON_DAYS * DAY:
            days = int((info.expires - now) // DAY)
            left = f"in {days} day{'' if days == 1 else 's'}" if days else "today"
            self._find(0, f"the token of {held.source} expires {left}, at {token.moment(info.expires)}", _NEXT)
        return False

    def _accepted(self, held: _Held) -> bool | None:
        """Whether the server lets it push: a token that it does not accept is silently as good as none.

        Null where that was not the question at all.
        """
        cache = self.cache

        async def ask() -> None:
            async with self._client(cache.push_url or cache.url, held.secret) as client:
                endpoint.follow(client, await client.settings(), fixed=cache.push_url is not None)
                await client.missing([NOWHERE])

        try:
            loop.run(ask())
        except RefusedError as error:
            return self._refused(error)
        return True

    def _client(self, url: str, secret: SecretStr | None) -> AtticClient:
        return AtticClient(protocol.address(url), secret, answer_timeout=ANSWER_SECONDS, connections=1, now=self.now)

    def _refused(self, error: RefusedError) -> bool | None:
        """Remember a refusal; false where the token is the reason, null otherwise."""
        refused = error.failure in {FailureClass.UNAUTHORIZED, FailureClass.FORBIDDEN}
        self._find(4 if refused else 1, inert(error.message), error.hint)
        return False if refused else None

    def _find(self, exit_code: int, message: str, hint: str | None = None) -> None:
        finding = Finding(exit_code=exit_code, message=message, hint=hint)
        if finding.message not in {one.message for one in self.findings}:
            self.findings.append(finding)
