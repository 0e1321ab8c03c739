"""What comes out: one JSON line a figure on standard output, one table for people on standard error."""

import json
import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass
class Figure:
    """One measured number, with what it is to be held against."""

    figure: str
    value: float | None
    unit: str
    ratio: float | None = None
    """To whatever `of` names, measured in the same run."""
    of: str = ""
    target: str = ""
    met: bool | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The JSON line."""
        given = {"figure": self.figure, "value": _rounded(self.value), "unit": self.unit}
        if self.ratio is not None:
            given |= {"ratio": round(self.ratio, 3), "of": self.of}
        if self.target:
            given |= {"target": self.target, "met": self.met}
        return json.dumps(given | self.facts)


class Sheet:
    """All figures of a run."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def add(self, figure: Figure) -> None:
        """Take a figure and print its line."""
        self.figures.append(figure)
        print(figure.line(), flush=True)

    def table(self) -> None:
        """Print all figures for people."""
        table = Table("figure", "value", "unit", "ratio", "of", "target", "met", "more")
        for one in self.figures:
            value = "–" if one.value is None else f"{one.value:,.0f}" if one.value >= 100 else f"{one.value:.2f}"
            table.add_row(
                one.figure,
                value,
                one.unit,
                f"{one.ratio:.2f}" if one.ratio is not None else "",
                one.of,
                one.target,
                {True: "yes", False: "NO", None: ""}[one.met],
                ", ".join(f"{name} {said}" for name, said in one.facts.items()),
            )
        Console(file=sys.stderr, width=180 if not sys.stderr.isatty() else None).print(table)


def say(text: str) -> None:
    """Tell the person who waits what is being measured."""
    print(f"  {text}", file=sys.stderr, flush=True)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1 if value >= 100 else 3)
