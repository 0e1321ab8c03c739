"""A computed period for a person at a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mrv.basis import Credited
from mrv.computation import Progress as Told
from mrv.quality.rules import EXCLUSION_CODES, QualityRule
from mrv.register_rules import Effect, Rule
from mrv.result import PeriodResult

_QUIET_RULES = frozenset({Rule.NORMAL.id, Rule.OPENING.id})


def show(console: Console, result: PeriodResult) -> None:
    """Print the systems, the vintages, the register rules that fired and the notes."""
    what = "draft" if result.received_until is None else f"revision {result.revision}"
    console.print(f"[bold]{result.project}[/] {result.first_day} to {result.last_day}, {what}", highlight=False)
    console.print(
        f"{result.title}; {result.methodology} {result.methodology_version}, {result.methodology_title}",
        highlight=False,
        markup=False,
    )
    if result.received_until is not None:
        console.print(f"from everything received until {result.received_until.isoformat()}", highlight=False)
    console.print(_systems(result))
    console.print(_vintages(result))
    unusual = {rule: count for rule, count in sorted(result.rules.items()) if count and rule not in _QUIET_RULES}
    if unusual:
        console.print(_rules(unusual))
    for note in result.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"inputs {result.inputs_digest}, jcm-mrv {result.code_version}", highlight=False, soft_wrap=True)


def percent(share: Decimal) -> str:
    """Write a share of one for a person."""
    return f"{share * 100:.2f} %"


@contextmanager
def progress(console: Console) -> Iterator[Told]:
    """Show which device is being computed, where somebody looks."""
    with Progress(
        TextColumn("computing {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None)

        def told(credited: Credited, done: int, total: int) -> None:
            bar.update(task, description=credited.label, completed=done, total=total)

        yield told


def _table(*columns: tuple[str, bool]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, right in columns:
        table.add_column(title, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return table


def _systems(result: PeriodResult) -> Table:
    table = _table(
        ("system", False),
        ("connection", False),
        ("devices", True),
        ("coverage", True),
        ("EG MWh", True),
        ("EF t/MWh", True),
        ("RE tCO2", True),
    )
    for system in result.systems:
        shares = [device.coverage for device in system.devices]
        low, high = percent(min(shares)), percent(max(shares))
        table.add_row(
            system.id,
            system.connection.replace("_", " "),
            str(len(system.devices)),
            low if low == high else f"from {low}",
            f"{system.eg_mwh:,}",
            f"{system.factor.value}{'' if system.factor.confirmed else '?'}",
            f"{system.re_tco2:,}",
        )
    return table


def _vintages(result: PeriodResult) -> Table:
    table = _table(
        ("vintage", False), ("EG MWh", True), ("RE tCO2", True), ("PE tCO2", True), ("[bold]ER tCO2[/]", True)
    )
    for vintage in result.vintages:
        table.add_row(
            str(vintage.year),
            f"{vintage.eg_mwh:,}",
            f"{vintage.re_tco2:,}",
            str(vintage.pe_tco2),
            f"[bold]{vintage.er_tco2:,}[/]",
        )
    if len(result.vintages) > 1:
        table.add_row("sum", "", "", "", f"[bold]{result.er_tco2:,}[/]")
    return table


def _rules(counts: dict[str, int]) -> Table:
    known = {rule.id: rule for rule in Rule}
    told = {rule.id: rule for rule in QualityRule}
    table = _table(("rule", False), ("times", True), ("credit", False), ("what it means", False))
    for name, count in counts.items():
        rule, beside = known.get(name), told.get(name)
        effect = "" if rule is None else "kept" if rule.effect is Effect.CREDITS else "none"
        if beside is not None:
            effect = "none" if beside in EXCLUSION_CODES else "kept"
        table.add_row(name, f"{count:,}", effect, getattr(rule or beside, "reason", ""))
    return table
