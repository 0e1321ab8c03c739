"""Elements of SVG and HTML with everything escaped, and the parts that all pictures share."""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final

from markupsafe import Markup, escape

LEFT: Final = 56
"""Room for the labels of the y axis [px]; the style sheet has the same number."""
TOP: Final = 22
BOTTOM: Final = 24
# Digits and lower-case letters of 12 px, a little generous; and what stands between two labels.
_CHARACTER_PX, _BETWEEN_PX = 7, 10
# Plots as wide as a phone, a tablet and a desk have; the style sheet's container queries begin there.
_WIDTHS_PX = (260, 520, 860)
_SHOWN = ("", "from-medium", "from-wide")

Content = str | Markup


def tag(name: str, *content: Content, **attributes: object) -> Markup:
    """Write an element; None leaves an attribute out, and a trailing underscore of its name (`class_`) is dropped."""
    # Put together as plain text: `Markup.format` takes ten times as long, and a month of fifty devices has 1,500 cells.
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{''.join(map(escape, content))}</{name}>")  # noqa: S704 - each part is escaped


def picture(ident: str, title: str, description: str, height: int, *content: Content, axis: bool = True) -> Markup:
    """Write the frame of a picture, named and described for whoever does not see it.

    With an `axis` the style sheet leaves `LEFT` pixels beside it, where the labels of the y axis hang out of the frame.
    """
    # What is within an image is not told to whoever cannot see it, and a link must be.
    role = "group" if any("<a " in one for one in content) else "img"
    return tag(
        "svg",
        tag("title", title, id=f"{ident}-t"),
        tag("desc", description, id=f"{ident}-d"),
        *content,
        class_="chart axes" if axis else "chart",
        role=role,
        aria_labelledby=f"{ident}-t {ident}-d",
        width="100%",
        height=height,
        overflow="visible",
    )


def scale_labels(marks: Sequence[tuple[str, float]], unit: str) -> Markup:
    """Write the labels of the y axis, left of the frame, and the unit above them."""
    return Markup("").join(
        [
            tag("text", unit, x=-LEFT, y="12", class_="unit"),
            *(tag("text", text, x="-8", y=px(TOP + y + 4), text_anchor="end") for text, y in marks),
        ]
    )


def plot(height: int, *content: Content) -> Markup:
    """Write the part above the x axis: its lengths across are shares of its width."""
    return tag("svg", *content, y=TOP, width="100%", height=height, overflow="visible")


def share(value: float) -> str:
    """Write a share of the width, 0 to 1."""
    return f"{value * 100:.3f}".rstrip("0").rstrip(".") + "%"


def px(value: float) -> str:
    """Write a length in pixels, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def labels_across(at: Sequence[tuple[float, str]], y: float) -> Markup:
    """Write the labels of the x axis; of labels that are too many for narrow plots every few are left out there."""
    longest = max((len(text) for _, text in at), default=1)
    classes = thinned(len(at), longest)
    return Markup("").join(
        tag("text", text, x=share(where), y=px(y), text_anchor="middle", class_=shown or None)
        for (where, text), shown in zip(at, classes, strict=True)
        if shown is not None
    )


def thinned(labels: int, longest: int) -> list[str | None]:
    """Say from which width of the plot on each label is shown: a class, empty for always, None for never."""
    each_px = longest * _CHARACTER_PX + _BETWEEN_PX
    found: list[str | None] = [None] * labels
    for width, shown in reversed(list(zip(_WIDTHS_PX, _SHOWN, strict=True))):
        most = max(1, width // each_px)
        stride = next(stride for stride in _strides() if (labels + stride - 1) // stride <= most)
        for place in range(0, labels, stride):
            found[place] = shown
    return found


def with_room(shown: str, at: float, longest: int) -> str | None:
    """Say the same of a label that begins at a share of the width and shall end within it."""
    for width, wide in list(zip(_WIDTHS_PX, _SHOWN, strict=True))[_SHOWN.index(shown) :]:
        if at * width + longest * _CHARACTER_PX <= width:
            return wide
    return None


def _strides() -> Iterable[int]:
    # Each divides the next, so that what is shown in a narrow plot is also shown in a wider one.
    return (2**power for power in count())
