"""The readings a period is computed from: loaded one device at a time, and digested.

The digest covers, in this order, each text and array led by its length in bytes as 8 bytes little-endian:

1. the ASCII text `jcm-mrv inputs 1`
2. the canonical declarations, UTF-8
3. the canonical methodology and factors, UTF-8
4. the period as `FROM/TO`, ISO 8601 dates
5. for every credited device, in the order of system, site and device id:
   a. `system`, `site`, `device`, `point`, joined by line feeds, UTF-8
   b. the instants, int64 little-endian microseconds since 1970-01-01T00:00Z, rising
   c. the registers, int64 little-endian milliwatt-hours
   d. the power, float64 little-endian watts, NaN (7ff8000000000000) where a reading has none
6. for every further register (`[[pv_system.meter]]`), in the order of system, device, point and, in one place, of the
   devices that replaced each other: as 5

A result that quality rules took part in begins with `jcm-mrv inputs 2` instead, and has, besides:

- after 4, the name of the rule set
- after 5d and 6, for each device: when its readings were received; the instants of those whose time is their message's
  arrival; the instants for which another value was offered; all int64 little-endian microseconds
- after 6, in the order of system and device, those that only check the credited ones: as 5
- at the end, for every site in the order of the declarations: its id; its messages by the quarter of an hour of their
  receipt, as seven int64 arrays: start of the quarter in microseconds; messages; of these retained, redelivered,
  duplicate, in quarantine, in quarantine for their time

The arrays hold the readings of the period and, around it, those that the register rules need to judge its edges. It is
written as `sha256:` and 64 hexadecimal digits.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from mrv.basis import Basis, Credited
from mrv.calendar import MICROSECOND
from mrv.errors import PeriodError
from mrv.quality.receipts import Deliveries, Receipts
from mrv.quality.rules import REGISTER_ONLY, RuleSet
from mrv.register_rules import DeclaredRegister, to_mwh
from sql.named import load

_PREAMBLE = b"jcm-mrv inputs 1"
_PREAMBLE_OF_QUALITY = b"jcm-mrv inputs 2"
# PostgreSQL's binary array of one dimension: a header of 20 bytes, then each element led by its length, big-endian.
_ARRAY_HEADER = 20
_EPOCH_2000_US = 946_684_800_000_000
_NONE: NDArray[np.int64] = np.empty(0, dtype=np.int64)
# The server makes a window's arrays whole before it sends them; a month of minutes still sorts in its work_mem of 4 MB.
_WINDOW = timedelta(days=31)
_NEAR = timedelta(days=8)
_TRUE = b"\x01"
_NAN = np.uint64(0x7FF8000000000000)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The readings of one register in order of time."""

    t_us: NDArray[np.int64]
    """Instants [µs UTC], rising, shape (n,)."""
    register_mwh: NDArray[np.int64]
    """Registers [mWh], shape (n,)."""
    power_w: NDArray[np.float64]
    """Power [W], NaN where a reading has none, shape (n,)."""
    opening: DeclaredRegister | None = None
    """The register declared at the installation, where the readings reach back to it."""
    closing: DeclaredRegister | None = None
    """The register declared at the removal, where the readings reach up to it."""
    receipts: Receipts | None = None
    """How the readings were received, where that is known."""

    @classmethod
    def empty(cls) -> "Series":
        """No reading at all."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))

    @property
    def power_or_none(self) -> NDArray[np.float64] | None:
        """The power, or None where no reading has one."""
        return None if bool(np.isnan(self.power_w).all()) else self.power_w

    def part_digest(self, start_us: int, end_us: int) -> bytes:
        """Digest the readings from an instant to before another: SHA-256 of their arrays as in the period's digest."""
        lo, hi = np.searchsorted(self.t_us, [start_us, end_us], side="left").tolist()
        digest = hashlib.sha256()
        _add(digest, *_arrays(Series(self.t_us[lo:hi], self.register_mwh[lo:hi], self.power_w[lo:hi])))
        return digest.digest()


class InputsDigest:
    """The digest of a period's inputs, fed device by device."""

    def __init__(self, basis: Basis, first: date, last: date, rules: RuleSet = REGISTER_ONLY) -> None:
        self._sha256 = hashlib.sha256()
        self._quality = bool(rules.quality)
        period = f"{first.isoformat()}/{last.isoformat()}"
        _add(
            self._sha256,
            _PREAMBLE_OF_QUALITY if self._quality else _PREAMBLE,
            basis.declarations_text.encode(),
            basis.methodology_text.encode(),
            period.encode(),
            *((rules.name.encode(),) if self._quality else ()),
        )

    def add(self, credited: Credited, series: Series) -> None:
        """Add the readings of the next device."""
        name = "\n".join((credited.system.id, credited.site.id, credited.device.id, credited.point))
        _add(self._sha256, name.encode(), *_arrays(series))
        if self._quality:
            received = series.receipts
            arrays = () if received is None else (received.received_us, received.arrival_us, received.conflict_us)
            _add(self._sha256, *(_int64(array) for array in arrays or (_NONE,) * 3))

    def add_deliveries(self, site: str, found: Deliveries | None) -> None:
        """Add a site's messages."""
        arrays = (_NONE,) * 7 if found is None else found.arrays()
        _add(self._sha256, site.encode(), *(_int64(array) for array in arrays))

    def text(self) -> str:
        """Return the digest as reports write it."""
        return f"sha256:{self._sha256.hexdigest()}"


def _arrays(series: Series) -> tuple[bytes, bytes, bytes]:
    power = series.power_w.view(np.uint64).copy()
    power[np.isnan(series.power_w)] = _NAN
    return (
        series.t_us.astype("<i8").tobytes(),
        series.register_mwh.astype("<i8").tobytes(),
        power.astype("<u8").tobytes(),
    )


def _int64(array: NDArray[np.int64]) -> bytes:
    return array.astype("<i8").tobytes()


def _add(digest: "hashlib._Hash", *parts: bytes) -> None:
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)


class StoredReadings:
    """Readings of a project's devices in the database, as they were received up to a cut-off.

    Parameters
    ----------
    connection
        In a transaction of one snapshot, where the readings of several devices must belong together.
    project
        Id of the project.
    cut_off
        The latest `received_at` that counts; None: whatever is there.
    """

    def __init__(self, connection: psycopg.Connection, project: str, cut_off: datetime | None = None) -> None:
        self._connection = connection
        self._cut_off: datetime | str = "infinity" if cut_off is None else cut_off
        rows = connection.execute(_QUERIES["devices"], {"project": project}).fetchall()
        self._ids = {(site, device): int(number) for site, device, number in rows}

    def number(self, credited: Credited) -> int:
        """Return the device's number in the database.

        Raises
        ------
        PeriodError
            The device is declared but was never applied.
        """
        try:
            return self._ids[credited.site.id, credited.device.id]
        except KeyError:
            raise PeriodError(f"device {credited.label} is not in the database; apply the declaration again") from None

    def read(self, credited: Credited, start: datetime, end: datetime) -> Series:
        """Read the register of a device over a span, and around it what the register rules need.

        Parameters
        ----------
        credited
            The device; readings before it was installed or after it was removed are left out.
        start, end
            The span, start included, end not.

        Returns
        -------
        Series
            The readings of the span; before and after it as many as the rules want to confirm a level
            (`confirm_samples`, and at least `confirm_for` beyond the nearest one), however far away that one is.
        """
        spec, installed = credited.spec, credited.device.installed
        removed = None if credited.device.removed is None else credited.device.removed.at
        if installed >= end or (removed is not None and removed <= start):
            return Series.empty()
        span = {"device": self.number(credited), "cut_off": self._cut_off}
        query = _QUERIES[f"context_{credited.column}"]
        given = {
            **span,
            "start": start,
            "end": end,
            "not_after": "infinity" if removed is None else removed,
            "samples": spec.confirm_samples,
            "span": spec.confirm_for,
        }
        before, after = None, None
        # Years of chunks take the server 2 ms to plan for, and what is asked for is mostly in the one before.
        for not_before in (max(installed, start - _NEAR), installed):
            row = self._connection.execute(query, {**given, "not_before": not_before}).fetchone()
            before, found, after = row or (None, 0, None)
            if found == spec.confirm_samples or not_before == installed:
                break
        reach_from = installed if before is None else max(installed, before)
        reach_to = (removed or end) if after is None else after + MICROSECOND
        reach_to = reach_to if removed is None else min(reach_to, removed)
        pieces = [self._piece(credited, span, *window) for window in windows(start, end, reach_from, reach_to)]
        t_us, register, power, received, arrival, conflict = (
            np.concatenate(parts) for parts in zip(*pieces, strict=True)
        )
        return Series(
            t_us=t_us,
            register_mwh=register,
            power_w=power,
            opening=credited.opening if reach_from == installed else None,
            closing=credited.closing if reach_to == removed else None,
            receipts=Receipts(received, arrival, conflict),
        )

    def _piece(
        self, credited: Credited, span: Mapping[str, object], start: datetime, end: datetime
    ) -> tuple[NDArray[Any], ...]:
        """Read a window: instants, registers, power, receipts; arrivals and conflicts."""
        span = {**span, "start": start, "end": end}
        ts, register, power, received, microseconds = self._arrays(f"series_{credited.column}", span, 5)
        arrival = self._arrays("arrival_timed", span, 1)[0] if microseconds == _TRUE else None
        return (
            _instants(ts),
            to_mwh(_elements(register, ">f8").astype(np.float64)),
            _elements(power, ">f8").astype(np.float64),
            _instants(received),
            _instants(arrival),
            _instants(self._arrays("conflicts", span, 1)[0]),
        )

    def deliveries(self, site: str, start: datetime, end: datetime) -> Deliveries:
        """Count a site's messages by the quarter of an hour in which they were received, start included, end not."""
        span = {"site": site, "start": start, "end": end, "cut_off": self._cut_off}
        quarter, *counts = self._arrays("deliveries", span, 7)
        return Deliveries(_instants(quarter), *(_elements(count, ">i8").astype(np.int64) for count in counts))

    def arrived_after(self, devices: Sequence[Credited], start: datetime, end: datetime, cut_off: datetime) -> int:
        """Count the readings of a span that were received after a cut-off."""
        total = 0
        for credited in devices:
            given = {"device": self.number(credited), "start": start, "end": end, "cut_off": cut_off}
            row = self._connection.execute(_QUERIES["arrived_after"], given).fetchone()
            total += int(row[0]) if row else 0
        return total

    def _arrays(self, query: str, span: Mapping[str, object], count: int) -> list[bytes | None]:
        cursor = self._connection.cursor(binary=True)
        cursor.execute(_QUERIES[query], span)
        assert cursor.pgresult is not None  # noqa: S101 - a select has a result
        return [cursor.pgresult.get_value(0, number) for number in range(count)]


def windows(
    start: datetime, end: datetime, reach_from: datetime, reach_to: datetime
) -> list[tuple[datetime, datetime]]:
    """Cut what is read, from `reach_from` to before `reach_to`, into windows.

    What lies around the span from start to end, few readings over any time, goes with the outer windows.
    """
    inner = (start + n * _WINDOW for n in range(1, -(-(end - start) // _WINDOW)))
    return list(pairwise([reach_from, *(edge for edge in inner if reach_from < edge < reach_to), reach_to]))


def _elements(array: bytes | None, kind: str) -> NDArray[np.generic]:
    """Take the elements out of a binary array; None is that of no reading."""
    element = np.dtype([("length", ">i4"), ("value", kind)])
    return np.frombuffer(array or b"", dtype=element, offset=_ARRAY_HEADER if array else 0)["value"]


def _instants(array: bytes | None) -> NDArray[np.int64]:
    return _elements(array, ">i8").astype(np.int64) + _EPOCH_2000_US


_QUERIES = load("mrv")
