"""The `nix` backend: any store URL that Nix can copy to (`file://`, `https://`, `s3://`, `ssh-ng://`)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

from pipelinegen import nix, secret_files
from pipelinegen.cache.model import Answers
from pipelinegen.config_caches import CacheConfig
from pipelinegen.console import clean
from pipelinegen.errors import CommandError, CredentialsError, StepFailedError, TransientError

_REFUSED = ("HTTP error 401", "HTTP error 403", "Access Denied", "Permission denied")
# Any other answer of a server is its last word.
_PASSING = re.compile(
    r"HTTP error (?:429|5\d\d)|unable to (?:down|up)load '[^']*': (?!HTTP error)|timed out|Connection|Couldn't connect"
)


class NixStoreCache:
    """A cache that Nix itself reads and writes.

    Args:
        name: its name in the configuration.
        config: its settings.
        on_line: takes Nix's lines while it copies.
        on_idle: called about once a second while nothing comes.
    """

    def __init__(
        self,
        name: str,
        config: CacheConfig,
        *,
        on_line: Callable[[str], None] | None = None,
        on_idle: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.on_line = on_line
        self.on_idle = on_idle

    @property
    def _keys(self) -> list[str] | None:
        return self.config.public_key.split() if self.config.public_key else None

    def _options(self) -> tuple[str, ...]:
        netrc = secret_files.resolve_optional(self.config.netrc_file, purpose=f"netrc file of cache {self.name}")
        return ("--option", "netrc-file", str(netrc)) if netrc else ()

    def query(self, paths: Iterable[str]) -> tuple[Answers, str | None]:
        """See `CacheBackend.query`."""
        asked = list(dict.fromkeys(paths))
        answers: Answers = dict.fromkeys(asked)
        try:
            options = self._options()
            absent = set(nix.absent_paths(asked, store=self.config.url, options=options))
        except (CommandError, CredentialsError, TransientError) as error:
            return answers, _sentence(error)
        present = [path for path in asked if path not in absent]
        answers.update(dict.fromkeys(absent, False))
        for chunk in nix.argument_chunks(present):
            answers.update(self._trusted(chunk, options))
        return answers, None

    def _trusted(self, paths: Sequence[str], options: Sequence[str]) -> dict[str, bool]:
        # One command for all in the usual case; halving finds the paths that are at fault.
        if nix.closure_trusted(paths, store=self.config.url, public_keys=self._keys, options=options):
            return dict.fromkeys(paths, True)
        if len(paths) == 1:
            return {paths[0]: False}
        middle = len(paths) // 2
        return {**self._trusted(paths[:middle], options), **self._trusted(paths[middle:], options)}

    def push(self, paths: Iterable[str]) -> None:
        """See `CacheBackend.push`."""
        url = self.config.push_url or self.config.url
        if self.config.secret_key_file:
            key = secret_files.resolve(self.config.secret_key_file, purpose=f"signing key of cache {self.name}")
            url += ("&" if "?" in url else "?") + f"secret-key={quote(str(key))}"
        try:
            nix.copy(list(paths), to=url, options=self._options(), on_line=self.on_line, on_idle=self.on_idle)
        except CommandError as error:
            raise _classify(error, f"pushing to cache {self.name} failed") from error

    def wait_until_visible(self, paths: Sequence[str], *, timeout: float, interval: float = 1.0) -> None:
        """Ask again until every path (with its closure and signatures) can be fetched.

        Caches that several servers serve, or that a proxy stands before, deny for a while what they were
        just given.

        Raises:
            StepFailedError: after `timeout` seconds some still cannot; they are named.
            TransientError: the cache could not say, for a reason that may pass.
        """
        deadline = time.monotonic() + timeout
        missing = list(paths)
        while True:
            answers, trouble = self.query(missing)
            missing = sorted(path for path, answer in answers.items() if not answer)
            if not missing:
                return
            if time.monotonic() > deadline:
                if trouble is not None and _PASSING.search(trouble):
                    raise TransientError(
                        f"cache {self.name} does not say whether it has what was pushed to it", why=trouble
                    )
                raise StepFailedError(
                    f"cache {self.name} does not serve what was pushed to it",
                    where="\n".join(missing[:10]),
                    why=trouble or "absent, incomplete, or not signed by the configured public_key",
                    hint="the public_key must belong to the secret_key_file that signs",
                )
            # One last time when the time is up.
            time.sleep(min(interval, max(deadline - time.monotonic(), 0.05)))
            interval = min(interval * 2, 15.0)

    def substituter(self) -> dict[str, str]:
        """See `CacheBackend.substituter`."""
        if self.config.public_key:
            return {"url": self.config.url, "public_key": self.config.public_key}
        separator = "&" if "?" in self.config.url else "?"
        return {"url": f"{self.config.url}{separator}trusted=true"}


def _sentence(error: Exception) -> str:
    if isinstance(error, CommandError):
        lines = [clean(line, colour=False) for line in error.stderr_tail if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        return (errors or lines or [error.message])[-1]
    return getattr(error, "message", str(error))


def _classify(error: CommandError, message: str) -> StepFailedError | CredentialsError | TransientError:
    text = "\n".join(error.stderr_tail)
    why = _sentence(error)
    if any(mark in text for mark in _REFUSED):
        return CredentialsError(message, why=why, hint="check the token or key of this cache")
    if _PASSING.search(text):
        return TransientError(message, why=why)
    return StepFailedError(message, why=why)
