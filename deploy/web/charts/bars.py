"""Bars by category, stacked by series, each series in its colour and its pattern."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploy.web.charts.scale import short, ticks, written
from deploy.web.charts.svg import BOTTOM, TOP, labels_across, picture, plot, px, scale_labels, share, tag

_Height = Callable[[float], float]
COLOURS = 6
_PLOT = 210
_GAP = 0.24
_WIDEST = 0.14
_HATCH = {
    2: (Markup('<path d="M0 8L8 0M-2 2L2-2M6 10L10 6"/>'), 8),
    3: (Markup('<circle cx="3" cy="3" r="1.3"/>'), 6),
    4: (Markup('<path d="M0 3H6"/>'), 6),
    5: (Markup('<path d="M0 0L8 8M0 8L8 0"/>'), 8),
    6: (Markup('<path d="M3 0V6"/>'), 6),
}


@dataclass(frozen=True, slots=True)
class Series:
    """What the bars of one colour stand for: a value for each category, or None."""

    name: str
    values: Sequence[float | None]


def bars(
    ident: str,
    title: str,
    description: str,
    categories: Sequence[str],
    series: Sequence[Series],
    unit: str,
    *,
    links: Sequence[str | None] | None = None,
) -> Markup:
    """Draw bars, stacked; what is negative hangs below zero.

    Parameters
    ----------
    ident
        Of the picture in its page.
    title, description
        For whoever does not see it.
    categories
        Labels across.
    series
        The parts of each bar, from the bottom up. From the seventh on colours come again.
    unit
        Of the values, such as MWh.
    links
        Where a category leads to.
    """
    lows, highs = _stacks(series, len(categories))
    marks = ticks(min([0.0, *lows]), max([0.0, *highs]))
    low, high = float(marks[0]), float(marks[-1])

    def y(value: float) -> float:
        return _PLOT * (high - value) / (high - low)

    grid = Markup("").join(
        tag("line", x1="0", x2="100%", y1=px(y(float(mark))), y2=px(y(float(mark))),
            class_="axis" if mark == 0 else "grid")
        for mark in marks
    )  # fmt: skip
    drawn = []
    for place, label in enumerate(categories):
        parts = Markup("").join(_bar(ident, place, len(categories), label, series, unit, y))
        to = links[place] if links else None
        # The table beside has the same link for the keyboard.
        drawn.append(tag("a", parts, href=to, tabindex="-1") if to else parts)
    centres = [((place + 0.5) / len(categories), label) for place, label in enumerate(categories)]
    return picture(
        ident,
        title,
        description,
        TOP + _PLOT + BOTTOM,
        tag("defs", *(_pattern(ident, number) for number in _used(series) if number in _HATCH)),
        scale_labels([(written(mark), y(float(mark))) for mark in marks], unit),
        plot(_PLOT, grid, *drawn, labels_across(centres, _PLOT + 18)),
    )


def key(ident: str, series: Sequence[Series]) -> Markup:
    """List the series with their colours and patterns; `ident` is that of the picture."""
    entries = []
    for place, one in enumerate(series):
        number = _colour(place)
        swatch = tag("rect", width="14", height="14", class_=f"f{number}")
        hatch = tag("rect", width="14", height="14", fill=f"url(#{ident}-p{number})") if number in _HATCH else ""
        entries.append(tag("li", tag("svg", swatch, hatch, viewBox="0 0 14 14", aria_hidden="true"), one.name))
    return tag("ul", *entries, class_="legend")


def _bar(
    ident: str, place: int, count: int, label: str, series: Sequence[Series], unit: str, y: _Height
) -> list[Markup]:
    found = []
    up = down = 0.0
    for number, one in ((_colour(at), one) for at, one in enumerate(series)):
        value = one.values[place]
        if not value:
            continue
        base = up if value > 0 else down
        up, down = (up + value, down) if value > 0 else (up, down + value)
        top, bottom = sorted((y(base), y(base + value)))
        width = min((1 - _GAP) / count, _WIDEST)
        where = {
            "x": share((place + 0.5) / count - width / 2), "width": share(width),
            "y": px(top), "height": px(max(bottom - top, 0.5)),
        }  # fmt: skip
        told = tag("title", f"{label}, {one.name}: {short(value)} {unit}")
        found.append(tag("rect", told, class_=f"f{number}", **where))
        if number in _HATCH:
            found.append(tag("rect", told, fill=f"url(#{ident}-p{number})", **where))
    return found


def _stacks(series: Sequence[Series], count: int) -> tuple[list[float], list[float]]:
    columns = [[one.values[place] or 0.0 for one in series] for place in range(count)]
    return (
        [sum(value for value in column if value < 0) for column in columns],
        [sum(value for value in column if value > 0) for column in columns],
    )


def _used(series: Sequence[Series]) -> range:
    return range(1, min(len(series), COLOURS) + 1)


def _colour(place: int) -> int:
    return place % COLOURS + 1


def _pattern(ident: str, number: int) -> Markup:
    drawing, size = _HATCH[number]
    return tag(
        "pattern", tag("g", drawing, class_="hatch"), id=f"{ident}-p{number}", width=size, height=size,
        patternUnits="userSpaceOnUse",
    )  # fmt: skip
