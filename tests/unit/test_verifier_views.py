"""What the verifier's pages draw and list, and how they show a payload: pure."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.web.verifier import payload_text, views
from mrv.evidence.merkle import Tree, leaf_hash, node_hash, prove
from mrv.tracing.energy import DayEnergyRow

DAY = date(2021, 3, 1)


def row(system="pv-1", device="m-1", day=DAY, wh="1000.000", *, withheld=None, left_out=None, rules=None, samples=24):
    return DayEnergyRow(
        day=day, system=system, site="s", device=device, quantity="generated", point="TotWhExp", category=None,
        credited_wh=Decimal(wh), within_wh=Decimal(wh), carried_wh=Decimal(0), carried_from=None, left_out=left_out,
        error_wh=Decimal(0), withheld_wh=withheld or {}, samples=samples, coverage=Decimal(1), owed=True,
        rules=rules or {}, inputs_sha256="",
    )  # fmt: skip


@given(st.integers(1, 600), st.data())
def test_the_path_of_any_leaf_leads_to_the_root(count, data):
    place = data.draw(st.integers(0, count - 1))
    leaves = [leaf_hash(n.to_bytes(2, "big")) for n in range(count)]
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    node = leaves[place]
    for step in views.audit_path(
        place, count, [(one.first, one.end, one.root.hex()) for one in prove(leaves, [place])]
    ):
        beside = bytes.fromhex(step["hash"])
        node = node_hash(beside, node) if step["side"] == "left" else node_hash(node, beside)
    assert node == tree.root()


def test_more_systems_than_colours_become_one():
    rows = [row(f"pv-{n:02}", wh=f"{n * 1000}.000") for n in range(1, 10)]
    chart = views.energy_by_day(rows, [DAY])
    assert [one.name for one in chart.series] == ["pv-05", "pv-06", "pv-07", "pv-08", "pv-09", "+ 4"]
    assert chart.unit == "kWh"
    assert sum(one.values[0] for one in chart.series) == 45.0


def test_a_cell_tells_what_is_lost_from_what_is_set_aside():
    days = [DAY + timedelta(n) for n in range(6)]
    rows = [
        row(day=days[0]),
        row(day=days[1], withheld={"quality.night_energy@1": Decimal(5)}),
        row(day=days[2], rules={"register.spike@1": 2}),
        row(day=days[3], rules={"register.reset@1": 1}),
        row(day=days[4], wh="0.000", samples=0),
    ]
    words = {"not_credited": "LOST", "set_aside": "ASIDE", "no_reading": "NONE"}
    ((name, _, cells),), unit = views.heat_rows(views.device_rows(rows), days, "/r1", words)
    assert (name, unit) == ("s/m-1", "kWh")
    assert [cell.flag for cell in cells[:-1]] == ["", "!", "·", "!", ""]
    assert cells[5] is None
    assert cells[4].value is None
    assert cells[1].name == "s/m-1, 2021-03-02: 1.000 kWh, LOST"
    assert cells[4].name.endswith("NONE")
    assert cells[0].link == "/r1/s/m-1/2021-03-01"


@pytest.mark.parametrize(
    ("zone", "day", "ticks"),
    [("Asia/Bangkok", date(2021, 3, 1), 9), ("Europe/Berlin", date(2021, 3, 28), 8),
     ("Europe/Berlin", date(2021, 10, 31), 9)],
)  # fmt: skip
def test_ticks_are_hours_of_the_site_on_days_of_any_length(zone, day, ticks):
    from mrv.calendar import day_bounds

    start, end = day_bounds(day, zone)
    found = views.hours(SimpleNamespace(time_zone=zone, start=start, end=end))
    assert len(found) == ticks
    assert found[0] == (0.0, "00:00")
    assert all(0 <= at <= (end - start).total_seconds() for at, _ in found)


def test_a_clock_is_the_sites_and_names_another_day():
    clock = views.clock_of(SimpleNamespace(time_zone="Asia/Bangkok", day=DAY))
    assert clock(datetime(2021, 3, 1, 5, tzinfo=UTC)) == "12:00:00"
    assert clock(datetime(2021, 3, 1, 18, tzinfo=UTC)) == "03-02 01:00:00"


@pytest.mark.parametrize(
    ("payload", "text", "pretty"),
    [(b'{"a":1}', '{"a":1}', '{\n  "a": 1\n}'), (b"plain", "plain", None), ("é".encode(), "é", None),
     (b"\xff", None, None), (b"a\x00b", None, None), (b"", "", None), (b"[" * 9000, "[" * 9000, None)],
)  # fmt: skip
def test_a_payload_is_text_where_it_is_text(payload, text, pretty):
    shown = payload_text.shown(payload)
    assert (shown.text, shown.pretty, shown.size, shown.cut) == (text, pretty, len(payload), False)


def test_a_long_payload_is_cut_between_characters():
    shown = payload_text.shown(b"a" + "é".encode() * payload_text.MOST)
    assert shown.cut
    assert shown.text.startswith("aé")
    assert len(shown.text.encode()) <= payload_text.MOST
    assert shown.pretty is None


@given(st.binary(max_size=200))
def test_a_dump_holds_every_byte(payload):
    lines = payload_text.dump(payload).splitlines()
    read = bytes.fromhex("".join(line[10:58] for line in lines))
    assert sha256(read).digest() == sha256(payload).digest()
    assert [int(line[:8], 16) for line in lines] == list(range(0, len(payload), 16))
