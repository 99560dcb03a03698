"""The rules: small pure functions in ordered lists, each giving a verdict with its reason, or passing.

The first verdict counts. The last rule of each list always gives one, so doubt ends in *run*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipelinegen import attrpath
from pipelinegen.changes.model import Status
from pipelinegen.characters import inert
from pipelinegen.config_caches import CacheConfig
from pipelinegen.config_hosts import HostConfig, Policy
from pipelinegen.inventory.model import FlakeOutput, Kind
from pipelinegen.plan.model import Choice, Stage
from pipelinegen.plan.situation import Situation


class Verdict(NamedTuple):
    """What a rule says, and why (at least one sentence)."""

    choice: Choice
    reasons: tuple[str, ...]


Rule = Callable[[FlakeOutput, Situation], Verdict | None]


def stages_of(output: FlakeOutput) -> tuple[Stage, ...]:
    """The stages that an output of this kind has: checks are tests, hosts are deployed."""
    if output.kind is Kind.CHECK:
        return (Stage.TEST,)
    if output.kind is Kind.NIXOS:
        return (Stage.BUILD, Stage.PUSH, Stage.DEPLOY)
    return (Stage.BUILD, Stage.PUSH)


def decide(stage: Stage, output: FlakeOutput, situation: Situation) -> Verdict:
    """Ask the stage's rules in order."""
    for rule in RULES[stage]:
        verdict = rule(output, situation)
        if verdict is not None:
            return verdict
    raise AssertionError(f"the rules of stage {stage} end without a verdict")


def _skip(*reasons: str) -> Verdict:
    return Verdict(Choice.SKIP, reasons)


def marked_unavailable(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """Marked broken, unsupported or the like by its author."""
    if output.unavailable is None:
        return None
    if situation.config.evaluation.broken == "fail":
        return Verdict(Choice.FAIL, (output.unavailable, 'the configuration says evaluation.broken = "fail"'))
    return _skip(output.unavailable)


def no_runner(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """No configured runner can build it; its job would wait for ever."""
    if situation.runner(output.system, output.features) is not None:
        return None
    features = f" with {', '.join(output.features)}" if output.features else ""
    return _skip(inert(f"no runner is configured for {output.system}{features}"))


def never_built(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """What cannot be built can be neither published nor deployed; building says whether that is a failure.

    What a trusted cache holds needs no runner of its system: pushes and deployments run anywhere.
    """
    verdict = marked_unavailable(output, situation)
    if verdict is None and held_by_a_trusted_cache(output, situation) is None:
        verdict = no_runner(output, situation)
    return _skip(*verdict.reasons) if verdict else None


def held_by_a_trusted_cache(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """Caches this pipeline trusts hold every wanted output, signed, with its closure."""
    available = situation.available(output)
    for name in situation.availability.trusted:
        if available.get(name):
            return _skip(f"cache {name} holds it")
    # One output here, another there: all can be fetched, and the walk of the graph sees it the same way.
    places = [situation.availability.where(path) for path in output.wanted_paths]
    if places and None not in places and len(places) == len(output.wanted):
        return _skip(f"caches {', '.join(sorted({place for place in places if place}))} hold its outputs")
    return None


def built_by_the_base(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """Without any cache: unchanged since a commit whose pipeline is known to have passed."""
    base = situation.changes.base
    if situation.config.caches or not base.passed or situation.status(output) is not Status.UNCHANGED:
        return None
    return _skip(f"unchanged since {short(base.rev)}, whose pipeline passed")


def must_be_built(output: FlakeOutput, situation: Situation) -> Verdict:
    """Nothing says that it exists: build it."""
    reasons = [_status_reason(output, situation)]
    for name, sentence in sorted(situation.availability.trouble.items()):
        if name in situation.availability.trusted:
            reasons.append(f"cache {name} could not say whether it holds it: {sentence}")
    if situation.availability.trusted:
        reasons.append("no trusted cache is known to hold it")
    elif situation.status(output) is Status.UNCHANGED:
        reasons.append("no cache is configured that could hold it")
    return Verdict(Choice.RUN, tuple(reasons))


def _status_reason(output: FlakeOutput, situation: Situation) -> str:
    base = short(situation.changes.base.rev)
    return {
        Status.NEW: f"new since {base}",
        Status.CHANGED: f"differs from {base}",
        Status.UNCHANGED: f"unchanged since {base}",
        Status.UNKNOWN: "no earlier commit to compare it with",
    }[situation.status(output)]


def short(rev: str | None) -> str:
    """A commit id as people write it."""
    return rev[:8] if rev else "the base"


def ref_is_closed(output: FlakeOutput, situation: Situation) -> Verdict | None:  # noqa: ARG001
    """Merge requests, other branches and unprotected refs neither publish nor deploy."""
    reason = situation.closed_reason()
    return _skip(reason) if reason else None


def path_is_unknown(output: FlakeOutput, situation: Situation) -> Verdict | None:  # noqa: ARG001
    """Content-addressed derivations have no path to name in a job before they are built."""
    if len(output.wanted_paths) == len(output.wanted):
        return None
    return _skip("its store path is not known before it is built (content-addressed derivation)")


def nothing_to_publish_to(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """No publish cache takes this output."""
    if situation.publish_caches(output):
        return None
    if any(cache.publish for cache in situation.config.caches.values()):
        return _skip("no publish cache includes it")
    return _skip("no cache is configured to publish to")


def kept_from_collection(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """A schedule fetches what caches hold, as only that keeps it there: pushing it again would do nothing.

    Also where the output is missing: what it refers to may be there and old, and caches collect path by path.
    """
    warmed = situation.warmed(output)
    if not pushed_to(output, situation) or not warmed:
        return None
    reasons = [f"scheduled: keeps it from being collected in cache {', '.join(warmed)}"]
    if missing := missing_in(output, situation):
        reasons.append(_not_known_to_hold(missing))
    return Verdict(Choice.RUN, tuple(reasons))


def already_published(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """Every publish cache holds it already."""
    available = situation.available(output)
    caches = situation.publish_caches(output)
    if all(available.get(name) for name in caches):
        return _skip(f"cache {', '.join(caches)} holds it")
    return None


def its_caches_are_shut(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """The publish caches that lack it have a gate that cannot be passed."""
    if missing_in(output, situation):
        return None
    names = [name for name in situation.publish_caches(output) if name in situation.shut]
    return _skip(*(f"cache {name}: {situation.shut[name]}" for name in names))


def must_be_published(output: FlakeOutput, situation: Situation) -> Verdict:
    """Some publish cache is not known to hold it."""
    return Verdict(Choice.RUN, (_not_known_to_hold(missing_in(output, situation)),))


def _not_known_to_hold(caches: Sequence[str]) -> str:
    return f"cache {', '.join(caches)} is not known to hold it"


def pushed_to(output: FlakeOutput, situation: Situation) -> tuple[str, ...]:
    """The publish caches that the output is pushed to, or is fetched from to be kept there."""
    available = situation.available(output)
    kept = {name for name in situation.warmed(output) if available.get(name) or name not in situation.shut}
    return tuple(sorted({*missing_in(output, situation), *kept}))


def missing_in(output: FlakeOutput, situation: Situation) -> tuple[str, ...]:
    """The publish caches that are not known to hold the output, and may be given it."""
    available = situation.available(output)
    caches = situation.publish_caches(output)
    return tuple(name for name in caches if not available.get(name) and name not in situation.shut)


def no_such_host(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """A system without an address is built, not deployed."""
    if output.path[-1] in situation.config.hosts:
        return None
    return _skip(f"the configuration has no [hosts.{output.path[-1]}]")


def never_deployed(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """The configuration keeps it out."""
    if situation.config.hosts[output.path[-1]].policy is Policy.NEVER:
        return _skip("its policy is never")
    return None


def a_named_check_cannot_run(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """With a related gate: a check that must pass first and never runs has not passed."""
    reason = _check_that_cannot_run(situation.config.hosts[output.path[-1]], situation)
    return _skip(reason) if reason else None


def shut_caches(situation: Situation) -> dict[str, str]:
    """The publish caches whose gate names a check that never runs, so that it cannot have passed, and why."""
    caches = sorted((name, cache) for name, cache in situation.config.caches.items() if cache.publish)
    reasons = {name: _check_that_cannot_run(cache, situation) for name, cache in caches}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _check_that_cannot_run(gated: HostConfig | CacheConfig, situation: Situation) -> str | None:
    if gated.gate != "related":
        return None
    patterns = [attrpath.parse_pattern(check) for check in gated.checks]
    for check in situation.inventory.outputs:
        if check.kind is Kind.CHECK and any(attrpath.matches(pattern, check.path) for pattern in patterns):
            verdict = never_built(check, situation)
            if verdict is not None:
                return f"check {check.attr}, which must pass first, does not run: {verdict.reasons[0]}"
    return None


def runs_it_already(output: FlakeOutput, situation: Situation) -> Verdict | None:
    """Its last successful deployment is known, and is this very system."""
    given = situation.deployed.get(output.path[-1])
    if given is None or output.wanted_paths != (given,):
        return None
    return _skip("its last deployment gave it this system")


def must_be_deployed(output: FlakeOutput, situation: Situation) -> Verdict:
    """Deploy; a host that runs the system already makes that a matter of seconds."""
    host = output.path[-1]
    reasons = ["its last system is not known; if it runs this one already, it is left alone"]
    if host in situation.not_told:
        reasons.append(situation.not_told[host])
    if host in situation.deployed:
        reasons = ["its last deployment gave it another system"]
    if situation.config.hosts[host].policy is Policy.MANUAL:
        reasons.append("its policy is manual: somebody must approve")
    return Verdict(Choice.RUN, tuple(reasons))


_MAKE: tuple[Rule, ...] = (
    marked_unavailable,
    held_by_a_trusted_cache,
    no_runner,
    built_by_the_base,
    must_be_built,
)

RULES: dict[Stage, Sequence[Rule]] = {
    Stage.BUILD: _MAKE,
    Stage.TEST: _MAKE,
    Stage.PUSH: (
        ref_is_closed,
        never_built,
        path_is_unknown,
        nothing_to_publish_to,
        kept_from_collection,
        already_published,
        its_caches_are_shut,
        must_be_published,
    ),
    Stage.DEPLOY: (
        no_such_host,
        never_deployed,
        ref_is_closed,
        never_built,
        path_is_unknown,
        runs_it_already,
        a_named_check_cannot_run,
        must_be_deployed,
    ),
}
