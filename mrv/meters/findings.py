"""What a verifier would find about a meter: calibration, certificate, replacement, the monitoring plan.

Each sentence says the device, the days and the number; the rule says what it means.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

from devices.declarations import Calibration, Device, ProjectDeclaration
from mrv.basis import Credited
from mrv.meters.calibration import Permissible, Run, State, following, found_percent
from mrv.meters.result import CalibrationSpan, Finding
from mrv.meters.rules import MeterRule
from mrv.register_rules import Rule

# Readings of a device that is polled come a little apart from their interval.
_INTERVAL_MARGIN = 1.05


@dataclass(frozen=True, slots=True)
class Held:
    """A register over its days in place, with what was decided about its calibration."""

    credited: Credited
    first: date
    last: date
    error: Permissible | None
    """None where it is not held to calibration."""
    runs: tuple[Run, ...]
    spans: tuple[CalibrationSpan, ...]


def of_meter(
    held: Held,
    declaration: ProjectDeclaration,
    rules: Mapping[str, int],
    interval_s: float | None,
    period: tuple[date, date],
) -> Iterator[Finding]:
    """List what is to be told about a register that counts."""
    device = held.credited.device
    if held.error is None:
        if device.kind == "meter":
            days = (held.last - held.first).days + 1
            yield _finding(
                MeterRule.NO_CALIBRATION_DECLARED,
                f"{device.id} is credited for {days} days, {held.first} to {held.last}; declare its calibrations and "
                "`maximum_permissible_error_percent`",
                days,
            )
    else:
        yield from _calibration(held, held.error)
    if device.serial_number is None and (device.kind == "meter" or held.error is not None):
        yield _finding(MeterRule.NO_SERIAL_NUMBER, f"{device.id} has no serial number")
    yield from _replacement(held, declaration, period)
    rollovers = rules.get(Rule.ROLLOVER.id, 0)
    width = held.credited.spec.width_wh
    if rollovers and width is not None:
        yield _finding(
            MeterRule.ROLLED_OVER, f"{device.id} passed {width:,f} Wh {rollovers} time(s), as declared", rollovers
        )
    yield from _plan(held, interval_s)
    fields = (device.fields or {}).get(held.credited.point)
    if fields is not None and fields.total_of:
        yield _finding(
            MeterRule.CALCULATED, f"{held.credited.point} of {device.id} is the sum of {', '.join(fields.total_of)}"
        )


def _calibration(held: Held, error: Permissible) -> Iterator[Finding]:
    device = held.credited.device
    delayed = [(run, span) for run, span in zip(held.runs, held.spans, strict=True) if run.state is not State.VALID]
    for run, span in delayed:
        verb = "added to" if held.credited.quantity in {"auxiliary", "charged"} else "taken from"
        after = following(device.calibrations, run.last)
        why = f"{error.source}" if run.percent == error.percent else "found by the calibration after it [M]"
        yield _finding(
            MeterRule.DELAYED_CALIBRATION,
            f"{device.id}: calibration {run.state.value} on {run.days} day(s), {run.first} to {run.last}: "
            f"{run.percent:f} % ({why}) {verb} what it counted as {held.credited.quantity}, {span.taken_wh:,f} Wh",
            run.days,
        )
        if after is not None and after.error_percent is None:
            yield _finding(
                MeterRule.ERROR_NOT_STATED, f"{device.id}: the calibration of {after.performed} states no error"
            )
    if delayed and not error.confirmed:
        yield _finding(
            MeterRule.ERROR_NOT_DECLARED,
            f"{device.id}: {error.percent:f} % assumed; declare `maximum_permissible_error_percent`",
            sum(run.days for run, _ in delayed),
        )
    for done in device.calibrations:
        if found_percent(done) > error.percent:
            yield _finding(
                MeterRule.FAILED_CALIBRATION,
                f"{device.id}: the calibration of {done.performed} found {done.error_percent:f} %, more than "
                f"{error.percent:f} %: was the meter adjusted?",
            )
        if _concerns(done, held) and (done.certificate is None or done.laboratory is None):
            yield _finding(
                MeterRule.NO_CERTIFICATE,
                f"{device.id}: the calibration of {done.performed} names no "
                f"{'certificate' if done.certificate is None else 'laboratory'}",
            )


def _concerns(done: Calibration, held: Held) -> bool:
    return done.performed <= held.last and done.valid_until >= held.first


def _replacement(held: Held, declaration: ProjectDeclaration, period: tuple[date, date]) -> Iterator[Finding]:
    device, site = held.credited.device, ZoneInfo(held.credited.site.time_zone)
    first, last = period
    judged = {run.last: run.state for run in held.runs}, {run.first: run.state for run in held.runs}
    if device.removed is not None:
        day = device.removed.at.astimezone(site).date()
        if first <= day <= last:
            if held.credited.is_own and device.removed.closing_register_wh is None:
                yield _finding(
                    MeterRule.REPLACEMENT_INCOMPLETE,
                    f"{device.id} was removed {day} without a closing register; nothing after its last reading counts",
                )
            if held.error is not None and judged[0].get(held.last) is not State.VALID:
                yield _finding(
                    MeterRule.REPLACEMENT_UNCALIBRATED,
                    f"{device.id} was removed {day} without a valid calibration; its error at removal is not shown",
                )
    replaces = [one for one in declaration.devices if one.site == device.site and one.replaced_by == device.id]
    for old in replaces:
        day = device.installed.astimezone(site).date()
        if first <= day <= last:
            if held.credited.is_own and device.opening_register_wh is None:
                yield _finding(
                    MeterRule.REPLACEMENT_INCOMPLETE,
                    f"{device.id} replaced {old.id} on {day} without an opening register; nothing before its first "
                    "reading counts",
                )
            if held.error is not None and judged[1].get(held.first) is not State.VALID:
                yield _finding(
                    MeterRule.REPLACEMENT_UNCALIBRATED,
                    f"{device.id} replaced {old.id} on {day} without a valid calibration",
                )


def _plan(held: Held, seconds: float | None) -> Iterator[Finding]:
    plan, device = held.credited.system.monitoring_plan, held.credited.device
    if plan is None:
        return
    most = plan.maximum_permissible_error_percent
    declared = device.maximum_permissible_error_percent
    if most is not None and declared is not None and declared > most:
        yield _finding(
            MeterRule.WORSE_THAN_PLAN, f"{device.id} may be {declared:f} % off, the monitoring plan allows {most:f} %"
        )
    if plan.accuracy_class is not None and device.accuracy_class != plan.accuracy_class:
        yield _finding(
            MeterRule.CLASS_DIFFERS,
            f"{device.id} is declared with accuracy class {device.accuracy_class or 'none'}, the monitoring plan has "
            f"{plan.accuracy_class}",
        )
    planned = plan.reading_interval_s
    if planned is not None and seconds is not None and seconds > planned * _INTERVAL_MARGIN:
        yield _finding(
            MeterRule.INTERVAL_DIFFERS,
            f"{device.id} was read every {seconds:,.0f} s, the monitoring plan has {planned} s",
        )


def tolerance_percent(devices: list[Device]) -> Decimal:
    """How far a meter may differ from an invoice unremarked [%]: the number of its accuracy class, or its error."""
    known = [_class_percent(device) or device.maximum_permissible_error_percent for device in devices]
    return max((percent for percent in known if percent is not None), default=Decimal(0))


def _class_percent(device: Device) -> Decimal | None:
    text = (device.accuracy_class or "").removesuffix("S").removesuffix("s").strip()
    whole, _, part = text.partition(".")
    return Decimal(text) if whole.isdecimal() and (part == "" or part.isdecimal()) else None


def _finding(rule: MeterRule, message: str, count: int = 1) -> Finding:
    return Finding(rule.id, message, count)
