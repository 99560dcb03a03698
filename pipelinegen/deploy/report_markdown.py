"""A deployment as a page of GitLab's Markdown. Pure.

Text from elsewhere (names of units and packages, versions, log lines, what probes were answered) stands in code
spans and code blocks alone: there GitLab makes neither links nor mentions of it, and runs no quick action. A
fence is longer than any run of backticks inside; no line inside of a block begins at its margin, since quick
actions and fences do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipelinegen.characters import HALF_CHARACTER, visible
from pipelinegen.console import clean, plain
from pipelinegen.deploy.report import DeployReport, PackageChange, ProbeResult
from pipelinegen.deploy.say import NOTHING, headline
from pipelinegen.run.heartbeat import duration
from pipelinegen.run.push_report import size

LIMIT = 60_000
"""Bytes of the page at most; the budgets of its sections add up to less."""

DIFF_ROWS = 20
ITEMS = 50
"""Units, warnings or probes of one kind that are named."""

NONE = "—"

_CELL = 200
_LINE = 500
_SECTION = 6_000
_LOG = 10_000


def to_markdown(report: DeployReport) -> str:
    """The page: what became of the host, why, what changed, and how long it took; at most `LIMIT` bytes."""
    sections: list[Sequence[str]] = [
        [f"# Deployment of {span(report.host)}: {headline(report)}"],
        _facts(report),
        _block("What happened", _story(report)),
        # Where they are why nothing was done, they have been told.
        _listed("Refused because", report.refusals if report.why != "\n".join(report.refusals) else ()),
        _listed("Warnings", report.warnings),
        _listed("Tolerated", report.tolerated),
        _diff(report.diff),
        _units(report),
        _probes(report),
        _timings(report),
        _block("Last lines of the activation", report.log, budget=_LOG, last=True),
    ]
    return "\n".join(line for section in sections if section for line in [*section, ""])


def span(text: str, limit: int = _CELL) -> str:
    """`text` as a code span on one line that also fits into a table's cell; a dash where there is nothing."""
    # A bar would end the cell, in a code span as well, and what escapes it differs between readers.
    head = text[: 10 * limit].replace("\n", " ")
    one = visible(clean(head, colour=False)).replace("|", "¦")
    if not one:
        return NONE
    if len(one) > limit:
        one = one[: limit - 1] + "…"
    fence = "`" * (_longest_run(one) + 1)
    edge = " " if one.startswith("`") or one.endswith("`") else ""
    return f"{fence}{edge}{one}{edge}{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _facts(report: DeployReport) -> list[str]:
    before, after = report.before, report.after
    rows = [
        ("host", f"{span(report.host)} at {span(report.address)}"),
        ("asked for", f"{span(report.action)} of {span(report.system)}"),
        ("from", span(before.running or NOTHING) if before else "not known"),
        ("now runs", span(after.running or NOTHING) if after else "not known"),
        ("next boot takes", span(after.profile or NOTHING) if after else "not known"),
    ]
    if report.revision is not None:
        rows.append(("commit", span(report.revision)))
    if report.generation_before is not None or report.generation_after is not None:
        rows.append(("generation", f"{_number(report.generation_before)} → {_number(report.generation_after)}"))
    if report.missing_bytes is not None:
        rows.append(("lacked there", size(report.missing_bytes)))
    if report.reboot_needed:
        rows.append(("reboot needed for", span(", ".join(report.reboot_needed))))
    if report.activation is not None:
        rows.append(("activation", span(report.activation)))
    if report.log_file is not None:
        rows.append(("log on the host", span(report.log_file)))
    rows += [("time", duration(report.seconds)), ("exit code", str(report.exit_code))]
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _number(generation: int | None) -> str:
    return "?" if generation is None else str(generation)


def _story(report: DeployReport) -> list[str]:
    labelled = (("", report.message), ("why: ", report.why), ("hint: ", report.hint))
    return [f"{label}{line}" for label, text in labelled if text for line in text.split("\n")]


def _block(title: str, lines: Sequence[str], *, budget: int = _SECTION, last: bool = False) -> list[str]:
    """Lines as a code block; where they are too many, the first (or the last) of them."""
    shown = [_cut("  " + plain(line[: 10 * _LINE])) for text in lines for line in text.split("\n")]
    if not shown:
        return []
    kept = _within(shown[::-1] if last else shown, budget)
    kept = kept[::-1] if last else kept
    fence = "`" * max(3, _longest_run("\n".join(kept)) + 1)
    block = [f"{fence}text", *kept, fence]
    if len(kept) == len(shown):
        return [f"## {title}", "", *block]
    more = f"… and {len(shown) - len(kept)} more lines"
    return [f"## {title}", "", *([more, "", *block] if last else [*block, "", more])]


def _cut(line: str) -> str:
    line = HALF_CHARACTER.sub("\ufffd", line)
    return line if len(line) <= _LINE else line[: _LINE - 1] + "…"


def _within(lines: Sequence[str], budget: int) -> list[str]:
    """The first lines that fit."""
    kept: list[str] = []
    for line in lines:
        budget -= len(line.encode("utf-8", "replace")) + 1
        if budget < 0:
            break
        kept.append(line)
    return kept


def _counted(rows: Sequence[str], number: int) -> list[str]:
    """As many rows as fit; what follows a table or a list says how many more of `number` there are."""
    kept = _within(rows, _SECTION)
    return [*kept, *(["", f"… and {number - len(kept)} more"] if len(kept) < number else [])]


def _listed(title: str, texts: Sequence[str]) -> list[str]:
    if not texts:
        return []
    return [f"## {title}", "", *_counted([f"- {span(text, _LINE)}" for text in texts[:ITEMS]], len(texts))]


def _diff(diff: tuple[PackageChange, ...] | None) -> list[str]:
    title = "## What changes in the system"
    if diff is None:
        return []
    if not diff:
        return [title, "", "No package has another version or size."]
    total = sum(change.bytes for change in diff)
    ordered = sorted(diff, key=lambda change: (-abs(change.bytes), change.name, change.before, change.after))
    rows = [
        f"| {span(one.name)} | {span(', '.join(one.before))} | {span(', '.join(one.after))} | {_signed(one.bytes)} |"
        for one in ordered[:DIFF_ROWS]
    ]
    head = ["| package | before | after | size |", "|---|---|---|---|"]
    return [
        title,
        "",
        f"{len(diff)} package{'' if len(diff) == 1 else 's'}, {_signed(total)} in all.",
        "",
        *head,
        *_counted(rows, len(diff)),
    ]


def _signed(number: int) -> str:
    return f"{'-' if number < 0 else '+'}{size(abs(number))}" if number else "0 B"


def _units(report: DeployReport) -> list[str]:
    groups = (
        ("newly failed", report.newly_failed),
        ("failed by the switch's own word", report.units.failed),
        ("restarted", report.units.restarted),
        ("started", report.units.started),
        ("stopped", report.units.stopped),
        ("reloaded", report.units.reloaded),
    )
    budget = _SECTION // len(groups)
    rows = [f"- {title}: {_spans(units, budget)}" for title, units in groups if units]
    return ["## Units", "", *rows] if rows else []


def _spans(texts: Sequence[str], budget: int) -> str:
    kept = _within([span(text) for text in texts[:ITEMS]], budget)
    more = len(texts) - len(kept)
    return ", ".join(kept) + (f"{', ' if kept else ''}… and {more} more" if more else "")


def _probes(report: DeployReport) -> list[str]:
    number = len(report.health) + len(report.smoke)
    rows = [*_probe_rows("health", report.health[:ITEMS]), *_probe_rows("smoke", report.smoke[:ITEMS])]
    if not rows:
        return []
    head = ["| probe | | answered well | tries | time | said |", "|---|---|---|---|---|---|"]
    return ["## Probes", "", *head, *_counted(rows, number)]


def _probe_rows(kind: str, probes: Sequence[ProbeResult]) -> Iterator[str]:
    for one in probes:
        answered = "yes" if one.passed else "**no**"
        yield f"| {span(one.title)} | {kind} | {answered} | {one.tries} | {duration(one.seconds)} | {span(one.said)} |"


def _timings(report: DeployReport) -> list[str]:
    rows = [f"| {span(phase.name)} | {duration(phase.seconds)} |" for phase in report.phases[:ITEMS]]
    return ["## Time", "", "| phase | time |", "|---|---|", *_counted(rows, len(report.phases))] if rows else []
