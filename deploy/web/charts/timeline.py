"""Spans and events of several rows on one time axis, such as calibrations of meters over a monitoring period."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup

from deploy.web.charts.svg import picture, share, tag, thinned, with_room

_ROW = 46
_HEAD = 26
_FOOT = 8
_BAR_Y, _BAR = 20, 16
_YEAR_MONTHS = 12
_SIGNS = len("2021-10")


@dataclass(frozen=True, slots=True)
class Span:
    """Days, both included."""

    first: date
    last: date
    kind: str
    """good, watch, bad or none."""
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something on one day."""

    day: date
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown under one label."""

    label: str
    spans: Sequence[Span]
    events: Sequence[Event] = ()


def time_line(
    ident: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    first: date,
    last: date,
    *,
    period: Span | None = None,
) -> Markup:
    """Draw a time line from the first to the last day, both included; what reaches beyond is cut off.

    Parameters
    ----------
    ident, title, description
        Of the picture in its page, and for whoever does not see it.
    rows
        From the top down.
    first, last
        The ends of the axis.
    period
        Days that are marked over all rows.
    """
    length = (last - first).days + 1

    def x(day: date) -> float:
        return min(1.0, max(0.0, (day - first).days / length))

    def after(day: date) -> float:
        return min(1.0, max(0.0, ((day - first).days + 1) / length))

    def inside(day: date) -> bool:
        return first <= day <= last

    height = _HEAD + _ROW * len(rows) + _FOOT
    drawn: list[Markup] = []
    if period is not None:
        drawn.append(
            tag("rect", tag("title", period.name), x=share(x(period.first)),
                width=share(after(period.last) - x(period.first)), y=_HEAD - 6, height=height - _HEAD, class_="period")
        )  # fmt: skip
    marks = axis_days(first, last)
    for mark, shown in zip(marks, thinned(len(marks), _SIGNS), strict=True):
        if shown is not None:
            drawn += _mark(f"{mark:%Y-%m}", x(mark), shown, height)
    for place, row in enumerate(rows):
        top = _HEAD + place * _ROW
        drawn.append(tag("text", row.label, x="0", y=top + 13, class_="strong", dx="4"))
        for span in row.spans:
            begin, end = x(span.first), after(span.last)
            if end > begin:
                where = {"x": share(begin), "width": share(end - begin), "y": top + _BAR_Y, "height": _BAR}
                drawn.append(tag("rect", tag("title", span.name), class_=f"span {span.kind}", rx="3", **where))
        for event in row.events:
            if inside(event.day):
                mark_of = tag("path", tag("title", event.name), d="M0-9L7 0L0 9L-7 0Z", class_="event")
                drawn.append(tag("svg", mark_of, x=share(x(event.day)), y=top + _BAR_Y + _BAR // 2, overflow="visible"))
    return picture(ident, title, description, height, *drawn, axis=False)


def _mark(name: str, at: float, shown: str, height: int) -> list[Markup]:
    where = share(at)
    line = tag("line", x1=where, x2=where, y1=_HEAD - 6, y2=height - _FOOT, class_=f"grid {shown}".strip())
    room = with_room(shown, at, _SIGNS)
    return [line] if room is None else [line, tag("text", name, x=where, y="14", class_=room or None, dx="2")]


def axis_days(first: date, last: date, most: int = 12) -> list[date]:
    """Choose first days of months for the axis, evenly, at most `most` of them."""
    months = [
        date(number // _YEAR_MONTHS, number % _YEAR_MONTHS + 1, 1)
        for number in range(first.year * _YEAR_MONTHS + first.month - 1, last.year * _YEAR_MONTHS + last.month)
    ]
    months = [month for month in months if first <= month <= last]
    for step in (1, 2, 3, 6, 12):
        found = [month for month in months if (month.month - 1) % step == 0]
        if len(found) <= most:
            return found
    years = [month for month in months if month.month == 1]
    return years[:: -(-len(years) // most)]
