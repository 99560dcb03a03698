"""One function per Nix command that pipelinegen uses; nothing else knows Nix's flags.

What is about this machine's store alone (closures, exports, roots, output paths) is in `local_store`, what asks
other stores or copies to them in `remote_store`.

The classic commands (`nix-store`, `nix-instantiate`) are preferred: their words and output have been stable
from Nix 2.8 to 2.34, while `nix … --json` differs between versions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelinegen import process
from pipelinegen.errors import ToolError
from pipelinegen.values import Value

FEATURES = ("--extra-experimental-features", "nix-command flakes")
ARGUMENT_BYTES = 100_000
"""Store paths per command line: far below Linux's 128 KiB for one argument and 2 MiB for all."""

MANY = 400_000
"""The same where one process for some 5,000 paths is worth it: it takes a fifth of what Linux lets pass."""

EVALUATOR_GRACE_SECONDS = 0.25
"""Nix looks for signals when it builds or fetches, which it should end properly, but never while it evaluates."""

_HINT = "install Nix, or use the CI image, which has it"


def option_words(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Settings as command line options."""
    return tuple(word for name, value in settings.items() for word in ("--option", name, value))


_ASKED_AGAIN = {"narinfo-cache-negative-ttl": "0", "narinfo-cache-positive-ttl": "0"}
FORGET = option_words(_ASKED_AGAIN)
"""What a cache said earlier does not count: it may hold a path since, or may have deleted it."""

PATIENCE = {"connect-timeout": "15", "stalled-download-timeout": "60", "download-attempts": "3"}
"""Nix's own are 300 seconds of silence, five times: a server that hangs would hold a job up for half an hour."""


class Substitution(Value):
    """Where a command may fetch from, exactly; the machine's own settings do not count.

    Attributes:
        substituters: store URLs, the preferred one first.
        public_keys: `name:base64` keys whose signatures are accepted; null leaves that to a daemon.
        netrc_file: credentials for HTTP caches.
    """

    substituters: tuple[str, ...] = ()
    public_keys: tuple[str, ...] | None = ()
    netrc_file: Path | None = None

    def settings(self) -> dict[str, str]:
        """As settings of Nix. A path that was absent a minute ago is asked for again (TTL 0)."""
        settings = {"substituters": " ".join(self.substituters)}
        if self.public_keys is not None:
            settings |= {"trusted-public-keys": " ".join(self.public_keys), "require-sigs": "true", **_ASKED_AGAIN}
        if self.netrc_file is not None:
            settings["netrc-file"] = str(self.netrc_file)
        return settings | PATIENCE

    def options(self) -> tuple[str, ...]:
        """The same as command line options."""
        return option_words(self.settings())


def argument_chunks(paths: Iterable[str], *, limit: int | None = None) -> Iterator[list[str]]:
    """Split `paths` so that each part fits a command line: into `limit` bytes, `ARGUMENT_BYTES` where it is null."""
    most = ARGUMENT_BYTES if limit is None else limit
    chunk: list[str] = []
    size = 0
    for path in paths:
        if chunk and size + len(path) + 1 > most:
            yield chunk
            chunk, size = [], 0
        chunk.append(path)
        size += len(path) + 1
    if chunk:
        yield chunk


def version() -> str:
    """The version of the Nix on PATH, such as `2.26.3`.

    Raises:
        ToolError: there is no Nix, or it does not say its version.
    """
    process.find_tool("nix", hint=_HINT)
    text = process.run(["nix", "--version"], timeout=60).text
    match = re.search(r"(\d+\.\d+[\w.]*)", text)
    if match is None:
        raise ToolError("nix does not say its version", why=text.strip()[:200])
    return match.group(1)


def flake_metadata(
    reference: str, *, cwd: Path | None = None, on_line: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """`nix flake metadata --json`: what Nix locked, where its source is, the lock file.

    Args:
        on_line: takes each line that Nix says on stderr.

    Raises:
        CommandError: Nix cannot read the flake; its message is in `stderr_tail`.
    """
    command = ["nix", *FEATURES, "flake", "metadata", "--json", "--no-write-lock-file", reference]
    result = process.run(command, cwd=cwd, env=_environment(), on_line=on_line)
    metadata: dict[str, Any] = json.loads(result.stdout)
    return metadata


def settings(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The settings of the Nix on this machine, as text, by name. `env` is the environment; null means ours."""
    # `show-config` became `config show` in 2.19; the old name answers with a warning since.
    result = process.run(["nix", *FEATURES, "config", "show"], allowed="any", timeout=60, env=env)
    if result.returncode != 0:
        result = process.run(["nix", *FEATURES, "show-config"], timeout=60, env=env)
    pairs = (line.partition(" = ") for line in result.text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def substitute(
    paths: Sequence[str],
    substitution: Substitution | None,
    *,
    options: Sequence[str] = (),
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
) -> list[str]:
    """Fetch store paths by name, with their closures; the ones that could not be fetched.

    A path that is asked for by name is fetched even where its derivation says `allowSubstitutes = false`.
    Without `substitution` the machine's own settings count.
    """
    missing: list[str] = []
    where = substitution.options() if substitution is not None else ()
    for chunk in argument_chunks(paths):
        result = process.run(
            ["nix-store", "--realise", "--keep-going", *where, *options, *chunk],
            allowed="any",
            on_line=on_line,
            on_idle=on_idle,
        )
        if result.returncode != 0:
            missing += invalid_paths(chunk)
    return missing


def realise(
    installables: Sequence[str],
    substitution: Substitution | None,
    *,
    options: Sequence[str] = (),
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
) -> int:
    """Build (or fetch) `/nix/store/….drv!out,dev` and store paths, going on after a failure.

    Returns:
        Nix's exit code; not 0 when something could not be built.
    """
    code = 0
    for chunk in argument_chunks(installables):
        where = substitution.options() if substitution is not None else ()
        result = process.run(
            ["nix-store", "--realise", "--keep-going", *where, *options, *chunk],
            allowed="any",
            on_line=on_line,
            on_idle=on_idle,
        )
        code = code or result.returncode
    return code


def invalid_paths(paths: Sequence[str]) -> list[str]:
    """Which of `paths` the local store does not hold."""
    invalid: list[str] = []
    for chunk in argument_chunks(paths):
        invalid += process.run(["nix-store", "--check-validity", "--print-invalid", *chunk]).text.split()
    return invalid


def flake_check(
    reference: str,
    *,
    cwd: Path,
    on_line: Callable[[str], None],
    on_idle: Callable[[], None],
    extra: Mapping[str, str] | None = None,
) -> int:
    """`nix flake check --no-build`, with `extra` variables; Nix's exit code."""
    command = ["nix", *FEATURES, "flake", "check", "--no-build", "--no-write-lock-file", reference]
    ran = process.run(command, cwd=cwd, env=_environment(extra), allowed="any", on_line=on_line, on_idle=on_idle)
    return ran.returncode


def evaluate(
    expression: str,
    *,
    pure: bool,
    allow_import_from_derivation: bool,
    max_memory_mb: int,
    on_line: Callable[[str], None],
    on_idle: Callable[[], None],
    cache_home: Path | None = None,
) -> int:
    """Evaluate an expression for what it traces, writing the derivations that it makes to the store.

    Args:
        expression: given by standard input, since it is larger than an argument may be.
        pure: see nothing but what is locked by a hash.
        max_memory_mb: ceiling of the evaluator's heap in MiB. The builds that evaluation needs do not count:
            a limit of the process would be theirs, too.
        on_line: takes the lines of Nix's `internal-json` log format.
        on_idle: see `process.run`.
        cache_home: `XDG_CACHE_HOME`, in which Nix has its caches; null means the user's.

    Returns:
        The exit code; negative when a signal ended the evaluator.
    """
    return process.run(
        _evaluation(pure=pure, allow_import_from_derivation=allow_import_from_derivation),
        env=_with_heap(max_memory_mb) | (_caches_in(cache_home) if cache_home else {}),
        stdin=expression.encode(),
        allowed="any",
        on_line=on_line,
        on_idle=on_idle,
        grace=EVALUATOR_GRACE_SECONDS,
    ).returncode


def _caches_in(home: Path) -> dict[str, str]:
    # The second counts before the first since 2.24.
    return {"XDG_CACHE_HOME": str(home), "NIX_CACHE_HOME": str(home / "nix")}


def evaluate_json(
    expression: str,
    *,
    pure: bool,
    allow_import_from_derivation: bool,
    max_memory_mb: int,
    timeout: float,
    on_line: Callable[[str], None],
) -> str:
    """The value of an expression as JSON; see `evaluate`.

    Args:
        timeout: seconds that it may take.

    Raises:
        CommandError: it has no value.
        TransientError: its time was up.
    """
    return process.run(
        _evaluation("--strict", "--json", pure=pure, allow_import_from_derivation=allow_import_from_derivation),
        env=_with_heap(max_memory_mb),
        stdin=expression.encode(),
        timeout=timeout,
        on_line=on_line,
        grace=EVALUATOR_GRACE_SECONDS,
    ).text


def evaluate_raw(installable: str, *, on_line: Callable[[str], None]) -> str:
    """The text that an attribute of a flake is: `nix eval --raw`.

    Raises:
        CommandError: it cannot be evaluated, or is no text.
    """
    command = ["nix", *FEATURES, "eval", "--raw", "--no-write-lock-file", installable]
    return process.run(command, env=_environment(), on_line=on_line).text.strip()


def _evaluation(*options: str, pure: bool, allow_import_from_derivation: bool) -> list[str]:
    """The command that evaluates what it reads from its standard input."""
    return [
        *("nix-instantiate", *FEATURES, "--eval", *options, "--read-write-mode", "--show-trace"),
        *("--log-format", "internal-json"),
        *("--option", "pure-eval", str(pure).lower()),
        *("--option", "allow-import-from-derivation", str(allow_import_from_derivation).lower(), "-"),
    ]


def _with_heap(max_memory_mb: int) -> dict[str, str]:
    # The collector that Nix links (Boehm's) reads its limit, in bytes, from the environment.
    return _environment({"GC_MAXIMUM_HEAP_SIZE": str(max_memory_mb << 20)})


def eval_jobs(
    expression: str,
    *,
    workers: int,
    pure: bool,
    allow_import_from_derivation: bool,
    max_memory_mb: int,
    on_stdout: Callable[[bytes], None],
    on_line: Callable[[str], None],
    on_idle: Callable[[], None],
) -> int:
    """`nix-eval-jobs`: evaluate the attributes of an expression and write their derivations to the store.

    Args:
        expression: fits a command line.
        workers: processes at once.
        pure: see nothing but what is locked by a hash.
        max_memory_mb: a worker that needs more is replaced.
        on_stdout: takes its JSON lines, in chunks.
        on_line: takes the lines of Nix's `internal-json` log format.
        on_idle: see `process.run`.

    Returns:
        The exit code; not 0 when it did not come to its end.
    """
    command = [
        *("nix-eval-jobs", "--extra-experimental-features", "nix-command flakes", "--log-format", "internal-json"),
        *("--workers", str(workers), "--max-memory-size", str(max_memory_mb), "--meta"),
        *(["--option", "pure-eval", "true"] if pure else ["--impure"]),
        *("--option", "allow-import-from-derivation", str(allow_import_from_derivation).lower()),
        *("--expr", expression),
    ]
    return process.run(
        command,
        env=_environment(),
        allowed="any",
        on_stdout=on_stdout,
        on_line=on_line,
        on_idle=on_idle,
        grace=EVALUATOR_GRACE_SECONDS,
    ).returncode


_ANOTHER_REPOSITORY = frozenset(
    f"GIT_{name}"
    for name in (
        *("DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "COMMON_DIR"),
        *("PREFIX", "NAMESPACE", "IMPLICIT_WORK_TREE", "GRAFT_FILE", "SHALLOW_FILE", "NO_REPLACE_OBJECTS"),
    )
)
"""Inside a git hook these name a repository; the git that Nix runs must look at the one it is asked for."""


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return process.environment(without=lambda name: name in _ANOTHER_REPOSITORY, extra=extra)
