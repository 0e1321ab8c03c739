"""The report of a period, as JSON, CSV, a workbook or a page: the same facts, and the same bytes for the same result.

No clock, no locale, no database: a renderer takes a `PeriodResult` and what the declaration adds, and returns bytes.
"""

from typing import Literal, get_args

from devices.declarations import ProjectDeclaration
from mrv.reports.particulars import Particulars
from mrv.result import PeriodResult

Format = Literal["json", "xlsx", "csv", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)


def render(result: PeriodResult, declaration: ProjectDeclaration, report_format: Format) -> bytes:
    """Write the report of a period.

    Parameters
    ----------
    result
        The computed period.
    declaration
        The declaration it was computed from.
    report_format
        `json` (the contract of the command line), `csv` (one fact a row), `xlsx` (the JCM Monitoring Report Sheet) or
        `html` (a page).

    Returns
    -------
    bytes
        The same for the same arguments, whatever the time, the machine and its locale.
    """
    # A renderer is imported when it is asked for: XlsxWriter alone takes 60 ms.
    if report_format == "json":
        from mrv.reports import as_json

        return as_json.render(result)
    particulars = Particulars.of(declaration)
    if report_format == "csv":
        from mrv.reports import as_csv

        return as_csv.render(result, particulars)
    if report_format == "xlsx":
        from mrv.reports import as_xlsx

        return as_xlsx.render(result, particulars)
    from mrv.reports import as_html

    return as_html.render(result, particulars)
