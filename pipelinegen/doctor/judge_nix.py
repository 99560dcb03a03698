"""What facts about Nix mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipelinegen.doctor.model import Check, missing, ok, problem, skipped, warning
from pipelinegen.doctor.read_nix import NixFacts, SandboxFacts

OLDEST = (2, 8)
"""The oldest version that pipelinegen is tested with."""

LITTLE, TOO_LITTLE = 10 << 30, 1 << 30
"""Bytes: one NixOS system has 2 to 10 GiB."""

DAEMON_HINT = (
    "add the caches, their keys and a netrc file to /etc/nix/nix.conf of this machine (`pipelinegen cache provision` "
    "prints the lines), or give jobs a store of their own, as the CI image does"
)
READS_TOKENS = (
    "a build can read the tokens of its job, and whatever else this user can: keep secrets that publish or deploy out "
    "of jobs that build (environment scope)"
)
READS_FILES = (
    "builds run as another user, so they do not read the variables of their job, but all files that everybody may "
    "read, and they have the network: what they make may depend on both"
)

_SEEN = {
    "processes": "the machine's processes",
    "file": "the machine's files",
    "environment": "the environment of the job",
}


def judge_nix(facts: NixFacts) -> Iterable[Check]:
    """Version, flakes, store and its disk."""
    if facts.version is None:
        hint = "install Nix 2.8 or newer, or use the CI image, which has it"
        yield missing("nix", facts.trouble or "it is not installed", hint)
        return
    numbers = tuple(int(part) for part in re.findall(r"\d+", facts.version)[:2])
    if numbers < OLDEST:
        yield problem("nix", f"version {facts.version} is older than {OLDEST[0]}.{OLDEST[1]}", "install a newer one")
    else:
        yield ok("nix", f"version {facts.version}")
    yield _flakes(facts)
    yield _store(facts)
    yield judge_space("disk of the store", facts.free_bytes)


def _flakes(facts: NixFacts) -> Check:
    if facts.flakes is not None:
        homeless = "creating directory" in facts.flakes
        hint = "set HOME, or XDG_CACHE_HOME, to a folder that this user can write" if homeless else None
        return problem("flakes", f"a flake cannot be evaluated: {facts.flakes}", hint)
    enabled = {"nix-command", "flakes"} <= set(facts.settings.get("experimental-features", "").split())
    told = "enabled for all commands" if enabled else "enabled by pipelinegen; commands of your own tests enable them"
    return ok("flakes", told)


def _store(facts: NixFacts) -> Check:
    if facts.store is not None:
        return problem(
            "store", f"nothing can be put into it: {facts.store}", "the job's user needs the store, or a Nix daemon"
        )
    if facts.listens is None:
        return warning("store", "it can be written, and whether a daemon trusts this user is not known", DAEMON_HINT)
    if not facts.listens:
        return warning(
            "store",
            "a daemon owns it that does not trust this user: it fetches only from the caches that its own settings "
            "name, and takes nothing from job artifacts",
            DAEMON_HINT,
        )
    return ok("store", "it can be written, and the caches and keys that jobs bring count")


def judge_space(name: str, free: int | None) -> Check:
    """Free space of a disk that Nix fills."""
    if free is None:
        return skipped(name, "its free space is not known")
    told = f"{free / (1 << 30):.1f} GiB free"
    hint = "nix-collect-garbage --delete-older-than 7d, or a larger disk"
    if free < TOO_LITTLE:
        return problem(name, told, hint)
    return warning(name, told, hint) if free < LITTLE else ok(name, told)


def judge_sandbox(facts: SandboxFacts) -> Check:
    """Whether builds are kept from the machine: by what one saw, whatever is configured."""
    name = "build sandbox"
    configured = f"configured: sandbox = {facts.configured or 'not told'}"
    if facts.seen is None:
        # The builder of the probe is there outside, so a build that lacks it looks at another root.
        if facts.shell and re.search(r"executing '/bin/sh': No such file", facts.said):
            return _on(facts, f"a build does not even see the machine's /bin/sh ({configured})")
        # Nix's own words begin with the first error.
        said = facts.said[max(0, facts.said.find("error:")) :][:400]
        return problem(name, f"nothing can be built here ({configured}): {said}")
    if not facts.seen:
        return _on(facts, f"a build sees neither the machine's files nor its processes ({configured})")
    seen = " and ".join(what for one, what in _SEEN.items() if one in facts.seen)
    if "processes" not in facts.seen:
        hint = "look at sandbox-paths and extra-sandbox-paths in nix.conf: what they name, builds can read"
        return warning(name, f"on, with a hole ({configured}): a build saw {seen}", hint)
    consequence = READS_TOKENS if "environment" in facts.seen else READS_FILES
    if facts.configured in {"true", "relaxed"}:
        return problem(
            name,
            f"off, though configured (sandbox = {facts.configured}): a build saw {seen}",
            f"{consequence}; the kernel or the container does not allow name spaces here, and Nix goes on without "
            "(sandbox-fallback = false makes it fail instead)",
        )
    return warning(name, f"off ({configured}): a build saw {seen}", f"{consequence}; or set sandbox = true")


def _on(facts: SandboxFacts, why: str) -> Check:
    name = "build sandbox"
    if facts.configured == "relaxed":
        hint = f"set sandbox = true: without it, {READS_TOKENS}"
        return warning(name, f"on, except for builds that do not want it (__noChroot): {why}", hint)
    return ok(name, f"on: {why}")


def judge_system(settings: dict[str, str], wanted: Iterable[str]) -> Check:
    """Whether this machine builds one of the systems that the configuration has runners for."""
    name = "system"
    own = [settings.get("system", ""), *settings.get("extra-platforms", "").split()]
    here, configured = [one for one in own if one], sorted(set(wanted))
    if not here:
        return skipped(name, "Nix does not say what it builds for")
    if set(here) & set(configured):
        return ok(name, f"it builds for {', '.join(here)}; runners are configured for {', '.join(configured)}")
    return warning(
        name,
        f"it builds for {', '.join(here)}, and runners are configured for {', '.join(configured) or 'nothing'}",
        f'add [[runners]] with system = "{here[0]}", or the tags of other machines to those that are there',
    )
