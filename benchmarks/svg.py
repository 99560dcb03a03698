"""Small pictures as SVG text: light, the same to the byte for the same numbers, with a ground of their own.

Colours follow the reader's light or dark setting; both are readable on any page, as the ground is painted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
ROW = 30
LABELS = 300
"""Pixels of the column of labels."""

_STYLE = """\
.ground{fill:#fff;stroke:#d8d8d4}.band{fill:#eef4fc}.grid{stroke:#e4e3df}.line{stroke:#b4b3ad;stroke-width:2;fill:none}
text{font:13px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#0b0b0b}
.soft{fill:#5c5b57;font-size:12px}.title{font-size:15px;font-weight:600}.strong{font-weight:600}
.s0{fill:#7fb2ee;stroke:#fff}.s1{fill:#2a78d6;stroke:#fff}.s2{fill:#0d366b;stroke:#fff}.other{fill:#a9a8a2}
.l0{stroke:#a9a8a2}.l1{stroke:#2a78d6}
@media (prefers-color-scheme:dark){
.ground{fill:#1a1a19;stroke:#3a3a37}.band{fill:#1e2a3a}.grid{stroke:#30302d}.line{stroke:#6b6a65}
text{fill:#fff}.soft{fill:#c3c2b7}
.s0{fill:#cde2fb;stroke:#1a1a19}.s1{fill:#6da7ec;stroke:#1a1a19}.s2{fill:#256abf;stroke:#1a1a19}.other{fill:#7b7a74}
.l0{stroke:#7b7a74}.l1{stroke:#6da7ec}}"""


@dataclass(frozen=True)
class Axis:
    """Numbers to pixels: from `low` at `left` to `high` at `right`, evenly or by their logarithm."""

    low: float
    high: float
    left: float
    right: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a number; what is outside stays at the edge."""
        scale: Callable[[float], float] = math.log if self.logarithmic else float
        value = min(max(value, self.low), self.high)
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self.left + share * (self.right - self.left)


def dots(
    title: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    series: Sequence[str],
    *,
    ticks: Sequence[float],
    logarithmic: bool = False,
    strong: str | None = None,
    note: str = "",
) -> str:
    """A row of marks per label; the mark of each series has its own shape and shade.

    Args:
        ticks: of the axis, which ends at the first and the last.
        strong: the row that stands out.
        note: what the axis means.
    """
    axis = Axis(ticks[0], ticks[-1], LABELS + 14, WIDTH - 24, logarithmic)
    top, parts = 78, [_text(16, 26, title, "title")]
    left = LABELS + 14.0
    for number, name in enumerate(series):
        parts += [_mark(number, left, 46), _text(left + 12, 50.5, name, "soft")]
        left += 26 + 7 * len(name)
    bottom = top + ROW * len(rows)
    for tick in ticks:
        parts += [_grid(axis(tick), top - 8, bottom), _text(axis(tick), bottom + 16, f"{tick:g}", "soft", "middle")]
    for place, (label, values) in enumerate(rows):
        middle = top + ROW * place + ROW / 2 - 4
        if label == strong:
            parts.append(f'<rect class="band" x="6" y="{_n(middle - 14)}" width="{WIDTH - 12}" height="28" rx="4"/>')
            parts += [_grid(axis(tick), middle - 14, middle + 14) for tick in ticks]
        parts.append(_text(LABELS - 6, middle + 4.5, label, "strong" if label == strong else "", "end"))
        ends = [axis(value) for value in values]
        parts.append(f'<path class="line" d="M{_n(min(ends))} {_n(middle)}H{_n(max(ends))}"/>')
        parts += [_mark(number, end, middle) for number, end in enumerate(ends)]
    parts.append(_text(LABELS + 14, bottom + 36, note, "soft"))
    return _picture(title, bottom + (50 if note else 30), parts)


def bars(title: str, rows: Sequence[tuple[str, float, str]], *, strong: str | None = None, note: str = "") -> str:
    """A bar per label with its value written at its end."""
    axis = Axis(0, max(value for _, value, _ in rows), LABELS + 4, WIDTH - 110)
    top, parts = 48, [_text(16, 26, title, "title")]
    for place, (label, value, shown) in enumerate(rows):
        middle = top + ROW * place + ROW / 2 - 4
        kind = "s1" if label == strong else "other"
        width = max(axis(value) - axis.left, 1)
        parts.append(_text(LABELS - 6, middle + 4.5, label, "strong" if label == strong else "", "end"))
        parts.append(
            f'<rect class="{kind}" x="{_n(axis.left)}" y="{_n(middle - 9)}" width="{_n(width)}" height="18" rx="3"/>'
        )
        parts.append(_text(axis.left + width + 7, middle + 4.5, shown, "strong" if label == strong else "soft"))
    bottom = top + ROW * len(rows)
    parts.append(_text(LABELS + 4, bottom + 14, note, "soft"))
    return _picture(title, bottom + (28 if note else 8), parts)


def lines(
    title: str,
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_note: str,
    y_note: str,
) -> str:
    """A line per series over two logarithmic axes, named at its end; the last series stands out."""
    top, bottom = 66.0, 300.0
    across = Axis(x_ticks[0], x_ticks[-1], 70, WIDTH - 150, logarithmic=True)
    up = Axis(y_ticks[0], y_ticks[-1], bottom, top, logarithmic=True)
    parts = [_text(16, 26, title, "title"), _text(16, 50, y_note, "soft")]
    for tick in y_ticks:
        parts.append(f'<path class="grid" d="M{_n(across.left)} {_n(up(tick))}H{_n(across.right)}"/>')
        parts.append(_text(across.left - 8, up(tick) + 4, f"{tick:g}", "soft", "end"))
    parts += [_text(across(tick), bottom + 18, f"{tick:,g}", "soft", "middle") for tick in x_ticks]
    parts.append(_text((across.left + across.right) / 2, bottom + 38, x_note, "soft", "middle"))
    for number, (name, points) in enumerate(series):
        ours = number == len(series) - 1
        path = "L".join(f"{_n(across(x))} {_n(up(y))}" for x, y in points)
        parts.append(f'<path class="line {"l1" if ours else "l0"}" d="M{path}"/>')
        for x, y in points:
            kind = "s1" if ours else "other"
            parts.append(f'<circle class="{kind}" cx="{_n(across(x))}" cy="{_n(up(y))}" r="4.5"/>')
        x, y = points[-1]
        parts.append(_text(across(x) + 12, up(y) + 4.5, name, "strong" if ours else ""))
    return _picture(title, bottom + 50, parts)


def _mark(series: int, x: float, y: float) -> str:
    """A circle, a square, or a diamond."""
    if series == 0:
        return f'<circle class="s0" cx="{_n(x)}" cy="{_n(y)}" r="6"/>'
    if series == 1:
        return f'<rect class="s1" x="{_n(x - 5.5)}" y="{_n(y - 5.5)}" width="11" height="11"/>'
    return f'<path class="s2" d="M{_n(x)} {_n(y - 7.5)}l7.5 7.5l-7.5 7.5l-7.5 -7.5z"/>'


def _grid(x: float, top: float, bottom: float) -> str:
    return f'<path class="grid" d="M{_n(x)} {_n(top)}V{_n(bottom)}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    if not text:
        return ""
    named = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{_n(x)}" y="{_n(y)}"{named}>{escape(text)}</text>'


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _picture(title: str, height: float, parts: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{_n(height)}" viewBox="0 0 {WIDTH} {_n(height)}"'
    ground = f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1}" height="{_n(height - 1)}" rx="8"/>'
    inside = "\n".join(part for part in parts if part)
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return f"{start}\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n{ground}\n{inside}\n</svg>\n"
