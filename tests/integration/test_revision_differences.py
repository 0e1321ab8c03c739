"""What changed between two revisions: tonnes, days, the messages it came from, declarations, rules."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from deploy.difference_view import lines, summary
from mrv import periods
from mrv.errors import PeriodError, WrongUseError
from mrv.verification.differences import Changed, difference

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 10)
DAYS = (FIRST, LAST)


def freeze(plant):
    return periods.freeze(plant.connection, "P1", *DAYS, code_version="1").revision


def late(plant, rows, message_id, device="inv-1"):
    """Readings that one message brings after a freeze."""
    cursor = plant.owner.cursor()
    cursor.executemany(
        "insert into reading (device_id, ts, received_at, message_id, element, energy_exported_wh)"
        " select device_id, %s, clock_timestamp(), %s, 0, %s from device where id = %s",
        [(ts, message_id, wh, device) for ts, wh in rows],
    )


def test_late_readings_are_told_by_message_and_change_their_days_only(plants):
    plant = plants(inverters=2)
    rows = plant.days(FIRST, LAST, hourly_wh=100_000.0)
    plant.insert(rows, "inv-2")
    plant.insert(rows[:-49])  # up to the start of the last two days
    one = freeze(plant)
    late(plant, rows[-49:-25], 71)
    late(plant, rows[-25:], 72)
    two = freeze(plant)
    found = difference(plant.connection, "P1", *DAYS)
    assert found.er_tco2 == Changed(("ER",), Decimal(one.result.er_tco2), Decimal(two.result.er_tco2))
    assert found.er_tco2.change == 2
    energy_wh = Decimal(49 * 100_000)
    assert [(entry.what, entry.change) for entry in found.systems] == [
        (("pv-1", "2021"), energy_wh / 1_000_000 * Decimal("0.319") * 1000)
    ]
    assert sum(entry.change for entry in found.days) == energy_wh
    assert {entry.what for entry in found.days} == {
        ("s-P1/inv-1", "TotWhExp", day) for day in ("2021-03-08", "2021-03-09", "2021-03-10")
    }
    (entry,) = found.late
    assert (entry.device, entry.readings, entry.messages_count) == ("s-P1/inv-1", 48, 2)
    assert [(message.message_id, message.readings) for message in entry.messages] == [(71, 24), (72, 24)]
    assert (entry.first, entry.last) == (rows[-49][0], rows[-2][0])
    assert one.received_until < entry.messages[0].received_at <= two.received_until
    assert (found.declarations, found.methodology) == ((), ())
    assert ("register.normal@1",) in {entry.what for entry in found.rules}
    assert difference(plant.connection, "P1", *DAYS, 1, 2) == found
    back = difference(plant.connection, "P1", *DAYS, 2, 1)
    assert back.kg == -found.kg
    short = difference(plant.connection, "P1", *DAYS, with_days=False)
    assert (short.days, short.kg, short.late) == ((), found.kg, found.late)
    assert "48 late readings of 1 device in 2 messages" in summary(found)
    text = "\n".join(lines(found))
    assert "message 71, received " in text
    assert "s-P1/inv-1 TotWhExp 2021-03-09: 0.000 -> 2,400,000.000 (+2,400,000.000)" in text


def test_what_came_after_the_later_revision_or_belongs_to_other_days_is_not_told(plant):
    rows = plant.days(FIRST, date(2021, 3, 20))
    plant.insert(rows[:200])
    freeze(plant)
    late(plant, rows[200:], 5)
    freeze(plant)
    late(plant, [(ts + timedelta(minutes=30), wh + 500) for ts, wh in rows[:10]], 6)
    (entry,) = difference(plant.connection, "P1", *DAYS).late
    assert entry.readings == 40
    assert [message.message_id for message in entry.messages] == [5]


def test_a_changed_declaration_is_told_by_its_keys(plant):
    plant.insert(plant.days(FIRST, LAST, hourly_wh=100_000.0))
    freeze(plant)
    registered = 'credited_by = ["*"]\nemission_factor = { value = "0.4", unit = "tCO2/MWh", source = "PDD" }'
    plant.apply(
        plant.toml.replace('credited_by = ["*"]', registered)
        + '\n[[device]]\nid = "new"\nsite = "s-P1"\npv_system = "pv-1"\nkind = "meter"\ninstalled = 2021-01-01\n'
        'profile = "native"\n'
    )
    freeze(plant)
    found = difference(plant.connection, "P1", *DAYS)
    assert (found.days, found.late) == ((), ())
    assert found.kg == Decimal(24) * (Decimal("0.4") - Decimal("0.319")) * 1000
    said = "\n".join(found.declarations)
    assert 'device.s-P1/new was null, is {"' in said
    assert 'pv_system.pv-1.emission_factor was null, is {"' in said
    assert "inv-1" not in said
    assert 'factors.pv-1.value was "0.319", is "0.4"' in found.methodology
    assert any(entry.startswith("no longer noted: the factor of pv-1, 0.319") for entry in found.checks)
    content = found.as_json()
    assert content["revisions"] == [1, 2]
    assert content["vintages"] == [{"year": 2021, "er_tco2": [7, 9]}]
    assert content["re_change_kg"] == str(found.kg)


def test_what_cannot_be_compared_is_refused(plant):
    plant.insert(plant.days(FIRST, LAST))
    with pytest.raises(PeriodError, match="was never frozen"):
        difference(plant.connection, "P1", *DAYS)
    freeze(plant)
    with pytest.raises(PeriodError, match="has one revision; there is nothing to compare it with"):
        difference(plant.connection, "P1", *DAYS)
    with pytest.raises(PeriodError, match="revision 1 differs from itself in nothing"):
        difference(plant.connection, "P1", *DAYS, 1, 1)
    with pytest.raises(PeriodError, match="has no revision 4; its latest is 1"):
        difference(plant.connection, "P1", *DAYS, 4, 1)
    with pytest.raises(WrongUseError, match="lies after TO"):
        difference(plant.connection, "P1", LAST, FIRST)
