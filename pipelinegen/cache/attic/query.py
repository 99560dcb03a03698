"""Which closures a cache holds that deletes path by path, and leaves to other caches what those signed.

Attic collects each path by its own age: a root may be there without what it refers to. And its client does not
push what a key of an upstream cache signed. So every path of a closure is asked for, here or elsewhere.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pipelinegen import remote_store
from pipelinegen.cache.model import Answers
from pipelinegen.errors import CommandError, TransientError
from pipelinegen.path_info import PathInfo

Elsewhere = Callable[[Sequence[str]], Mapping[str, bool | None]]
"""Asks other caches for whole closures; a path that is not in the answer is unknown."""


def closures_held(
    paths: Iterable[str],
    *,
    store_url: str,
    public_keys: Sequence[str] | None,
    options: Sequence[str] = (),
    elsewhere: Elsewhere,
) -> tuple[Answers, str | None]:
    """For each path: is it in the cache with an accepted signature, and all that it refers to there or elsewhere?

    Args:
        paths: full store paths, believed to be in the cache.
        store_url: the cache in Nix's words.
        public_keys: `name:base64` of accepted keys; null means that no signature is needed.
        options: Nix's options with the credentials.
        elsewhere: asked once, for all that the cache lacks or that nobody accepted signed there.

    Returns:
        Path → yes, no or unknown; and, where the cache did not answer, why, in one sentence.
    """
    asked = list(dict.fromkeys(paths))
    if not asked:
        return {}, None
    with tempfile.TemporaryDirectory(prefix="pipelinegen-narinfo-") as folder:
        memory = Path(folder)
        known: dict[str, PathInfo | None] = {}
        try:
            expected = remote_store.remember_closures(asked, store=store_url, options=options, memory=memory)
            wanted = sorted({*asked, *expected})
            while wanted:
                known.update(remote_store.infos(wanted, store=store_url, options=options, memory=memory))
                wanted = unknown_references(known)
            held = [path for path, info in known.items() if info is not None]
            if public_keys is not None:
                held = sorted(
                    remote_store.trusted(
                        sorted(held), store=store_url, public_keys=public_keys, options=options, memory=memory
                    )
                )
        except (CommandError, TransientError) as error:
            absent = {path for path in asked if path in known and known[path] is None}
            return {path: False if path in absent else None for path in asked}, remote_store.sentence(error)
    references = {path: info.others for path in held if (info := known[path]) is not None}
    missing = missing_references(asked, references)
    return closure_answers(asked, references, elsewhere(missing) if missing else {}), None


def unknown_references(known: Mapping[str, PathInfo | None]) -> list[str]:
    """What known paths refer to that is not known yet, sorted."""
    found = {other for info in known.values() if info is not None for other in info.others}
    return sorted(found - known.keys())


def missing_references(roots: Iterable[str], references: Mapping[str, Sequence[str]]) -> list[str]:
    """What the closures of the roots that are held lack, sorted; the roots themselves are not meant.

    Args:
        references: what is held → what it refers to.
    """
    left = [root for root in roots if root in references]
    seen = set(left)
    missing = set()
    while left:
        for other in references[left.pop()]:
            if other not in references:
                missing.add(other)
            elif other not in seen:
                seen.add(other)
                left.append(other)
    return sorted(missing)


def closure_answers(
    roots: Iterable[str], references: Mapping[str, Sequence[str]], elsewhere: Mapping[str, bool | None]
) -> Answers:
    """For each root whether it is held, and all that it refers to is held or to be had elsewhere.

    Args:
        references: what is held → what it refers to, itself left out or not.
        elsewhere: what is not held → whether its closure is to be had elsewhere (absent or null: unknown).
    """
    referrers: dict[str, list[str]] = {}
    for path, others in references.items():
        for other in others:
            referrers.setdefault(other, []).append(path)
    missing = {other for other in referrers if other not in references}
    broken = _with_referrers((path for path in missing if elsewhere.get(path) is False), referrers)
    doubtful = _with_referrers((path for path in missing if elsewhere.get(path) is None), referrers)
    return {
        root: False if root not in references or root in broken else None if root in doubtful else True
        for root in roots
    }


def _with_referrers(paths: Iterable[str], referrers: Mapping[str, Sequence[str]]) -> set[str]:
    """`paths` and all that refers to one of them, whether directly or not."""
    left = list(paths)
    found = set(left)
    while left:
        for referrer in referrers.get(left.pop(), ()):
            if referrer not in found:
                found.add(referrer)
                left.append(referrer)
    return found
