"""Periods to report on, built by hand: TH014's published year, and two systems over two years."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from devices.declarations import ProjectDeclaration
from mrv.result import DeviceEnergy, Factor, PeriodResult, SystemResult
from mrv.solar_pv import system_year, vintage

REGISTERED = Factor(Decimal("0.319"), "project design document, section C", confirmed=True)
UNCONFIRMED = Factor(Decimal("0.533"), "TH_AM001 default, captive power", confirmed=False)
RULES = {"register.gap@1": 2, "register.normal@1": 105_120, "register.reset@1": 0}

Build = Callable[..., PeriodResult]


def device(device_id: str, energy_wh: int, kind: str = "meter", serial_number: str | None = None) -> DeviceEnergy:
    return DeviceEnergy("pond", device_id, serial_number, kind, Decimal(energy_wh), Decimal("0.9981"), RULES)


def system(
    system_id: str,
    energy_wh: dict[int, int],
    factor: Factor = REGISTERED,
    connection: str = "grid",
    devices: Sequence[DeviceEnergy] | None = None,
) -> SystemResult:
    """A system whose one meter, called m-<id>, counted these watt-hours in each year."""
    years = tuple(system_year(year, Decimal(wh), factor.value) for year, wh in energy_wh.items())
    if devices is None:
        devices = [device(f"m-{system_id}", sum(energy_wh.values()), serial_number="KWH-778")]
    return SystemResult(system_id, "pond", connection, Decimal("5000.50"), factor, years, tuple(devices))


def period(systems: Sequence[SystemResult], first: date, last: date, **changes: object) -> PeriodResult:
    vintages = [
        vintage(
            max(first, date(year, 1, 1)),
            min(last, date(year, 12, 31)),
            [each for one in systems for each in one.years if each.year == year],
        )
        for year in range(first.year, last.year + 1)
    ]
    facts: dict[str, object] = {
        "project": "TH014",
        "title": "5 MW floating solar on an industrial water reservoir, ไทย",
        "host_country": "THA",
        "methodology": "TH_AM001",
        "methodology_version": "1.0",
        "methodology_title": "Installation of Solar PV System",
        "first_day": first,
        "last_day": last,
        "revision": 1,
        "received_until": datetime(2022, 1, 5, 3, 4, 5, 678901, tzinfo=UTC),
        "systems": tuple(systems),
        "vintages": tuple(vintages),
        "coverage": Decimal("0.9981"),
        "rules": RULES,
        "inputs_digest": "sha256:" + "0f" * 32,
        "code_version": "0.1.0",
        "notes": (),
    }
    return PeriodResult(**(facts | changes))  # type: ignore[arg-type]


@pytest.fixture
def th014() -> PeriodResult:
    """6,325.0 MWh × 0.319 = 2,017.675: the year for which 2,017 tCO2 were issued."""
    return period([system("pv-1", {2021: 6_325_000_000})], date(2021, 1, 1), date(2021, 12, 31))


@pytest.fixture
def two_years() -> PeriodResult:
    """Two systems over two calendar years, one with an unconfirmed default."""
    systems = [
        system("pv-1", {2020: 1_581_250_001, 2021: 6_325_000_000}),
        system("pv-2", {2020: 100_000_007, 2021: 291_500_000}, UNCONFIRMED, "captive"),
    ]
    note = "pv-2: the factor 0.533 tCO2/MWh is an unconfirmed default"
    return period(systems, date(2020, 9, 28), date(2021, 12, 31), notes=(note,))


@pytest.fixture(scope="session")
def build() -> Build:
    """`build(systems, first, last, **changes)`."""
    return period


@pytest.fixture(scope="session")
def a_system() -> Callable[..., SystemResult]:
    return system


@pytest.fixture(scope="session")
def a_device() -> Callable[..., DeviceEnergy]:
    return device


@pytest.fixture(scope="session")
def declaration() -> ProjectDeclaration:
    return ProjectDeclaration.model_validate_json("""{
        "project": {"id": "TH014", "title": "5 MW floating solar", "host_country": "THA", "methodology": "TH_AM001",
          "methodology_version": "1.0", "crediting_period": {"from": "2020-09-28", "to": "2030-09-27"},
          "participants": [{"name": "Example & Co., Ltd.", "country": "THA"},
            {"name": "Example Inc.", "country": "JPN"}],
          "third_party_entity": "Example Certification Body"},
        "site": [{"id": "pond", "name": "Pond <north>", "time_zone": "Asia/Bangkok"}],
        "pv_system": [{"id": "pv-1", "site": "pond", "capacity_kw": "5000.50", "connection": "grid",
          "credited_by": ["m-pv-1"]}],
        "device": [{"id": "m-pv-1", "site": "pond", "pv_system": "pv-1", "kind": "meter", "serial_number": "KWH-778",
          "accuracy_class": "0.5S", "maximum_permissible_error_percent": "0.5", "installed": "2020-01-01T00:00:00Z",
          "register": {"point": "TotWhExp", "bits": 32},
          "calibration": [{"performed": "2019-12-20", "valid_until": "2021-12-20", "laboratory": "Lab",
            "certificate": "C-1"}]}]
    }""")
