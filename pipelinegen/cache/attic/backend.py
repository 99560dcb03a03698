"""The `attic` backend: an Attic server, asked and filled by its own protocol, read by Nix."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipelinegen import local_store, remote_store
from pipelinegen.cache import netrc, visibility
from pipelinegen.cache.attic import endpoint, loop, token
from pipelinegen.cache.attic.client import AtticClient
from pipelinegen.cache.attic.protocol import Address, CacheSettings, address, store_hash
from pipelinegen.cache.attic.push import (
    added,
    find_missing,
    left_to_upstream,
    limits_for,
    lost_report,
    nar_url,
    patiently,
    send_missing,
    touch_all,
)
from pipelinegen.cache.attic.query import closures_held
from pipelinegen.cache.attic.refusals import RefusedError
from pipelinegen.cache.attic.served import SENT, Served, sample_of
from pipelinegen.cache.attic.upload import Limits, upload_all
from pipelinegen.cache.model import (
    Answers,
    CacheBackend,
    FailureClass,
    PathReport,
    PushError,
    PushProgress,
    PushReport,
)
from pipelinegen.cache.nix_store import REFUSED
from pipelinegen.config_caches import CacheConfig, Pushing
from pipelinegen.console import clean
from pipelinegen.durations import seconds
from pipelinegen.errors import CommandError, ConfigError, CredentialsError, StepFailedError, ToolError, TransientError
from pipelinegen.path_info import PathInfo
from pipelinegen.private_files import private_folder, write_private
from pipelinegen.secret_files import cache_token

QUERY_SECONDS = 60.0
QUERY_ATTEMPTS = 3
NO_KEY = "it has no public_key in the configuration, and nothing is believed without"


class AtticCache:
    """A cache on an Attic server.

    Args:
        name: its name in the configuration.
        config: its settings.
        pushing: how hard to try.
        upstream: the caches that it leaves paths to.
        notice: takes sentences that people should read.
        reads_push_token: whether the token for pushing may be used for asking, too.
        on_idle: called about once a second where nothing else is told.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        name: str,
        config: CacheConfig,
        *,
        pushing: Pushing | None = None,
        upstream: Sequence[CacheBackend] = (),
        notice: Callable[[str], None] = lambda _: None,
        reads_push_token: bool = True,
        on_idle: Callable[[], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.config = config
        self._pushing = pushing or Pushing()
        self._upstream = tuple(upstream)
        self._notice = notice
        self._reads_push_token = reads_push_token
        self._on_idle = on_idle
        self._now = now

    def query(self, paths: Iterable[str]) -> tuple[Answers, str | None]:
        """See `CacheBackend.query`."""
        asked = list(dict.fromkeys(paths))
        answers: Answers = dict.fromkeys(asked)
        if not asked or self.config.public_key is None:
            return answers, NO_KEY if asked else None
        try:
            pusher = self._token_for_asking()
            reader = pusher or cache_token(self.name, self.config, push=False)
            present = asked if pusher is None else self._present(asked, pusher)
        except (CredentialsError, RefusedError, ToolError, TransientError) as error:
            return answers, error.message
        there = set(present)
        answers.update(dict.fromkeys((path for path in asked if path not in there), False))
        with self._netrc(reader) as options:
            held, trouble = closures_held(
                present,
                store_url=self.config.url,
                public_keys=self.config.public_key.split(),
                options=options,
                elsewhere=self._elsewhere,
            )
        answers.update(held)
        if trouble is not None and any(mark in trouble for mark in REFUSED):
            # What Nix says of it is no more than the status.
            said = None if reader is None else reader.get_secret_value()
            trouble += f"; {token.complaint(said, address(self.config.url).cache, 'pull', self._now())}"
        return answers, trouble

    def _token_for_asking(self) -> SecretStr | None:
        """The token that may ask for many paths at once, which takes the right to push; null where none does."""
        try:
            secret = cache_token(self.name, self.config, push=self._reads_push_token)
        except CredentialsError:
            return None  # push tokens are in few jobs
        if secret is None:
            return None
        info = token.decode(secret.get_secret_value())
        return secret if info is None or info.may(address(self.config.url).cache, "push") else None

    def _present(self, paths: Sequence[str], secret: SecretStr) -> Sequence[str]:
        """Which of `paths` the server says it has; all of them where the token turns out to be too narrow."""
        limits = limits_for(1, QUERY_ATTEMPTS, QUERY_SECONDS)

        async def ask() -> set[str]:
            async with self._client(address(self.config.url), secret) as client:
                return await patiently(lambda: client.missing([store_hash(path) for path in paths]), limits)

        try:
            lacking = loop.run(ask())
        except RefusedError as error:
            if error.failure in {FailureClass.UNAUTHORIZED, FailureClass.FORBIDDEN}:
                return paths
            raise
        return [path for path in paths if store_hash(path) not in lacking]

    def _elsewhere(self, paths: Sequence[str]) -> Mapping[str, bool | None]:
        answers: Answers = dict.fromkeys(paths, False)
        for cache in self._upstream:
            left = [path for path, answer in answers.items() if not answer]
            if not left:
                break
            found, _ = cache.query(left)
            answers.update({path: answer for path, answer in found.items() if answer is not False})
        return answers

    def push(self, paths: Sequence[str], *, on_progress: Callable[[PushProgress], None] | None = None) -> PushReport:
        """See `CacheBackend.push`. Realisations stay here: Attic's protocol has no place for them.

        Raises:
            ConfigError: there is no public key: nobody would believe what was pushed.
        """
        self._public_key()
        roots = list(dict.fromkeys(path for path in paths if "!" not in path))
        infos = local_store.closure_infos(roots)
        secret = cache_token(self.name, self.config, push=True)
        limits = limits_for(self._pushing.jobs, self._pushing.attempts, seconds(self._pushing.deadline) or 0.0)
        try:
            sending = self._send(infos, secret, limits, on_progress or (lambda _: None))
            reports, where = loop.run(sending, on_idle=self._on_idle)
        except RefusedError as error:
            raise self._error(error) from error
        with self._netrc(secret) as options:
            served = Served(self.config.url, self.config.public_key, options, self._on_idle, limits.deadline)

            def send_again(those: Sequence[PathInfo]) -> dict[str, PathReport]:
                return loop.run(self._send_again(those, where, secret, limits), on_idle=self._on_idle)

            try:
                verified = self._verify(served, roots, infos, reports, send_again)
            except (CommandError, TransientError) as error:
                # The server itself says that it has everything.
                verified = 0
                why = remote_store.sentence(error)
                self._notice(f"cache {self.name}: what was pushed could not be fetched from here to look at it: {why}")
        return PushReport(paths=tuple(reports[path] for path in sorted(reports)), verified=verified)

    async def _send(
        self,
        infos: Sequence[PathInfo],
        secret: SecretStr | None,
        limits: Limits,
        on_progress: Callable[[PushProgress], None],
    ) -> tuple[dict[str, PathReport], Address]:
        """What became of each path, and where they were sent."""
        first = address(self.config.push_url or self.config.url)
        async with self._client(first, secret) as client:
            try:
                missing = await find_missing(
                    client,
                    infos,
                    limits,
                    include_upstream=self.config.include_upstream,
                    fixed=self.config.push_url is not None,
                )
                self._check(missing.settings, infos)
                return await send_missing(missing, limits, on_progress), client.address
            except RefusedError as error:
                raise endpoint.moved(error, first.endpoint, client.address.endpoint) from error

    def _verify(
        self,
        served: Served,
        roots: Sequence[str],
        infos: Sequence[PathInfo],
        reports: dict[str, PathReport],
        send_again: Callable[[Sequence[PathInfo]], dict[str, PathReport]],
    ) -> int:
        """Fetch as a machine would what was sent: all of it by name, and of the roots a sample with its content.

        What is not served is sent once more; what then is not served either counts as failed in `reports`.

        Returns:
            How many roots were fetched.
        """
        sample = sample_of(roots, infos, reports, self._pushing.sample_mb << 20)
        again: dict[str, str] = {}
        for attempt in range(2):
            sent = [path for path, report in reports.items() if report.outcome in SENT]
            again = served.unserved(sorted(sent if attempt == 0 else again), sample)
            if not again or attempt == 1:
                break
            repeated = send_again([info for info in infos if info.path in again])
            # What could not be sent again may be served by now all the same.
            reports.update(
                {path: added(reports[path], report) for path, report in repeated.items() if report.outcome in SENT}
            )
        reports.update({path: lost_report(reports[path], why) for path, why in again.items()})
        return len(sample)

    async def _send_again(
        self, infos: Sequence[PathInfo], where: Address, secret: SecretStr | None, limits: Limits
    ) -> dict[str, PathReport]:
        async with self._client(where, secret) as client:
            return await upload_all(infos, client.upload, limits)

    def wait_until_visible(self, paths: Sequence[str], *, timeout: float) -> None:
        """See `CacheBackend.wait_until_visible`."""
        visibility.wait(
            self.name,
            self.query,
            [path for path in paths if "!" not in path],
            timeout=timeout,
            hint="`pipelinegen cache info` says what the server, its key and the token allow; what the cache leaves "
            'to upstream must be in a configured cache with writers = "upstream"',
        )

    def touch(self, paths: Sequence[str]) -> int:
        """See `CacheBackend.touch`. Attic counts downloads of archives, and nothing else, as use."""
        infos = local_store.closure_infos(paths)
        limits = limits_for(self._pushing.jobs, self._pushing.attempts, seconds(self._pushing.deadline) or 0.0)
        reader = cache_token(self.name, self.config, push=False)

        async def fetch() -> int:
            async with self._client(address(self.config.url), reader) as client:
                settings = await patiently(client.settings, limits)
                left = set() if self.config.include_upstream else left_to_upstream(infos, settings)
                urls = [nar_url(self.config.url, info.path) for info in infos if info.path not in left]
                return await touch_all(client, urls, self._pushing.jobs, limits)

        try:
            return loop.run(fetch(), on_idle=self._on_idle)
        except RefusedError as error:
            raise self._error(error) from error

    def _public_key(self) -> str:
        if self.config.public_key is None:
            raise ConfigError(
                f"cache {self.name} has no public_key",
                problems=["nothing that an Attic server holds is believed without"],
                hint=f"`pipelinegen cache info {self.name}` prints the line to configure",
            )
        return self.config.public_key

    def _client(self, where: Address, secret: SecretStr | None) -> AtticClient:
        return AtticClient(
            where,
            secret,
            stall_timeout=self._pushing.stall_timeout,
            answer_timeout=self._pushing.answer_timeout,
            connections=self._pushing.jobs,
            now=self._now,
        )

    @contextlib.contextmanager
    def _netrc(self, secret: SecretStr | None) -> Iterator[tuple[str, ...]]:
        """Nix's options with the token, in a file that nobody else can read and that is gone afterwards."""
        if secret is None:
            yield ()
            return
        host = urlsplit(self.config.url).hostname or ""
        with private_folder() as folder:
            file = write_private(folder / "netrc", netrc.text([netrc.Entry(host, "pipelinegen", secret)]))
            yield ("--option", "netrc-file", str(file))

    def _error(self, error: RefusedError) -> PushError:
        message = f"cache {self.name} takes nothing"
        if error.failure in {FailureClass.UNAUTHORIZED, FailureClass.FORBIDDEN}:
            return CredentialsError(message, why=error.message, hint=error.hint)
        kind = StepFailedError if error.failure.permanent else TransientError
        return kind(message, why=error.message, hint=error.hint)

    def _check(self, settings: CacheSettings, infos: Sequence[PathInfo]) -> None:
        """Before anything is sent: what is pushed must be of use to those who fetch it."""
        stores = {info.path.rpartition("/")[0] for info in infos}
        if settings.store_dir is not None and not stores <= {settings.store_dir}:
            raise StepFailedError(
                f"cache {self.name} is for another store",
                why=f"it holds paths of {clean(settings.store_dir, colour=False)}, not of {', '.join(sorted(stores))}",
            )
        theirs = settings.public_key
        if theirs is not None and theirs not in self._public_key().split():
            raise StepFailedError(
                f"cache {self.name} signs with another key than the configured one",
                why=f"the server says {clean(theirs, colour=False)}",
                hint="nothing that it holds would be believed; `pipelinegen cache info` prints the line to configure",
            )
