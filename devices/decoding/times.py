"""The time of a reading, from what a device wrote; aware and UTC, or why there is none."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from devices.decoding.profile import Time, zone_of
from devices.decoding.shapes import REPEATED, Fields, Raw
from devices.native import EARLIEST, Reason

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND = {"unix-s": 1, "unix-ms": 10**3, "unix-us": 10**6, "unix-ns": 10**9}
# Of a number of unknown unit: 1e11 s is the year 5138, 1e11 ms is 1973.
_SIZES = ((10**11, 1), (10**14, 10**3), (10**17, 10**6))


class TimeError(Exception):
    """A time cannot be used."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def time_of(
    fields: Fields, time: Time | None, *, arrived_at: datetime, latest: datetime, own_zone: ZoneInfo
) -> datetime:
    """Find the time of an element.

    Parameters
    ----------
    fields
        The element.
    time
        The family's rule; None: the arrival.
    arrived_at, latest
        Aware. When the message came, and the latest time that a reading of it may carry.
    own_zone
        The device's time zone.

    Raises
    ------
    TimeError
        There is no time, it cannot be read, or it cannot be; with a stable reason.
    """
    if time is None:
        return arrived_at
    raw = fields.get(time.field)
    if _is_nothing(raw):
        if fields.get("@relative") is True or time.missing == "arrival":
            return arrived_at
        if raw is None or raw == "":
            raise TimeError(Reason.TIME_MISSING, f"{time.field} is missing")
        raise TimeError(Reason.TIME_ABSURD, f"{time.field} is 0: the device's clock was never set")
    if fields.get("@relative") is True and isinstance(raw, Decimal):
        found = arrived_at + timedelta(microseconds=int(raw * 1_000_000))
    else:
        found = _read(raw, time, own_zone, latest)
    return _plausible(found, time, arrived_at, latest)


def has_own_time(fields: Fields, time: Time | None) -> bool:
    """Say whether an element says when it was measured, or leaves it to whoever receives it."""
    return time is not None and fields.get("@relative") is not True and not _is_nothing(fields.get(time.field))


def _is_nothing(raw: Raw) -> bool:
    if raw is None or isinstance(raw, str):
        return raw is None or re.fullmatch(r"\s*0*(\.0*)?\s*", raw) is not None
    return not isinstance(raw, (bool, list)) and raw == 0


def _plausible(found: datetime, time: Time, arrived_at: datetime, latest: datetime) -> datetime:
    if found < EARLIEST:
        raise TimeError(Reason.TIME_ABSURD, f"{time.field} is before the year 2000")
    if found > latest:
        raise TimeError(
            Reason.TIME_IN_FUTURE, f"{time.field} is {found - latest} beyond what the collector's clock allows"
        )
    if arrived_at - found > timedelta(seconds=time.oldest_s):
        days = (arrived_at - found).days
        raise TimeError(
            Reason.TIME_TOO_OLD, f"{time.field} is {days} days before the arrival; at most {time.oldest_s // 86400}"
        )
    return found


def _read(raw: Raw, time: Time, own_zone: ZoneInfo, latest: datetime) -> datetime:
    if raw == REPEATED or isinstance(raw, (bool, list)):
        raise TimeError(Reason.TIME_UNDECODABLE, f"{time.field} is no time")
    for form in time.format:
        try:
            if form == "dsmr":
                return _dsmr(raw, time, own_zone)
            found = _in_format(raw, form)
            if found is not None:
                return found if found.tzinfo is not None else _placed(found, time, own_zone, latest)
        except (ValueError, InvalidOperation, OverflowError):
            continue
    raise TimeError(Reason.TIME_UNDECODABLE, f"{time.field} is not a time in the format {' or '.join(time.format)}")


def _in_format(raw: Raw, form: str) -> datetime | None:
    if form.startswith("unix"):
        return _unix(raw, form)
    if not isinstance(raw, str):
        return None
    if form in {"rfc3339", "iso"}:
        found = datetime.fromisoformat(raw.strip())
        if found.tzinfo is None:
            return found if form == "iso" else None
        return found.astimezone(UTC)
    found = datetime.strptime(raw.strip(), form)  # noqa: DTZ007 - placed in the device's zone by the caller
    return found if found.tzinfo is None else found.astimezone(UTC)


def _dsmr(raw: Raw, time: Time, own_zone: ZoneInfo) -> datetime:
    """Read a meter's local time with W (winter) or S (summer) behind it, as DSMR 5.0.2 P1 (6.4) writes it."""
    text = raw.strip() if isinstance(raw, str) else ""
    if not re.fullmatch(r"\d{12}[WS]", text):
        raise ValueError(text)
    naive = datetime.strptime(text[:-1], "%y%m%d%H%M%S")  # noqa: DTZ007 - placed just below
    zone = zone_of(time, own_zone)
    for fold in (0, 1):
        local = naive.replace(tzinfo=zone, fold=fold)
        found = local.astimezone(UTC)
        there = found.astimezone(zone).replace(tzinfo=None) == naive
        if there and bool(local.dst()) == (text[-1] == "S"):
            return found
    raise TimeError(Reason.TIME_LOCAL, f"{time.field} is {text}, which is no time in {zone.key}")


def _unix(raw: Raw, form: str) -> datetime | None:
    if isinstance(raw, (bool, list)) or raw is None:
        return None
    number = Decimal(raw)
    if not number.is_finite() or abs(number) >= Decimal(10) ** 20:
        return None
    if form == "unix":
        per_second = next((per for most, per in _SIZES if abs(number) < most), 10**9)
    else:
        per_second = _PER_SECOND[form]
    return _EPOCH + timedelta(microseconds=int(number * 1_000_000 / per_second))


def _placed(naive: datetime, time: Time, own_zone: ZoneInfo, latest: datetime) -> datetime:
    """Put a local time where it belongs; an hour that never was is refused, one that was twice is decided by `fold`."""
    zone = zone_of(time, own_zone)
    first = naive.replace(tzinfo=zone, fold=0).astimezone(UTC)
    second = naive.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if first == second:
        return first
    if first.astimezone(zone).replace(tzinfo=None) != naive:
        raise TimeError(
            Reason.TIME_LOCAL, f"{time.field} is {naive}, which {zone.key} leaves out when its clocks go forward"
        )
    if time.fold == "refuse":
        raise TimeError(Reason.TIME_LOCAL, f"{time.field} is {naive}, which {zone.key} has twice")
    if time.fold == "earlier":
        return first
    if time.fold == "later":
        return second
    return second if second <= latest else first
