"""How `pipelinegen cache` shows caches: what would be changed, and what they are. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipelinegen.cache.provisioning import wording
from pipelinegen.cache.provisioning.info import CacheInfo, Finding, TokenReport
from pipelinegen.cache.provisioning.provision import Action, CachePlan, Change
from pipelinegen.characters import inert
from pipelinegen.config_caches import WriterClass

Style = Callable[[str, str], str]
"""(text, style name) → text, coloured where wanted."""

WRITERS = {
    WriterClass.PROTECTED: "pipelines of protected refs",
    WriterClass.UNPROTECTED: "any pipeline, merge requests too",
    WriterClass.UPSTREAM: "somebody else",
}

_MARKS = {Action.CREATE: ("+", "green"), Action.CHANGE: ("~", "yellow"), Action.NONE: ("=", "dim")}
_SAYS = {Action.CREATE: "to be created", Action.CHANGE: "to be changed", Action.NONE: "as configured"}


def plan_lines(plan: CachePlan, style: Style) -> list[str]:
    """The cache and below it each setting: `+` new, `~` changed, and for lists what is added and taken away."""
    mark, colour = _MARKS[plan.action]
    lines = [f"{style(mark, colour)} {style(plan.name, 'bold')}  {plan.url}  {style(_SAYS[plan.action], 'dim')}"]
    width = max((len(one.field) for one in plan.changes), default=0)
    for one in plan.changes:
        lines += _change_lines(one, width, style)
        told = wording.consequence(one)
        if told is not None:
            lines.append(f"      {style(f'({told})', 'dim')}")
    if plan.action is Action.CREATE:
        lines.append(f"    {style('+', 'green')} {'key pair'.ljust(width)}  made by the server")
    if plan.action is Action.CHANGE and plan.left:
        kept = ", ".join(f"{field} {wording.words(field, value)}" for field, value in plan.left.items())
        lines.append(f"      {style(f'(not configured, so left: {inert(kept)})', 'dim')}")
    return lines


def _change_lines(one: Change, width: int, style: Style) -> Iterator[str]:
    field = one.field.ljust(width)
    after = inert(wording.words(one.field, one.after))
    if one.before is None:
        default = "" if one.configured else f"  {style('(default)', 'dim')}"
        yield f"    {style('+', 'green')} {field}  {after}{default}"
        return
    if isinstance(one.before, tuple) and isinstance(one.after, tuple):
        yield f"    {style('~', 'yellow')} {one.field}"
        yield from (f"        {style('-', 'red')} {inert(name)}" for name in one.before if name not in one.after)
        yield from (f"        {style('+', 'green')} {inert(name)}" for name in one.after if name not in one.before)
        return
    yield f"    {style('~', 'yellow')} {field}  {inert(wording.words(one.field, one.before))} -> {after}"


def plan_summary(plans: list[CachePlan]) -> str:
    """How many caches are created, changed and left."""
    counts = {action: sum(plan.action is action for plan in plans) for action in Action}
    return f"{counts[Action.CREATE]} to create, {counts[Action.CHANGE]} to change, {counts[Action.NONE]} as configured"


def info_lines(info: CacheInfo, style: Style) -> list[str]:
    """A cache with everything that is known of it."""
    lines = [style(info.name, "bold")]
    rows = list(_rows(info))
    width = max(len(label) for label, _ in rows)
    lines += [f"  {label.ljust(width)}  {inert(text)}" for label, text in rows]
    lines += [line for finding in info.findings for line in _finding_lines(finding, style)]
    lines += [f"  {style('note:', 'blue')} {sentence}" for sentence in info.advice]
    if info.add:
        lines += ["  add to pipelinegen.toml:", *(f"    {line}" for line in info.add)]
    return lines


def _rows(info: CacheInfo) -> Iterator[tuple[str, str]]:
    yield "url", info.url
    if info.push_url is not None:
        yield "pushes go to", info.push_url
    yield "writers", f"{info.writers.value}: {WRITERS[info.writers]}{', published to' if info.publish else ''}"
    yield "backend", info.backend
    if info.settings is not None:
        for field in ("public", "priority", "retention", "upstream_keys", "store_dir"):
            yield field.replace("_", " "), wording.words(field, info.settings[field])
        yield "api endpoint", info.api_endpoint or "not told"
        yield "public key", f"{info.public_key or 'not told'}{_matching(info)}"
    elif info.public_keys:
        yield "public key", f"{' '.join(info.public_keys)} (as configured)"
    if info.backend == "attic":
        yield from (("token", _token_words(one)) for one in info.tokens)
        if not info.tokens:
            yield "token", "none here"


def _matching(info: CacheInfo) -> str:
    return {True: " (as configured)", False: " (another is configured)", None: ""}[info.key_matches]


def _token_words(one: TokenReport) -> str:
    words = f"for {one.purpose}, from {one.source}: "
    if not one.readable:
        words += "it cannot be read here"
    else:
        words += f"{', '.join(one.permissions) or 'nothing here'}, {one.until}"
        if one.subject:
            words += f", made out to {one.subject}"
    return words + {True: "; the server accepts it", False: "; the server does not accept it", None: ""}[one.accepted]


def _finding_lines(finding: Finding, style: Style) -> Iterator[str]:
    label, colour = ("warning:", "yellow") if finding.exit_code == 0 else ("error:", "red")
    yield f"  {style(label, colour)} {inert(finding.message)}"
    if finding.hint:
        yield f"    {style('hint', 'bold')} {inert(finding.hint)}"
