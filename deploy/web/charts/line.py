"""A line over one day, broken where nothing was measured, with bands over what was decided there."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploy.web.charts.scale import ticks, written
from deploy.web.charts.svg import BOTTOM, TOP, labels_across, picture, plot, px, scale_labels, share, tag

_Place = Callable[[float], float]
_PLOT = 170
# The drawing's own width; it is stretched to the plot's, and strokes are not.
_ACROSS = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """Measured values; None breaks the line."""

    points: Sequence[tuple[float, float | None]]
    """x and y, x rising."""
    colour: int = 1
    """1 to 6."""
    area: bool = False
    """Whether what lies below is filled."""


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of x that something was decided about."""

    begin: float
    end: float
    kind: str
    """good, watch, bad or none."""
    name: str


def line(
    ident: str,
    title: str,
    description: str,
    drawn: Line,
    unit: str,
    span: tuple[float, float],
    across: Sequence[tuple[float, str]],
    *,
    bands: Sequence[Band] = (),
    from_zero: bool = True,
) -> Markup:
    """Draw a line.

    Parameters
    ----------
    ident, title, description
        Of the picture in its page, and for whoever does not see it.
    drawn
        The line.
    unit
        Of y.
    span
        First and last x that are shown.
    across
        Ticks of x with their labels.
    bands
        Drawn behind the line.
    from_zero
        Whether the y axis begins at zero; a register's does not.
    """
    values = [y for _, y in drawn.points if y is not None]
    ends = [*values, 0.0] if from_zero or not values else values
    marks = ticks(min(ends), max(ends), 5)
    low, high = float(marks[0]), float(marks[-1])

    def y(value: float) -> float:
        return _PLOT * (high - value) / (high - low)

    def x(value: float) -> float:
        begin, end = span
        return min(1.0, max(0.0, (value - begin) / (end - begin)))

    grid = Markup("").join(
        tag("line", x1="0", x2="100%", y1=px(y(float(mark))), y2=px(y(float(mark))), class_="grid") for mark in marks
    )
    behind = Markup("").join(
        tag(
            "rect", tag("title", band.name), x=share(x(band.begin)), y="0", height=_PLOT,
            width=share(max(x(band.end) - x(band.begin), 0.002)), class_=f"band {band.kind}",
        )
        for band in bands
    )  # fmt: skip
    paths = Markup("").join(_paths(drawn, x, y, y(min(max(low, 0.0), high))))
    canvas = tag(
        "svg", paths, viewBox=f"0 0 {_ACROSS} {_PLOT}", preserveAspectRatio="none", width="100%", height=_PLOT,
        overflow="visible",
    )  # fmt: skip
    base = tag("line", x1="0", x2="100%", y1=px(y(low)), y2=px(y(low)), class_="axis")
    return picture(
        ident,
        title,
        description,
        TOP + _PLOT + BOTTOM,
        scale_labels([(written(mark), y(float(mark))) for mark in marks], unit),
        plot(_PLOT, grid, behind, canvas, base, labels_across([(x(at), text) for at, text in across], _PLOT + 18)),
    )


def segments(points: Sequence[tuple[float, float | None]]) -> Iterator[list[tuple[float, float]]]:
    """Cut a line where nothing was measured."""
    part: list[tuple[float, float]] = []
    for at, value in points:
        if value is not None:
            part.append((at, value))
        elif part:
            yield part
            part = []
    if part:
        yield part


def _paths(drawn: Line, x: _Place, y: _Place, floor: float) -> Iterator[Markup]:
    for part in segments(drawn.points):
        at = [f"{px(x(one) * _ACROSS)} {px(y(value))}" for one, value in part]
        if drawn.area and len(part) > 1:
            first, last = px(x(part[0][0]) * _ACROSS), px(x(part[-1][0]) * _ACROSS)
            yield tag(
                "path", d=f"M{first} {px(floor)}L{'L'.join(at)}L{last} {px(floor)}Z", class_=f"area f{drawn.colour}"
            )
        # A single reading is a dot: a line of no length with round ends.
        yield tag(
            "path", d=f"M{'L'.join(at)}" if len(at) > 1 else f"M{at[0]}h0", class_=f"line s{drawn.colour}",
            vector_effect="non-scaling-stroke",
        )  # fmt: skip
