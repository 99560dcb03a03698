"""One function per Nix command that asks another store, or copies to one.

Nix keeps what caches said in a folder. A function that takes `memory` uses that one instead of the user's: what
was asked within one question is not asked twice, and what a cache said before that does not count.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelinegen import nix, path_info, process
from pipelinegen.console import clean
from pipelinegen.errors import CommandError
from pipelinegen.path_info import PathInfo

_MEMORY = ("XDG_CACHE_HOME", "NIX_CACHE_HOME")
"""Where Nix keeps what caches said; the second one wins, from Nix 2.25 on."""

_REMEMBER = (
    *("--option", "narinfo-cache-negative-ttl", "3600"),
    *("--option", "narinfo-cache-positive-ttl", "3600"),
)
"""A memory of one question is younger; the machine may be set to remember nothing."""

_SOON = (
    *("--option", "download-attempts", "2"),
    *("--option", "connect-timeout", "15"),
    *("--option", "stalled-download-timeout", "30"),  # 300 without: a server that hangs would hold up everything
)

_UNTRUSTED_BIT = 2
"""Exit code of `nix store verify` when signatures are all that is wrong."""
_UNTRUSTED = re.compile(r"path '([^']+)' is untrusted")
_LISTED = re.compile(r"  (/\S+)")
_STATUS = re.compile(r"^finished (?:down|up)load of .* HTTP status = (\d+)")
_NO_CACHE = "does not appear to be a binary cache"


def infos(
    paths: Sequence[str], *, store: str, options: Sequence[str] = (), memory: Path, hurry: bool = True
) -> dict[str, PathInfo | None]:
    """What another store knows of each path; null where it does not hold it.

    Not by `nix-store --check-validity`: that of Nix 2.34 crashes on HTTP stores.

    Args:
        paths: full store paths.
        store: store URL.
        options: extra options, such as a netrc file.
        memory: folder for what the store says.
        hurry: give up soon when it does not answer, instead of as late as Nix is set to.

    Raises:
        CommandError: the store does not answer.
    """
    common = (*_REMEMBER, *(_SOON if hurry else ()), *options)
    answers: dict[str, PathInfo | None] = {}
    files, derivations = _kinds(paths)
    for chunk in nix.argument_chunks(files, limit=nix.MANY):
        answers.update(_infos(chunk, store, common, memory))
    for chunk in nix.argument_chunks(derivations, limit=nix.MANY):
        answers.update(_derivation_infos(chunk, store, common, memory))
    return {path: answers[path] for path in paths}


def _kinds(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is no derivation, and what is one: told plainly, its path means its outputs to versions before 2.13."""
    return [path for path in paths if not path.endswith(".drv")], [path for path in paths if path.endswith(".drv")]


def _infos(paths: Sequence[str], store: str, options: Sequence[str], memory: Path) -> dict[str, PathInfo | None]:
    return path_info.parse(_run(["nix", *nix.FEATURES, "path-info", "--json"], paths, store, options, memory).stdout)


def _derivation_infos(
    paths: Sequence[str], store: str, options: Sequence[str], memory: Path
) -> dict[str, PathInfo | None]:
    try:
        return _infos(paths, store, (*options, "--derivation"), memory)
    except CommandError as error:
        # Nix 2.8 needs each of them to be there.
        if not any("is not a valid store path" in line for line in error.stderr_tail):
            raise
    if len(paths) == 1:
        return {paths[0]: None}
    middle = len(paths) // 2
    return {
        **_derivation_infos(paths[:middle], store, options, memory),
        **_derivation_infos(paths[middle:], store, options, memory),
    }


def absent_paths(
    paths: Sequence[str],
    *,
    store: str,
    options: Sequence[str] = (),
    memory: Path | None = None,
    hurry: bool = True,
) -> list[str]:
    """Which of `paths` another store does not hold; see `infos`.

    Raises:
        CommandError: the store does not answer.
    """
    if memory is None:
        with tempfile.TemporaryDirectory(prefix="pipelinegen-ask-") as folder:
            return absent_paths(paths, store=store, options=options, memory=Path(folder), hurry=hurry)
    found = infos(paths, store=store, options=options, memory=memory, hurry=hurry)
    return [path for path in paths if found[path] is None]


def closure(paths: Sequence[str], *, store: str, options: Sequence[str] = (), memory: Path) -> list[str]:
    """The closures of `paths` in another store, sorted.

    Raises:
        CommandError: the store does not answer, or something is not there.
    """
    found: set[str] = set()
    for chunk in nix.argument_chunks(paths, limit=nix.MANY):
        command = ["nix", *nix.FEATURES, "path-info", "--recursive"]
        found.update(_run(command, chunk, store, (*_REMEMBER, *options), memory).text.split())
    return sorted(found)


def remember_closures(paths: Sequence[str], *, store: str, options: Sequence[str] = (), memory: Path) -> list[str]:
    """Have Nix read all that a store knows of the closures of `paths` into `memory`; the paths that it found.

    It reads many at once, what is absent stops nothing else, and one process does all: afterwards the memory
    answers. That is why it is asked to say what it would fetch to a store that holds nothing. Whatever goes
    wrong, the answer is only shorter; it says nothing about what is not in it.
    """
    found: set[str] = set()

    def listen(line: str) -> None:
        if match := _LISTED.fullmatch(line):
            found.add(match[1])

    with tempfile.TemporaryDirectory(prefix="pipelinegen-empty-") as empty:
        environment = {**_environment(memory), "NIX_REMOTE": f"local?root={Path(empty).resolve()}"}
        for chunk in nix.argument_chunks(paths, limit=nix.MANY):
            left = [path for path in chunk if path not in found]
            if not left:
                continue
            command = ["nix-store", "--realise", "--dry-run", *_REMEMBER, *_SOON, *options]
            fetch = ["--option", "substitute", "true", "--option", "substituters", store]
            process.run([*command, *fetch, *left], env=environment, allowed="any", on_line=listen)
    return sorted(found)


def trusted(
    paths: Sequence[str], *, store: str, public_keys: Sequence[str], options: Sequence[str] = (), memory: Path
) -> set[str]:
    """Which of `paths`, all of which another store holds, carry a signature by one of the keys.

    What is named by its content needs none, as everywhere in Nix. Nothing is said about what they refer to.

    Args:
        paths: full store paths.
        store: store URL.
        public_keys: `name:base64`.
        options: extra options.
        memory: folder for what the store says; what it says already is not asked for again.

    Raises:
        CommandError: the store does not answer.
    """
    arguments = (*_REMEMBER, *_SOON, *options, *_needing(public_keys))
    good: set[str] = set()
    files, derivations = _kinds(paths)
    for group, meaning in ((files, ()), (derivations, ("--derivation",))):
        for chunk in nix.argument_chunks(group, limit=nix.MANY):
            good |= _signed(chunk, store, (*arguments, *meaning), memory)
    return good


def _signed(paths: Sequence[str], store: str, options: Sequence[str], memory: Path) -> set[str]:
    named: set[str] = set()
    command = ["nix", *nix.FEATURES, "store", "verify", "--quiet", "--no-contents"]
    ran = _run(
        command,
        paths,
        store,
        options,
        memory,
        allowed=(0, _UNTRUSTED_BIT),
        on_line=lambda line: named.update(_UNTRUSTED.findall(line)),
    )
    if ran.returncode == 0:
        return set(paths)
    # The words only find the bad ones: the others are asked about until Nix has nothing against them.
    left = [path for path in paths if path not in named]
    if len(left) < len(paths):
        return _signed(left, store, options, memory) if left else set()
    if len(paths) == 1:
        return set()
    middle = len(paths) // 2
    return _signed(paths[:middle], store, options, memory) | _signed(paths[middle:], store, options, memory)


def closure_trusted(
    paths: Sequence[str], *, store: str, public_keys: Sequence[str] | None, options: Sequence[str] = ()
) -> bool:
    """Whether a store holds the whole closure of all `paths`, each path signed by one of the keys.

    Args:
        paths: full store paths that fit one command line.
        store: store URL.
        public_keys: `name:base64`; null means no signature is needed (the closure still is).
        options: extra options.
    """
    trust = ("--no-trust",) if public_keys is None else _needing(public_keys)
    command = ["nix", *nix.FEATURES, "store", "verify", "--quiet", "--no-contents", "--recursive", "--store", store]
    return process.run([*command, *nix.FORGET, *_SOON, *options, *trust, *paths], allowed="any").returncode == 0


def check_contents(
    paths: Sequence[str],
    *,
    store: str,
    public_keys: Sequence[str] | None = None,
    options: Sequence[str] = (),
    memory: Path,
    on_idle: Callable[[], None] | None = None,
    timeout: float | None = None,
) -> None:
    """Fetch the archives of `paths` (not of what they refer to) from a store and compare them with their hashes.

    Args:
        public_keys: keys of which one must have signed each path; null means that signatures are not looked at.
        timeout: seconds for as many as fit one command line.

    Raises:
        CommandError: something could not be fetched, is not what it should be, or is not signed.
        TransientError: `timeout` passed.
    """
    trust = ("--no-trust",) if public_keys is None else _needing(public_keys)
    for chunk in nix.argument_chunks(paths, limit=nix.MANY):
        command = ["nix", *nix.FEATURES, "store", "verify", "--quiet"]
        _run(command, chunk, store, (*_REMEMBER, *options, *trust), memory, on_idle=on_idle, timeout=timeout)


def damage(
    paths: Sequence[str],
    *,
    store: str,
    public_keys: Sequence[str] | None = None,
    options: Sequence[str] = (),
    on_idle: Callable[[], None] | None = None,
    timeout: float | None = None,
) -> str | None:
    """Why `paths` cannot be fetched from a store as they should be, a sentence of Nix's; null where they can.

    Raises what `check_contents` does when `timeout` passes.
    """
    with tempfile.TemporaryDirectory(prefix="pipelinegen-check-") as memory:
        try:
            check_contents(
                paths,
                store=store,
                public_keys=public_keys,
                options=options,
                memory=Path(memory),
                on_idle=on_idle,
                timeout=timeout,
            )
        except CommandError as error:
            return sentence(error)
    return None


def copy(
    paths: Sequence[str],
    *,
    to: str,
    options: Sequence[str] = (),
    substitute_on_destination: bool = False,
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
    env: dict[str, str] | None = None,
    memory: Path | None = None,
) -> None:
    """Copy the closures of `paths` to another store, but for what it holds now.

    Args:
        paths: what `nix copy` takes; the path of a derivation stands for the file from Nix 2.13 on.
        memory: what the destination just said, if it was asked.

    Raises:
        CommandError: not everything arrived.
    """
    if memory is None:
        # A memory of its own: what the destination held earlier it may have deleted, but what is being copied there
        # must be believed at once, though it may deny it for a while. Nix refuses to copy what refers to other things.
        with tempfile.TemporaryDirectory(prefix="pipelinegen-copy-") as folder:
            copy(
                paths,
                to=to,
                options=options,
                substitute_on_destination=substitute_on_destination,
                on_line=on_line,
                on_idle=on_idle,
                env=env,
                memory=Path(folder),
            )
        return
    extra = ["--substitute-on-destination"] if substitute_on_destination else []
    environment = _environment(memory, env)
    for chunk in nix.argument_chunks(paths):
        command = ["nix", *nix.FEATURES, "copy", *extra, *options, "--to", to, *chunk]
        _talk(command, to, options, environment, on_line=on_line, on_idle=on_idle)


def sentence(error: Exception) -> str:
    """Why a command that talked to a store failed, one sentence in Nix's words."""
    if isinstance(error, CommandError):
        lines = [clean(line, colour=False) for line in error.stderr_tail if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        return (errors or lines or [error.message])[-1].removeprefix("error: ")
    return getattr(error, "message", str(error))


def _needing(public_keys: Sequence[str]) -> tuple[str, ...]:
    return ("--sigs-needed", "1", "--option", "trusted-public-keys", " ".join(public_keys))


def _environment(memory: Path, env: dict[str, str] | None = None) -> dict[str, str]:
    base = env if env is not None else process.environment()
    return {**base, **dict.fromkeys(_MEMORY, str(memory))}


def _run(
    command: Sequence[str],
    paths: Sequence[str],
    store: str,
    options: Sequence[str],
    memory: Path,
    *,
    allowed: Sequence[int] = (0,),
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
    timeout: float | None = None,
) -> process.Completed:
    full = [*command, "--store", store, *options, *paths]
    environment = _environment(memory)
    return _talk(full, store, options, environment, allowed=allowed, on_line=on_line, on_idle=on_idle, timeout=timeout)


def _talk(
    command: Sequence[str],
    store: str,
    options: Sequence[str],
    env: dict[str, str],
    *,
    allowed: Sequence[int] = (0,),
    on_line: Callable[[str], None] | None = None,
    on_idle: Callable[[], None] | None = None,
    timeout: float | None = None,
) -> process.Completed:
    """Run a command that talks to a store.

    Nix repeats the page that a server or proxy sent with a refusal; the error keeps Nix's own words instead.
    """
    said: list[str] = []

    def listen(line: str) -> None:
        # Within a trace, the cause is indented.
        if line.lstrip().startswith("error:"):
            said.append(line.strip())
        if on_line is not None:
            on_line(line)

    try:
        return process.run(command, env=env, allowed=allowed, on_line=listen, on_idle=on_idle, timeout=timeout)
    except CommandError as error:
        error.stderr_tail = tuple(line for line in said if line != "error:") or error.stderr_tail
        if any(_NO_CACHE in line for line in error.stderr_tail) and (status := _status(store, options, env)):
            error.stderr_tail += (f"error: {store.partition('?')[0]} is no binary cache: HTTP error {status}",)
        raise


def _status(store: str, options: Sequence[str], env: dict[str, str]) -> int | None:
    """What a server answers that Nix takes for no cache.

    Nix says so, and nothing else, where a cache without `nix-cache-info` refuses to be given one (all
    versions), and where reading it is refused (2.8).
    """
    seen: list[int] = []

    def listen(line: str) -> None:
        if match := _STATUS.match(line):
            seen.append(int(match[1]))

    command = ["nix", *nix.FEATURES, "store", "ping", "--debug", *_SOON, *options, "--store", store]
    process.run(command, env=env, allowed="any", on_line=listen)
    refusals = [status for status in seen if status >= 400 and status != 404]
    return refusals[0] if refusals else None
