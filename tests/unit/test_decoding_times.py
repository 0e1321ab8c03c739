"""Times of foreign payloads: aware, in the right zone and century, or refused with a reason."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.decoding.profile import Time
from devices.decoding.shapes import REPEATED, Raw
from devices.decoding.times import TimeError, has_own_time, time_of
from devices.native import Reason

AMSTERDAM, SANTIAGO, BANGKOK = map(ZoneInfo, ("Europe/Amsterdam", "America/Santiago", "Asia/Bangkok"))
FAR = datetime(2100, 1, 1, tzinfo=UTC)


def read(raw: Raw, form: str | list[str] = "iso", *, zone: ZoneInfo = AMSTERDAM, **more: object) -> datetime:
    now = more.pop("now", datetime(2026, 6, 1, 12, tzinfo=UTC))
    assert isinstance(now, datetime)
    time = Time.model_validate({"field": "t", "format": form, "oldest_s": 10**10} | more)
    return time_of({"t": raw}, time, arrived_at=now, latest=now + timedelta(seconds=300), own_zone=zone)


def reason_of(raw: Raw, form: str | list[str] = "iso", **more: object) -> Reason:
    with pytest.raises(TimeError) as caught:
        read(raw, form, **more)  # type: ignore[arg-type]
    return caught.value.reason


@pytest.mark.parametrize(
    ("raw", "form", "expected"),
    [
        (1780308000, "unix-s", "2026-06-01T10:00:00+00:00"),
        ("1780308000", "unix-s", "2026-06-01T10:00:00+00:00"),
        (Decimal("1780308000.25"), "unix-s", "2026-06-01T10:00:00.250000+00:00"),
        (1780308000250, "unix-ms", "2026-06-01T10:00:00.250000+00:00"),
        (1780308000250001, "unix-us", "2026-06-01T10:00:00.250001+00:00"),
        (1780308000250001999, "unix-ns", "2026-06-01T10:00:00.250001+00:00"),
        (1780308000, "unix", "2026-06-01T10:00:00+00:00"),
        (1780308000250, "unix", "2026-06-01T10:00:00.250000+00:00"),
        (1780308000250001, "unix", "2026-06-01T10:00:00.250001+00:00"),
        (1780308000250001999, "unix", "2026-06-01T10:00:00.250001+00:00"),
        ("2026-06-01T12:00:00+02:00", "rfc3339", "2026-06-01T10:00:00+00:00"),
        ("2026-06-01T10:00:00Z", "iso", "2026-06-01T10:00:00+00:00"),
        ("2026-06-01T12:00:00", "iso", "2026-06-01T10:00:00+00:00"),
        ("2026-6-1 7:05:09", "%Y-%m-%d %H:%M:%S", "2026-06-01T05:05:09+00:00"),
        ("20260601120000", "%Y%m%d%H%M%S", "2026-06-01T10:00:00+00:00"),
        ("01/06/2026 12:00:00", ["%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M:%S"], "2026-06-01T10:00:00+00:00"),
        ("260601120000S", "dsmr", "2026-06-01T10:00:00+00:00"),
        ("260101120000W", "dsmr", "2026-01-01T11:00:00+00:00"),
    ],
)
def test_formats(raw: Raw, form: str | list[str], expected: str) -> None:
    found = read(raw, form)
    assert found.isoformat() == expected
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("raw", "form", "reason"),
    [
        (None, "iso", Reason.TIME_MISSING),
        ("", "iso", Reason.TIME_MISSING),
        (0, "unix-s", Reason.TIME_ABSURD),
        ("0", "unix-s", Reason.TIME_ABSURD),
        ("0.0", "unix-s", Reason.TIME_ABSURD),
        (1, "unix-s", Reason.TIME_ABSURD),
        ("000101000001W", "dsmr", Reason.TIME_ABSURD),
        ("2026-06-01T12:00:00", "rfc3339", Reason.TIME_UNDECODABLE),
        ("2026-02-30T12:00:00Z", "iso", Reason.TIME_UNDECODABLE),
        ("0001-01-01T00:00:00", "iso", Reason.TIME_UNDECODABLE),
        ("260601120000", "dsmr", Reason.TIME_UNDECODABLE),
        ("261301120000W", "dsmr", Reason.TIME_UNDECODABLE),
        ("260601120000W", "dsmr", Reason.TIME_LOCAL),
        ("260101120000S", "dsmr", Reason.TIME_LOCAL),
        ("260329023000S", "dsmr", Reason.TIME_LOCAL),
        (True, "unix-s", Reason.TIME_UNDECODABLE),
        ([1780308000], "unix-s", Reason.TIME_UNDECODABLE),
        (REPEATED, "iso", Reason.TIME_UNDECODABLE),
        ("nan", "unix-s", Reason.TIME_UNDECODABLE),
        (Decimal("Infinity"), "unix-s", Reason.TIME_UNDECODABLE),
        (10**40, "unix", Reason.TIME_UNDECODABLE),
        (1780308000250, "unix-s", Reason.TIME_UNDECODABLE),
        (1780400000, "unix-s", Reason.TIME_IN_FUTURE),
    ],
)
def test_what_is_no_time_is_refused(raw: Raw, form: str, reason: Reason) -> None:
    assert reason_of(raw, form) is reason


def test_a_time_that_is_missing_is_the_arrival_only_where_the_family_says_so() -> None:
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    for raw in (None, "", " ", 0, "0", "0000", Decimal("0.0")):
        assert read(raw, "unix-s", missing="arrival") == now
    assert reason_of("soon", "unix-s", missing="arrival") is Reason.TIME_UNDECODABLE


def test_no_rule_is_the_arrival() -> None:
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert time_of({}, None, arrived_at=now, latest=now, own_zone=BANGKOK) == now


def test_another_century_is_too_old() -> None:
    assert reason_of("2001-01-08T08:36:00", oldest_s=366 * 86400) is Reason.TIME_TOO_OLD
    assert read("2025-06-02T08:36:00", oldest_s=366 * 86400).year == 2025


def test_a_relative_time_counts_from_the_arrival() -> None:
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    time = Time.model_validate({"field": "@time", "format": "unix-s"})
    for seconds, expected in ((Decimal("-1.5"), now - timedelta(seconds=1.5)), (Decimal(0), now)):
        fields: dict[str, Raw] = {"@time": seconds, "@relative": True}
        assert time_of(fields, time, arrived_at=now, latest=now, own_zone=BANGKOK) == expected
        assert not has_own_time(fields, time)


def test_what_has_a_time_of_its_own() -> None:
    time = Time.model_validate({"field": "t", "format": "unix-s", "missing": "arrival"})
    for nothing in (None, "", " ", "0", "0.0", 0, Decimal("0.00")):
        assert not has_own_time({"t": nothing}, time)
    assert not has_own_time({}, time)
    assert not has_own_time({"t": 5}, None)
    for something in (5, "5", "2026", "nonsense"):
        assert has_own_time({"t": something}, time)


class TestClocksThatChange:
    """Autumn has an hour twice, spring has one not at all; where depends on the zone."""

    @pytest.mark.parametrize(
        ("fold", "arrived", "expected"),
        [
            ("earlier", "2025-10-26T03:00:00Z", "2025-10-26T00:30:00+00:00"),
            ("later", "2025-10-26T03:00:00Z", "2025-10-26T01:30:00+00:00"),
            ("arrival", "2025-10-26T03:00:00Z", "2025-10-26T01:30:00+00:00"),
            ("arrival", "2025-10-26T00:30:05Z", "2025-10-26T00:30:00+00:00"),
        ],
    )
    def test_amsterdam_twice(self, fold: str, arrived: str, expected: str) -> None:
        found = read("2025-10-26T02:30:00", fold=fold, now=datetime.fromisoformat(arrived))
        assert found.isoformat() == expected

    def test_amsterdam_twice_told_apart_by_the_meter(self) -> None:
        assert read("251026023000S", "dsmr").isoformat() == "2025-10-26T00:30:00+00:00"
        assert read("251026023000W", "dsmr").isoformat() == "2025-10-26T01:30:00+00:00"

    def test_refused_where_the_family_refuses(self) -> None:
        assert reason_of("2025-10-26T02:30:00", fold="refuse") is Reason.TIME_LOCAL

    def test_amsterdam_not_at_all(self) -> None:
        assert reason_of("2026-03-29T02:30:00") is Reason.TIME_LOCAL
        assert read("2026-03-29T03:00:00").isoformat() == "2026-03-29T01:00:00+00:00"
        assert read("2026-03-29T01:59:59").isoformat() == "2026-03-29T00:59:59+00:00"

    def test_santiago_changes_at_midnight(self) -> None:
        assert reason_of("2025-09-07T00:30:00", zone=SANTIAGO) is Reason.TIME_LOCAL
        assert read("2025-09-07T01:00:00", zone=SANTIAGO).isoformat() == "2025-09-07T04:00:00+00:00"
        twice = "2026-04-04T23:30:00"
        assert read(twice, zone=SANTIAGO, fold="earlier").isoformat() == "2026-04-05T02:30:00+00:00"
        assert read(twice, zone=SANTIAGO, fold="later").isoformat() == "2026-04-05T03:30:00+00:00"

    def test_a_zone_of_the_family_goes_before_the_devices_own(self) -> None:
        assert read("2026-06-01T10:00:00", zone=BANGKOK).isoformat() == "2026-06-01T03:00:00+00:00"
        time = Time.model_validate({"field": "t", "format": "iso", "zone": "UTC"})
        now = datetime(2026, 6, 1, 12, tzinfo=UTC)
        assert time_of({"t": "2026-06-01T10:00:00"}, time, arrived_at=now, latest=now, own_zone=BANGKOK).hour == 10


moments = st.datetimes(
    datetime(2001, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2099, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(moments, st.sampled_from([AMSTERDAM, SANTIAGO, BANGKOK]), st.sampled_from(["earlier", "later", "arrival"]))
def test_a_local_time_comes_back_to_itself_or_to_its_twin(moment: datetime, zone: ZoneInfo, fold: str) -> None:
    naive = moment.astimezone(zone).replace(tzinfo=None)
    found = read(naive.isoformat(), zone=zone, fold=fold, now=FAR)
    assert found.astimezone(zone).replace(tzinfo=None) == naive
    assert abs(found - moment) in {timedelta(0), timedelta(hours=1)}
    if zone is BANGKOK:
        assert found == moment


@given(moments, st.sampled_from([AMSTERDAM, SANTIAGO]))
def test_of_twins_the_earlier_and_the_later_are_the_two_there_are(moment: datetime, zone: ZoneInfo) -> None:
    text = moment.astimezone(zone).replace(tzinfo=None).isoformat()
    earlier, later = (read(text, zone=zone, fold=fold, now=FAR) for fold in ("earlier", "later"))
    assert moment in {earlier, later}
    assert earlier <= later
    # What had not yet been when the message came is the earlier one.
    tolerance = timedelta(seconds=300)
    assert read(text, zone=zone, fold="arrival", now=earlier) == (later if later <= earlier + tolerance else earlier)


@given(moments.map(lambda moment: moment.replace(microsecond=0)))
def test_a_meter_tells_twins_apart_by_its_letter(moment: datetime) -> None:
    local = moment.astimezone(AMSTERDAM)
    letter = "S" if local.dst() else "W"
    if moment.year < 2068:  # Two digits of a year: from 69 on they mean the last century.
        assert read(f"{local:%y%m%d%H%M%S}{letter}", "dsmr", now=FAR) == moment


@given(
    st.one_of(
        st.text(max_size=30),
        st.integers(),
        st.decimals(allow_nan=False),
        st.booleans(),
        st.none(),
        st.lists(st.integers()),
    )
)
def test_whatever_stands_there_is_a_time_or_a_reason(raw: Raw) -> None:
    for form in ("unix", "unix-s", "unix-ns", "rfc3339", "iso", "dsmr", "%Y-%m-%d %H:%M:%S"):
        with suppress(TimeError):
            found = read(raw, form)
            assert found.tzinfo is UTC
            assert found.year >= 2000
