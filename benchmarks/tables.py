"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Cells = Sequence[str]


def table(head: Cells, rows: Iterable[Cells]) -> list[str]:
    """The lines of a table: words on the left, numbers to the right of them."""
    return [
        f"| {' | '.join(head)} |",
        f"|---|{'--:|' * (len(head) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
