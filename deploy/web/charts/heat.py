"""A heat map as a table: every cell has its number, and is a link where there is more to see."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploy.web.charts.scale import short
from deploy.web.charts.svg import tag

LEVELS = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """What one row has in one column."""

    value: float | None
    """None: nothing is known."""
    name: str
    """What the cell says to whoever does not see its place, such as `pond/m-1, 2021-05-03: 17.3 MWh, incomplete`."""
    link: str | None = None
    flag: str = ""
    """A sign in the corner for what is to be looked at, such as `!`; the name says what it means."""
    text: str | None = None
    """What stands in the cell; None: the value with three digits."""


def heat(
    caption: str,
    corner: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, str | None, Sequence[Cell | None]]],
    *,
    highest: float | None = None,
) -> Markup:
    """Draw a heat map.

    Parameters
    ----------
    caption
        Says what is shown, and in which unit.
    corner
        What rows are.
    columns
        Labels across, short.
    rows
        Label, where it leads, and a cell for each column; None: there is nothing to say.
    highest
        What has the strongest colour; None: the largest value.
    """
    top = highest or max((cell.value or 0.0 for _, _, cells in rows for cell in cells if cell), default=0.0)
    head = tag("tr", tag("th", corner, scope="col"), *(tag("th", column, scope="col") for column in columns))
    body = []
    for label, to, cells in rows:
        name = tag("a", label, href=to) if to else label
        body.append(tag("tr", tag("th", name, scope="row"), *(_cell(cell, top) for cell in cells)))
    return tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body), class_="heat")


def level(value: float | None, highest: float) -> int:
    """Return the shade of a value: 0 for nothing, else 1 to `LEVELS`."""
    if value is None or value <= 0 or highest <= 0:
        return 0
    return min(LEVELS, int(value / highest * LEVELS) + 1)


def _cell(cell: Cell | None, top: float) -> Markup:
    if cell is None:
        return tag("td", "", class_="absent")
    said = cell.text if cell.text is not None else "–" if cell.value is None else short(cell.value)
    flag = tag("span", cell.flag, class_="flag", aria_hidden="true") if cell.flag else ""
    shade = f"h{level(cell.value, top)}" + (" flagged" if cell.flag else "")
    if cell.link is None:
        return tag("td", said, flag, class_=shade, title=cell.name)
    return tag("td", tag("a", said, flag, href=cell.link, aria_label=cell.name, title=cell.name), class_=shade)
