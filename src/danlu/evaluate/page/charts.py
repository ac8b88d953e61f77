"""Charts as inline SVG. Colours come from classes of the page's style sheet, so that they follow dark mode and print.

Everything is escaped here; what is returned is safe markup.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Point = tuple[float, float]
_WIDTH, _HEIGHT = 380, 280
_CELLS = ((4, 76, ""), (10, 44, ""), (12, 38, ""), (20, 30, "dense"), (10**6, 16, "dense tiny"))  # labels at most, cell, style
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 30, 42


@dataclass(frozen=True)
class Line:
    """One line of a chart. `style` is a class: line (grey), accent, soft, guide."""

    points: Sequence[Point]
    name: str = ""
    style: str = "line"


@dataclass(frozen=True)
class Frame:
    """The axes of a chart in data units, with their titles and how a number on them is written."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_title: str
    y_title: str
    write_x: Callable[[float], str] = "{:g}".format
    write_y: Callable[[float], str] = "{:g}".format

    def across(self, value: float) -> float:
        low, high = self.x
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def down(self, value: float) -> float:
        low, high = self.y
        return round(_HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)


def chart(
    frame: Frame, lines: Sequence[Line], label: str, dots: Sequence[tuple[float, float, float, str]] = (), mark: float | None = None
) -> Markup:
    """Lines over a light grid. `dots` are (x, y, radius, title); `mark` draws a dashed vertical at x."""
    parts = [_grid(frame)]
    if mark is not None:
        parts.append(
            Markup('<path class="mark" d="M{x} {top}V{bottom}"/>').format(x=frame.across(mark), top=_TOP, bottom=_HEIGHT - _BOTTOM)
        )
    for line in lines:
        path = "".join(f"{'L' if i else 'M'}{frame.across(x)} {frame.down(y)}" for i, (x, y) in enumerate(line.points))
        parts.append(Markup('<path class="{}" d="{}"><title>{}</title></path>').format(line.style, path, line.name))
    for x, y, radius, title in dots:
        parts.append(
            Markup('<circle class="dot" cx="{}" cy="{}" r="{:.1f}"><title>{}</title></circle>').format(
                frame.across(x), frame.down(y), radius, title
            )
        )
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, label, Markup("").join(parts)
    )


def _grid(frame: Frame) -> Markup:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value in ticks(*frame.y):
        y = frame.down(value)
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(_LEFT, y, right))
        parts.append(Markup('<text x="{}" y="{}" class="end">{}</text>').format(_LEFT - 8, round(y + 4, 1), frame.write_y(value)))
    for value in ticks(*frame.x):
        parts.append(Markup('<text x="{}" y="{}" class="mid">{}</text>').format(frame.across(value), bottom + 18, frame.write_x(value)))
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(_LEFT, bottom, right))
    parts.append(Markup('<text x="{}" y="{}" class="end title">{}</text>').format(right, _HEIGHT - 6, frame.x_title))
    parts.append(Markup('<text x="0" y="12" class="title">{}</text>').format(frame.y_title))
    return Markup("").join(parts)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within low..high, about `about` of them."""
    raw = (high - low) / about
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def around(values: Sequence[float], floor: float | None = None, ceiling: float | None = None) -> tuple[float, float]:
    """A range that holds all values with a little air."""
    low, high = min(values), max(values)
    air = 0.08 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - air, high + air
    return (low if floor is None else max(floor, low)), (high if ceiling is None else min(ceiling, high))


def interval_bar(value: float, low: float, high: float, style: str = "line", label: str = "") -> Markup:
    """A measure between 0 and 1 on a line as wide as its place: its interval as a band, its value as a tick."""
    left, right = 100 * max(0.0, low), 100 * min(1.0, high)
    return Markup(
        '<svg class="bar {style}" height="16" role="img" aria-label="{label}"><rect class="rail" x="0" y="7.5" width="100%" height="1"/>'
        '<rect class="band" x="{left:.2f}%" y="4" width="{width:.2f}%" height="8"/>'
        '<line x1="{dot:.2f}%" x2="{dot:.2f}%" y1="2" y2="14"/></svg>'
    ).format(style=style, label=label, left=left, width=max(0.2, right - left), dot=100 * min(1.0, max(0.0, value)))


def matrix(counts: Sequence[Sequence[int]], labels: Sequence[str], cell_title: Callable[[int, int], str], label: str) -> Markup:
    """The confusion matrix as a heat map: lines are truths. Numbers stand in the cells up to 20 labels."""
    classes, names = len(labels), [short(label) for label in labels]
    cell, style = next((size, style) for most, size, style in _CELLS if classes <= most)
    longest = max(8 * columns(name) for name in names)
    left, upright = longest + 14, longest > cell - 6
    top = round(longest * 0.87) + 18 if upright else 26
    right = round(longest * 0.5) if upright else 2
    parts = []
    for i, name in enumerate(names):
        middle = i * cell + cell / 2
        turn, anchor = (" rotate(-60)", "name") if upright else ("", "name mid")
        parts.append(Markup('<text class="name end" x="{}" y="{}">{}</text>').format(left - 8, top + middle + 4, name))
        parts.append(
            Markup('<text class="{}" transform="translate({} {}){}">{}</text>').format(
                anchor, left + middle + (4 if upright else 0), top - 8, turn, name
            )
        )
    for t, line in enumerate(counts):
        for p, count in enumerate(line):
            parts.append(
                _cell(left + p * cell, top + t * cell, cell, count, count / max(1, sum(line)), t == p, cell_title(t, p), classes <= 20)
            )
    width, height = left + classes * cell + right, top + classes * cell + 2
    return Markup('<svg class="matrix {}" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">{}</svg>').format(
        style, width, height, width, label, Markup("").join(parts)
    )


def _cell(x: float, y: float, size: int, count: int, share: float, right: bool, title: str, written: bool) -> Markup:
    """One cell: a right one is grey by its share, a wrong one is coloured, small shares made visible."""
    strength = 0.72 * share if right else min(0.9, 1.26 * share**0.5)
    rect = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" fill-opacity="{:.3f}"><title>{}</title></rect>').format(
        "right" if right else "wrong", x + 1, y + 1, size - 2, size - 2, max(0.05, strength) if count else 0.03, title
    )
    if not written or not count:
        return rect
    return rect + Markup('<text class="count{}" x="{}" y="{}">{}</text>').format(
        " on" if strength > 0.5 else "", x + size / 2, y + size / 2 + 4, thousands(count)
    )


def thousands(count: int) -> str:
    """A count in at most four characters."""
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def short(text: str, width: int = 15) -> str:
    """At most `width` columns."""
    if columns(text) <= width:
        return text
    while columns(text) > width - 1:
        text = text[:-1]
    return text + "…"


def columns(text: str) -> int:
    """How wide text is, wide characters counting two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
