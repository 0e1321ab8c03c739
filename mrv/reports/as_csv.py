r"""The report as CSV: one tidy table, one fact a row, for a spreadsheet's pivot table or `pandas.read_csv`.

Columns, always all of them and in this order (an empty cell: does not apply; what is not declared has no row):

======================  ==================================================================================
project                 the project's reference number
period_from, period_to  first and last day of the monitoring period, ISO 8601, both included
revision                0 for a draft
level                   what the row is about: project, vintage, system, system_year, device, meter, invoice
system, site, device    ids, from the level system downwards; for an invoice, device is its number
year                    calendar year (vintage and system_year)
parameter               ER_p, RE_p, PE_p, EG_p, EG_i,p, EF_RE,i, RE_i, capacity, energy, coverage, a quality
                        rule's id (the value is how often it fired), or a property such as serial_number
value                   exact, without thousands separators; text where the parameter is text
unit                    MWh/p, tCO2/p, tCO2/MWh, kW, Wh, ratio, count; empty for text
source                  where the value comes from
======================  ==================================================================================

UTF-8 without a byte-order mark, CRLF and quoting as in RFC 4180. Text that a spreadsheet would take for a formula (it
begins with = + - @, one of their full-width forms, a tab, a carriage return or a line feed) gets an apostrophe in
front; numbers are never altered.
"""

import csv
import io
from collections.abc import Iterator
from decimal import Decimal

from mrv.reports import wording
from mrv.reports.particulars import Particulars
from mrv.result import PeriodResult, SystemResult

COLUMNS = (
    "project", "period_from", "period_to", "revision", "level", "system", "site", "device", "year",
    "parameter", "value", "unit", "source",
)  # fmt: skip
_FORMULA_STARTS = tuple("=+-@＝＋－＠\t\r\n")
_DECLARED = "declared"
_VALUE = 6

Fact = tuple[str, str, str, str, int | None, str, Decimal | int | str | None, str, str]
"""level, system, site, device, year, parameter, value, unit, source."""


def render(result: PeriodResult, particulars: Particulars) -> bytes:
    """Write the result as the table that this module describes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    head = (_text(result.project), result.first_day.isoformat(), result.last_day.isoformat(), result.revision)
    for fact in _facts(result, particulars):
        if fact[_VALUE] is not None:
            writer.writerow((*head, *(_cell(value) for value in fact)))
    return text.getvalue().encode()


def _facts(result: PeriodResult, particulars: Particulars) -> Iterator[Fact]:
    yield from _of_project(result, particulars)
    for vintage in result.vintages:
        for parameter, value, unit, source in (
            ("EG_p", vintage.eg_mwh, "MWh/p", "sum of EG_i,p"),
            ("RE_p", vintage.re_tco2, "tCO2/p", "sum of RE_i"),
            ("PE_p", vintage.pe_tco2, "tCO2/p", "methodology"),
            ("ER_p", vintage.er_tco2, "tCO2/p", "RE_p - PE_p, rounded down to whole tonnes"),
        ):
            yield "vintage", "", "", "", vintage.year, parameter, value, unit, source
    for system in result.systems:
        yield from _of_system(system, particulars)
        yield from _of_devices(system, particulars)
    yield from _of_meters(result)


def _of_project(result: PeriodResult, particulars: Particulars) -> Iterator[Fact]:
    def fact(parameter: str, value: Decimal | int | str | None, unit: str, source: str) -> Fact:
        return "project", "", "", "", None, parameter, value, unit, source

    yield fact("ER_p", result.er_tco2, "tCO2/p", "sum over the calendar years")
    yield fact("coverage", result.coverage, "ratio", "share of the period that credited intervals cover")
    for rule, count in sorted(result.rules.items()):
        yield fact(rule, count, "count", wording.rule_reason(rule)[1])
    yield fact("title", result.title, "", _DECLARED)
    yield fact("host_country", result.host_country, "", _DECLARED)
    yield fact("methodology", wording.methodology(result), "", _DECLARED)
    for participant in particulars.participants:
        yield fact("participant", participant, "", _DECLARED)
    yield fact("third_party_entity", particulars.third_party_entity, "", _DECLARED)
    received_until = None if result.received_until is None else result.received_until.isoformat()
    yield fact("received_until", received_until, "", "the revision's cut-off")
    yield fact("inputs_digest", result.inputs_digest, "", "computed")
    yield fact("code_version", result.code_version, "", "computed")
    for note in result.notes:
        yield fact("note", note, "", "computed")


def _of_system(system: SystemResult, particulars: Particulars) -> Iterator[Fact]:
    ids: tuple[str, str, str, str, int | None] = ("system", system.id, system.site, "", None)
    factor = system.factor
    source = factor.source if factor.confirmed else f"{factor.source} (unconfirmed default)"
    yield *ids, "capacity", system.capacity_kw, "kW", _DECLARED
    yield *ids, "connection", system.connection, "", _DECLARED
    yield *ids, "EF_RE,i", factor.value, "tCO2/MWh", source
    monitored = f"monitored, Option {particulars.option(system.id)}"
    yield *ids, "EG_i,p", system.eg_mwh, "MWh/p", monitored
    yield *ids, "RE_i", system.re_tco2, "tCO2/p", "sum over the calendar years"
    for year in system.years:
        ids = ("system_year", system.id, system.site, "", year.year)
        yield *ids, "EG_i,p", year.eg_mwh, "MWh/p", monitored
        yield *ids, "RE_i", year.re_tco2, "tCO2/p", "EG_i,p x EF_RE,i, rounded down to 6 places"


def _of_devices(system: SystemResult, particulars: Particulars) -> Iterator[Fact]:
    for device in system.devices:
        ids = ("device", system.id, device.site, device.id, None)
        energy = "energy" if device.quantity == "generated" else f"energy {device.quantity}"
        yield *ids, energy, device.energy_wh, "Wh", "monitored, difference of register readings"
        yield *ids, "coverage", device.coverage, "ratio", "share of the period that credited intervals cover"
        for rule, count in sorted(device.rules.items()):
            yield *ids, rule, count, "count", wording.rule_reason(rule)[1]
        yield *ids, "kind", device.kind, "", _DECLARED
        yield *ids, "serial_number", device.serial_number, "", _DECLARED
        yield *ids, "accuracy_class", particulars.accuracy_class(device.site, device.id), "", _DECLARED
        error = particulars.maximum_permissible_error_percent(device.site, device.id)
        yield *ids, "maximum_permissible_error", error, "%", _DECLARED
        for calibration in particulars.calibrations(device.site, device.id):
            yield *ids, "calibration_performed", calibration.performed.isoformat(), "", _DECLARED
            yield *ids, "calibration_valid_until", calibration.valid_until.isoformat(), "", _DECLARED
            yield *ids, "calibration_error", calibration.error_percent, "%", _DECLARED
            yield *ids, "calibration_laboratory", calibration.laboratory, "", _DECLARED
            yield *ids, "calibration_certificate", calibration.certificate, "", _DECLARED


def _of_meters(result: PeriodResult) -> Iterator[Fact]:
    for meter in result.meters:
        ids = ("meter", meter.system, meter.site, meter.id, None)
        yield *ids, "counts_as", meter.quantity, "", "methodology"
        yield *ids, "permissible_error", meter.error_percent, "%", meter.error_source
        yield *ids, "metered", meter.metered_wh, "Wh", "monitored, difference of register readings"
        yield *ids, "credited", meter.credited_wh, "Wh", "after calibration and invoices"
        for span in meter.calibration:
            days = f"{span.first_day} to {span.last_day}"
            yield *ids, "calibration_state", span.state, "", days
            yield *ids, "calibration_error_taken", span.error_percent, "%", days
            yield *ids, "calibration_energy_taken", span.taken_wh, "Wh", days
        for finding in meter.findings:
            yield *ids, finding.rule, finding.message, "", wording.rule_reason(finding.rule)[0]
    for invoice in result.invoices:
        ids = ("invoice", invoice.system, "", invoice.number, None)
        source = f"{invoice.issuer}, {invoice.first_day} to {invoice.last_day}, {invoice.quantity}"
        yield *ids, "invoiced", invoice.invoiced_wh, "Wh", source
        yield *ids, "metered", invoice.metered_wh, "Wh", source
        yield *ids, "difference", invoice.difference_percent, "%", source
        yield *ids, "applied", invoice.applied_wh, "Wh", source
        for finding in invoice.findings:
            yield *ids, finding.rule, finding.message, "", wording.rule_reason(finding.rule)[0]


def _cell(value: Decimal | int | str | None) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return "" if value is None else str(value)


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
