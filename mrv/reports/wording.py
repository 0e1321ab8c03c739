"""What the reports say in words: the Joint Crediting Mechanism's own terms, written once.

Sources: the Monitoring Report Sheet of ID009 (columns, terms); the ADB handbook on JCM projects (monitoring options).
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from devices.declarations import Calibration
from mrv.meters.rules import MeterRule
from mrv.quality.rules import QualityRule
from mrv.register_rules import Rule
from mrv.reports.particulars import Particulars
from mrv.result import DeviceEnergy, PeriodResult, SystemResult, Vintage

MONITORING_OPTIONS = (
    (
        "Option A",
        "Based on public data measured by entities other than the project participants (statistics, specifications)",
    ),
    (
        "Option B",
        "Based on the amount of transaction, measured with measuring equipment (commercial evidence such as invoices)",
    ),
    ("Option C", "Based on actual measurement with measuring equipment (measured values)"),
)
CONNECTIONS = {
    "grid": "connected to the national or regional grid",
    "grid_and_captive": "connected to an internal grid with both grid and captive power",
    "captive": "connected to an internal grid with captive power only",
}
UNCONFIRMED = "Unconfirmed default: not read in the methodology's own text; confirm it, or register a factor"
# English whatever the machine's locale: strftime("%b") is not.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# A cell with more meters than this is not read any more; the sheet of devices has them all.
METERS_IN_A_CELL = 4
UNCONFIRMED_FORM = (
    "Names of the sheets MRS(input), MRS(calc_process) and MSS",
    "Column heads of Tables 2 and 3; those of Table 1 were read in the published sheet of ID009",
    "The Monitoring Structure Sheet's two columns, Responsible personnel and Role",
    "The four sections and five columns of the calculation sheet; columns F and G are this workbook's own",
    "ER_p rounded down to whole tonnes for each calendar year: inferred from published issuances",
)
"""What of the form was not read in the form itself."""
_REASONS = {rule.id: (rule.effect.value, rule.reason) for rule in (*Rule, *QualityRule, *MeterRule)}


def day(value: date) -> str:
    """Write a day as Monitoring Report Sheets do: 1/Jan/2017."""
    return f"{value.day}/{_MONTHS[value.month - 1]}/{value.year}"


def days(first: date, last: date) -> str:
    """Write a monitoring period as Monitoring Report Sheets do: 1/Jan/2017-31/Dec/2017."""
    return f"{day(first)}-{day(last)}"


def instant(value: datetime) -> str:
    """Write an instant in UTC, to the microsecond where it has one."""
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')} UTC"


def percent(share: Decimal) -> str:
    """Write a share of 4 places as a percentage of 2, exactly."""
    return f"{share * 100:.2f} %"


def revision(result: PeriodResult) -> str:
    """Say which revision the report is of, and up to when readings count."""
    if result.revision == 0 or result.received_until is None:
        return "draft, not frozen: computed from what was there"
    return f"{result.revision}, from everything received until {instant(result.received_until)}"


def methodology(result: PeriodResult) -> str:
    """Name the methodology: TH_AM001 Ver1.0, Installation of Solar PV System."""
    return f"{result.methodology} Ver{result.methodology_version}, {result.methodology_title}"


def connection(system: SystemResult) -> str:
    """Say how a system is connected, which is what its factor was chosen by."""
    return CONNECTIONS.get(system.connection, system.connection)


def vintage_of(result: PeriodResult, year: int) -> Vintage:
    """Return the calendar year of the period."""
    return next(vintage for vintage in result.vintages if vintage.year == year)


def factor_comment(system: SystemResult) -> str:
    """Say how the factor was chosen, and that it is unconfirmed where it is."""
    chosen = f"{connection(system).capitalize()}; {number(system.capacity_kw)} kW"
    return chosen if system.factor.confirmed else f"{UNCONFIRMED}. {chosen}"


def number(value: Decimal) -> str:
    """Write an exact number with thousands separators and no more places than it needs."""
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def devices(energies: Sequence[DeviceEnergy]) -> str:
    """Count devices by kind: 22 inverters; 1 meter."""
    kinds = sorted({energy.kind for energy in energies})
    counts = [(sum(energy.kind == kind for energy in energies), kind) for kind in kinds]
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for count, kind in counts)


def measurement(system: SystemResult, particulars: Particulars) -> str:
    """Say how the generation of a system was measured, from what is declared about its meters."""
    if not system.devices:
        return "No device of this system is credited."
    if len(system.devices) > METERS_IN_A_CELL:
        named = sum(1 for energy in system.devices if energy.serial_number)
        meters = f"{devices(system.devices)} ({named} with a serial number; see the sheet Devices)"
    else:
        meters = "; ".join(_meter(energy, particulars) for energy in system.devices)
    return (
        f"Measured by {meters}. Readings of the energy register are sent automatically to a server, where they are "
        "recorded and stored. The value is the difference of register readings; what cannot be credited is left out."
    )


def _meter(energy: DeviceEnergy, particulars: Particulars) -> str:
    accuracy_class = particulars.accuracy_class(energy.site, energy.id)
    facts = [f"serial number {energy.serial_number}" if energy.serial_number else "no serial number declared"]
    if accuracy_class:
        facts.append(f"accuracy class {accuracy_class}")
    facts.append(calibration(particulars.calibrations(energy.site, energy.id)) or "no calibration declared")
    return f"{energy.kind} {energy.id} ({', '.join(facts)})"


def calibration(calibrations: Sequence[Calibration]) -> str:
    """Say when a meter was last calibrated and until when that holds; nothing when none is declared."""
    if not calibrations:
        return ""
    last = max(calibrations, key=lambda done: done.performed)
    by = f" by {last.laboratory}" if last.laboratory else ""
    certificate = f", certificate {last.certificate}" if last.certificate else ""
    return f"calibrated {day(last.performed)}{by}, valid until {day(last.valid_until)}{certificate}"


def all_calibrations(calibrations: Sequence[Calibration]) -> str:
    """List every calibration of a meter with its validity, error, laboratory and certificate, the oldest first."""
    said = []
    for done in calibrations:
        error = "" if done.error_percent is None else f", error {done.error_percent:f} %"
        by = f", {done.laboratory}" if done.laboratory else ""
        certificate = f", certificate {done.certificate}" if done.certificate else ", no certificate"
        said.append(f"{day(done.performed)} valid until {day(done.valid_until)}{error}{by}{certificate}")
    return "; ".join(said)


def rule_reason(rule_id: str) -> tuple[str, str]:
    """Return a quality rule's effect and reason; empty for a rule that this version does not know."""
    return _REASONS.get(rule_id, ("", ""))


def provenance(result: PeriodResult, particulars: Particulars) -> list[tuple[str, str]]:
    """List where the numbers come from, as labels and values."""
    return [
        ("Project", result.project),
        ("Title", result.title),
        ("Host country", result.host_country),
        ("Methodology", methodology(result)),
        ("Monitoring period", days(result.first_day, result.last_day)),
        ("Days are those of", ", ".join(particulars.time_zones) or "each site's own time zone"),
        ("Revision", revision(result)),
        ("Coverage", f"{percent(result.coverage)} of the period is covered by credited intervals"),
        ("Inputs digest", result.inputs_digest),
        ("Code version", result.code_version),
    ]
