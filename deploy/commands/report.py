"""`jcm-mrv report`: the report of a monitoring period as a file."""

import re
import sys
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mrv.result import PeriodResult

STANDARD_OUTPUT = Path("-")
# What `mrv.reports` renders; written here so that `--help` does not import it.
_FORMATS = ("json", "xlsx", "csv", "html")
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def day(text: str) -> date:
    """Read a calendar day, written as ISO 8601 does: 2021-12-31.

    Raises
    ------
    click.BadParameter
        It is not one; the command line exits 2.
    """
    try:
        # fromisoformat alone also reads 20211231 and 2021-W52-5.
        return date.fromisoformat(text if _ISO_DAY.fullmatch(text) else "")
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a day; give it as YYYY-MM-DD, such as 2021-12-31") from None


@click.command()
@click.argument("project")
@click.argument("first", metavar="FROM", type=day)
@click.argument("last", metavar="TO", type=day)
@click.option("--revision", type=click.IntRange(min=1), metavar="N", help="Recompute this frozen revision.")
@click.option("--format", "report_format", type=click.Choice(_FORMATS), required=True, help="What to write.")
@click.option("--out", type=click.Path(path_type=Path), metavar="PATH", help="The file to write; - is standard output.")
def report(
    project: str, first: date, last: date, *, revision: int | None, report_format: str, out: Path | None
) -> None:
    """Write the report of a monitoring period.

    FROM and TO are days of the site, both included. Without --revision it is the latest frozen revision or, when the
    period was never frozen, a draft from what is there now. With --revision the tonnes are computed again from that
    revision's cut-off, and refused when they differ in a single byte.

    json is for scripts, csv has one fact a row, xlsx is the JCM Monitoring Report Sheet with live formulas, and html
    is a page to read or print.
    """
    from mrv.revisions import check_order

    check_order(first, last)
    path = _destination(report_format, out)
    result, content = _rendered(project, first, last, revision, report_format)
    total = f"{_mwh(result):,} MWh, {result.er_tco2:,} tCO2"
    if path is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        click.echo(total, err=True)
        return
    from deploy.files import write_whole

    write_whole(path, content)
    click.echo(f"{path}: {total}")


def _destination(report_format: str, out: Path | None) -> Path | None:
    """Decide where the report goes; None is standard output."""
    if out is not None and out != STANDARD_OUTPUT:
        from deploy.files import check_writable

        check_writable(out)
        return out
    if report_format == "xlsx":
        raise click.UsageError("a workbook is not for a terminal or a pipe; give --out FILE.xlsx")
    if out is None and sys.stdout.isatty():
        raise click.UsageError("give --out PATH, or --out - to see the report here")
    return None


def _rendered(
    project: str, first: date, last: date, revision: int | None, report_format: str
) -> tuple["PeriodResult", bytes]:
    from rich.console import Console

    from deploy.period_view import progress
    from deploy.servers import endpoints
    from mrv.periods import recompute, reported
    from mrv.reports import FORMATS, render
    from sql.connection import Role, connect
    from sql.connection import reported as database_errors_reported
    from sql.migrator import check

    chosen = next(known for known in FORMATS if known == report_format)
    with database_errors_reported(), connect(endpoints().database_url, Role.MRV, application="jcm-mrv report") as store:
        check(store)
        with progress(Console(stderr=True)) as told:
            if revision is None:
                result, declaration = reported(
                    store, project, first, last, code_version=version("jcm-mrv"), progress=told
                )
            else:
                frozen = recompute(store, project, first, last, revision, progress=told)
                result, declaration = frozen.result, frozen.basis.declaration
    _say_which(result, recomputed=revision is not None)
    return result, render(result, declaration, chosen)


def _say_which(result: "PeriodResult", *, recomputed: bool) -> None:
    days = f"{result.project} {result.first_day} to {result.last_day}"
    if result.received_until is None:
        said = f"draft of {days}: never frozen, computed from what is there now"
    else:
        how = "recomputed to the same byte" if recomputed else "the latest"
        until = result.received_until.isoformat()
        said = f"revision {result.revision} of {days} ({how}), from everything received until {until}"
    click.echo(said, err=True)


def _mwh(result: "PeriodResult") -> Decimal:
    return sum((vintage.eg_mwh for vintage in result.vintages), Decimal("0.000000"))
