"""From the tonnes of a frozen revision down to payload and seal, on a real database, also as a scoped verifier."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import psycopg
import pytest

from mrv import periods
from mrv.calendar import day_bounds, days_between
from mrv.computation import judge_register
from mrv.evidence.canonical import Seal
from mrv.evidence.keys import make_key
from mrv.evidence.sealing import seal_due
from mrv.tracing.around import calibrations, conflicts, flags, late
from mrv.tracing.device_days import device_day
from mrv.tracing.energy import days, months, overview
from mrv.tracing.errors import NotKeptError, NotThereError
from mrv.tracing.frozen import RevisionKey
from mrv.tracing.inclusion import inclusion
from mrv.tracing.messages import payload, reading
from sql.connection import Role, acting, connect
from tests import evidence_reader
from tests.integration.conftest import Plant
from tests.integration.received import receive
from tests.integration.test_evidence import FAMILIES, opendtu, sparkplug
from tests.meters import BATTERY, HEAD, VALID, hourly, meter

FIRST, LAST = date(2021, 2, 20), date(2021, 3, 20)
KEY = RevisionKey("P1", FIRST, LAST)
STEP = timedelta(minutes=30)
COORDINATES = 'time_zone = "Asia/Bangkok"\nlatitude = 13.7\nlongitude = 100.5\n'
CALIBRATED = (
    'maximum_permissible_error_percent = "0.5"\nserial_number = "S-1"\n\n[[device.calibration]]\n'
    'performed = 2020-03-02\nvalid_until = 2021-03-01\nerror_percent = "0.1"\nlaboratory = "Lab"\ncertificate = "C-1"\n'
)


def curve(plant):
    """Half-hourly registers and power of a plant by day, with what real registers do: falls, leaps, zeros, silence."""
    at, end = day_bounds(FIRST - timedelta(days=3), plant.zone)[0], day_bounds(LAST + timedelta(days=3), plant.zone)[1]
    counted = 5_000_000.0
    while at <= end:
        hour = (at + timedelta(hours=7)).hour
        power = 60_000.0 if 8 <= hour < 16 else 0.0
        day, shown = (at + timedelta(hours=7)).date(), counted
        if day == date(2021, 2, 25) and hour == 6:
            shown = 0.0
        if day == date(2021, 2, 26) and hour == 12:
            shown = counted + 900_000.0
        if date(2021, 3, 4) <= day <= date(2021, 3, 9) and at.minute:
            shown = counted + 700_000.0
        if day == date(2021, 3, 12):
            counted += 1500.0 if hour == 2 else 0.0
        # No reading at the first midnight: an interval crosses into the period.
        first_midnight = at == day_bounds(FIRST, plant.zone)[0]
        if not first_midnight and not (day == date(2021, 3, 14) and hour < 11) and day != date(2021, 3, 15):
            yield at, shown, power
        counted += power / 2
        at += STEP


def said(at, register, power) -> bytes:
    return json.dumps({"ts": at.isoformat(), "seq": 7, "points": {"TotWhExp": register, "W": power, "A": 3.5}}).encode()


def plant_of(url, project, toml=lambda text: text):
    plant = Plant(url, project=project)
    plant.toml = toml(plant.toml)
    plant.apply(plant.toml)
    return plant


@pytest.fixture(scope="module")
def made(shared_database, tmp_path_factory):
    """A month of a plant, frozen and sealed; a joined and a Sparkplug family beside it, in projects of their own."""
    plant = plant_of(
        shared_database, "P1",
        lambda text: text.replace('time_zone = "Asia/Bangkok"\n', COORDINATES) + CALIBRATED,
    )  # fmt: skip
    topic = f"jcm/v1/{plant.site}/inv-1/readings"
    rows = list(curve(plant))
    for n in range(0, len(rows), 3):
        some = rows[n : n + 3]
        receive(plant.owner, [(topic, said(*row)) for row in some], some[-1][0] + STEP, first_id=1000 + n)
    # Three hundred messages more on one day, so that its tree has two blocks; each tells what is known already.
    noise = [(f"jcm/v1/{plant.site}/unknown/readings", b"{%d" % n) for n in range(300)]
    receive(plant.owner, noise, datetime(2021, 3, 10, 12, tzinfo=UTC), first_id=50_000)
    receive(plant.owner, [("elsewhere", b"?")], datetime(2021, 3, 10, 13, tzinfo=UTC), first_id=60_000)
    number = plant.owner.execute("select device_id from device where site_id = %s", [plant.site]).fetchone()[0]
    for n in range(5):
        plant.owner.execute(
            "insert into reading_conflict (device_id, ts, received_at, message_id, element, stored, offered) "
            "select device_id, ts, received_at, message_id + %s, 0, '{\"power_w\": 1}', '{\"power_w\": 2}' "
            "from reading where device_id = %s and ts = %s",
            [n, number, datetime(2021, 3, 2, 5, tzinfo=UTC) + n * STEP],
        )  # fmt: skip
    plant.owner.execute(
        "insert into quarantine (received_at, message_id, element, site_id, topic, reason, detail) select received_at, "
        "message_id, null, site_id, topic, 'payload_undecodable', 'is no JSON' from message where message_id = 50000"
    )
    joined, node = plant_of(shared_database, "P2"), plant_of(shared_database, "P3")
    opendtu(joined)
    node_days = sparkplug(node)
    key = make_key(tmp_path_factory.mktemp("made") / "key.pem")
    seal_due(plant.connection, key, code_version="test")
    periods.freeze(plant.connection, "P1", FIRST, LAST, code_version="test")
    plant.owner.execute(
        "insert into reading_conflict (device_id, ts, received_at, message_id, element, stored, offered) "
        "values (%s, %s, clock_timestamp(), 91000, 0, '{\"power_w\": 1}', '{\"power_w\": 3}')",
        [number, datetime(2021, 3, 2, 9, tzinfo=UTC)],
    )
    receive(plant.owner, [(topic, said(datetime(2021, 3, 15, 3, n, tzinfo=UTC), 7e6, 1.0)) for n in range(5)],
            datetime.now(UTC), first_id=90_000)  # fmt: skip
    yield SimpleNamespace(plant=plant, joined=joined, node=node, node_days=node_days, key=key, url=shared_database,
                          number=number)  # fmt: skip
    for one in (plant, joined, node):
        one.close()


@pytest.fixture(params=["reader", "verifier"])
def seen(made, request):
    """A connection that sees everything, and one of a verifier that sees this project alone."""
    if request.param == "reader":
        with connect(made.url, Role.READER) as connection:
            yield connection
        return
    with (
        connect(made.url, Role.OWNER) as connection,
        acting(connection, Role.VERIFIER, frozenset({"P1", "P2", "P3"}), read_only=True),
    ):
        yield connection


# --- energy ----------------------------------------------------------------------------------------------------------


def test_the_overview_names_periods_revisions_and_vintages(made, seen):
    found = overview(seen, "P1")
    (period,) = found.periods
    (revision,) = period.revisions
    assert (found.methodology, period.first_day, period.last_day) == ("TH_AM001", FIRST, LAST)
    assert (revision.revision, revision.state, revision.has_days) == (1, "frozen", True)
    assert sum(one.er_tco2 for one in revision.vintages) == revision.er_tco2 > 0


def test_months_and_lines_add_up_to_the_tonnes(made, seen):
    found = months(seen, KEY)
    result = periods.find_revision(seen, "P1", FIRST, LAST).result
    assert [(one.month, one.register_days) for one in found.months] == [(date(2021, 2, 1), 9), (date(2021, 3, 1), 20)]
    for total in found.years:
        of_row = [one for one in found.months if (one.system, one.year) == (total.system, total.year)]
        lines = [one for one in found.lines if (one.system, one.year) == (total.system, total.year)]
        assert sum(one.eg_wh for one in of_row) + sum(one.wh for one in lines) == total.eg_mwh * 10**6
        assert sum(one.tco2 for one in of_row) + sum(one.tco2 for one in lines) == total.re_tco2
    for vintage in found.vintages:
        lines = [one for one in found.lines if one.system is None and one.year == vintage.year]
        re = sum(total.re_tco2 for total in found.years if total.year == vintage.year)
        assert re + sum(one.tco2 for one in lines) == vintage.er_tco2
    assert {one.name for one in found.lines} >= {"permissible_error", "er_rounding"}
    for rule, count in result.rules.items():
        by_month = sum(one.rules.get(rule, 0) for one in found.months)
        assert by_month == count or rule.startswith("meter.") or rule in (
            "register.opening@1", "quality.quarantined@1", "quality.retained@1", "quality.redelivered@1",
            "quality.duplicate_delivery@1", "quality.unknown_clock@1", "quality.meter_above_inverters@1",
        ), rule  # fmt: skip


def test_days_of_a_month_come_in_pages_and_add_up_to_it(made, seen):
    whole = days(seen, KEY, date(2021, 3, 1))
    assert (len(whole.rows), whole.next) == (20, None)
    march = next(one for one in months(seen, KEY).months if one.month.month == 3)
    assert sum(row.credited_wh for row in whole.rows) == march.eg_wh
    paged, after = [], None
    while True:
        page = days(seen, KEY, date(2021, 3, 1), limit=7, after=after)
        paged += page.rows
        after = page.next
        if after is None:
            break
    assert tuple(paged) == whole.rows
    assert len(days(seen, KEY, None, device=(made.plant.site, "inv-1")).rows) == 29
    by_rule = days(seen, KEY, None, rule="register.spike@1").rows
    assert by_rule
    assert all(row.rules["register.spike@1"] and row.has_withheld for row in by_rule)


# --- a device's day --------------------------------------------------------------------------------------------------


def test_every_day_comes_to_what_was_kept(made, seen):
    stored = {row.day: row for row in days(seen, KEY, None).rows}
    rules = set()
    for day in days_between(FIRST, LAST):
        found = device_day(seen, KEY, made.plant.site, "inv-1", day)
        (register,) = found.registers
        assert (found.holds, register.differs, register.stored) == (True, (), stored[day])
        assert sum(one.credited_wh for one in register.intervals) == register.within_wh + register.carried_wh
        assert sum(one.credited_wh for one in register.intervals if one.counts) == stored[day].credited_wh
        assert sum(one.withheld_wh for one in register.intervals) == sum(stored[day].withheld_wh.values())
        decided = {}
        for one in (*register.intervals, *register.aside):
            decided[one.rule.id] = decided.get(one.rule.id, 0) + 1
        kept = {rule: n for rule, n in stored[day].rules.items() if rule in decided or rule.startswith("register.")}
        assert decided == kept
        assert len([line for line in found.readings if not line.late]) == stored[day].samples
        rules |= {rule for line in found.readings for rule in line.rules} | set(decided)
    assert {"register.spike@1", "register.gap@1", "register.zero@1", "quality.night_energy@1"} <= rules


def test_what_crosses_counts_on_both_sides_where_it_lowers_and_on_neither_where_it_raises(made):
    """A battery's meters read at half past, so that an interval crosses each midnight."""
    days_ = date(2021, 3, 1), date(2021, 3, 4)
    toml = HEAD.format(methodology="ID_AM017").replace('id = "P1"', 'id = "P4"').replace('"s"', '"s-P4"')
    for part in (BATTERY, meter("m-1", VALID), meter("b-1", VALID)):
        toml += part.replace('"s"', '"s-P4"')
    made.plant.apply(toml)
    owner = made.plant.owner
    numbers = dict(owner.execute("select id, device_id from device where site_id = 's-P4'").fetchall())
    insert = (
        "insert into reading (device_id, ts, received_at, message_id, element, energy_exported_wh, energy_imported_wh) "
        "values (%s, %s, clock_timestamp(), 1, 0, %s, %s)"
    )
    span = days_[0] - timedelta(days=2), days_[1] + timedelta(days=2)
    charged = hourly(300, minutes=30, first=span[0], last=span[1])
    for device, wh in (("m-1", 1000), ("b-1", 200)):
        rows = hourly(wh, minutes=30, first=span[0], last=span[1])
        given = [(numbers[device], ts, at, imported) for (ts, at), (_, imported) in zip(rows, charged, strict=True)]
        owner.cursor().executemany(insert, given)
    periods.freeze(made.plant.connection, "P4", *days_, code_version="test")
    key = RevisionKey("P4", *days_)
    found = {}
    for row in days(made.plant.connection, key, None).rows:
        trace = device_day(made.plant.connection, key, row.site, row.device, row.day)
        (register,) = [one for one in trace.registers if one.quantity == row.quantity]
        assert trace.holds
        assert sum(one.credited_wh for one in register.intervals if one.counts) == row.credited_wh
        if row.left_out:
            found[row.quantity, row.day] = row.credited_wh, len(register.intervals)
    first, last = days_
    assert found == {
        ("generated", first): (23_000, 24), ("discharged", first): (4_600, 24), ("charged", last): (7_500, 25),
    }  # fmt: skip
    whole = months(made.plant.connection, key)
    eg = sum(one.eg_wh for one in whole.months) + sum(one.wh for one in whole.lines)
    assert eg == whole.years[0].eg_mwh * 10**6 == 95_000 - (97 * 300 - 95 * 200)


def test_a_day_is_computed_from_as_much_around_it_as_it_takes(made, seen, monkeypatch):
    asked: dict[date, list[int]] = {}

    def judged(credited, series, first, *given, **more):
        asked.setdefault(first, []).append(len(series.t_us))
        return judge_register(credited, series, first, *given, **more)

    monkeypatch.setattr("mrv.tracing.device_days.judge_register", judged)
    for day in days_between(FIRST, LAST):
        assert device_day(seen, KEY, made.plant.site, "inv-1", day).holds
    assert asked[date(2021, 3, 2)] == [48 * 3 + 2]
    # Within six days of half-hourly jumps up and down the level is not confirmed from a day on each side.
    assert {day for day, lengths in asked.items() if len(lengths) > 1} == {date(2021, 3, n) for n in range(6, 11)}


def test_what_came_late_and_what_was_offered_besides_stand_beside_the_readings(made, seen):
    found = device_day(seen, KEY, made.plant.site, "inv-1", date(2021, 3, 15))
    assert [(line.late, line.message_id) for line in found.readings] == [(True, 90_000 + n) for n in range(5)]
    found = device_day(seen, KEY, made.plant.site, "inv-1", date(2021, 3, 2))
    assert [(line.offered, line.late) for line in found.conflicts] == [({"power_w": 2}, False)] * 5 + [
        ({"power_w": 3}, True)
    ]
    (conflict,) = [entry for entry in found.registers[0].rules if entry.rule.id == "quality.conflict@1"]
    assert (conflict.count, conflict.at) == (5, tuple(line.ts for line in found.conflicts[:5]))


def test_a_reading_that_was_changed_after_the_freeze_shows(made, seen):
    day, owner = date(2021, 3, 1), made.plant.owner
    given = [made.number, datetime(2021, 3, 1, 5, tzinfo=UTC)]
    change = "update reading set energy_exported_wh = energy_exported_wh {} 7 where device_id = %s and ts = %s"
    owner.execute(change.format("+"), given)
    try:
        found = device_day(seen, KEY, made.plant.site, "inv-1", day)
        assert not found.holds
        assert found.registers[0].differs[0] == "the readings of the day are not those that were frozen"
    finally:
        owner.execute(change.format("-"), given)
    assert device_day(seen, KEY, made.plant.site, "inv-1", day).holds


# --- readings, messages, seals ---------------------------------------------------------------------------------------


def test_three_steps_lead_from_a_day_to_a_proven_payload(made, seen):
    line = device_day(seen, KEY, made.plant.site, "inv-1", date(2021, 3, 10)).readings[20]
    one = reading(seen, made.plant.site, "inv-1", line.ts)
    assert (one.points["energy_exported_wh"], one.seq) == (line.energy_exported_wh, 7)
    assert (one.local_day, one.message.message_id) == (date(2021, 3, 10), line.message_id)
    raw = payload(seen, one.message.received_at, one.message.message_id, families=FAMILIES)
    assert (raw.topic, raw.outcome, raw.sha256_holds) == (one.topic, "stored", True)
    assert raw.sha256 == hashlib.sha256(raw.payload).hexdigest()
    (decoded,) = raw.decoded
    assert (decoded.device, decoded.ts, decoded.points) == ("inv-1", line.ts, dict(one.points))
    assert [(stored.ts, stored.energy_exported_wh) for stored in raw.stored] == [(line.ts, line.energy_exported_wh)]
    assert_proven(seen, made, raw.message.received_at, raw.message.message_id)


def assert_proven(connection, made, received_at, message_id):
    """By the code of another reader, after docs/evidence.md alone."""
    found = inclusion(connection, received_at, message_id)
    assert (found.sealed, found.holds, found.problem) == (True, True, None)
    seal = json.loads(found.seal.statement)
    evidence_reader.signed(
        {made.key.public.id: made.key.public.raw}, seal["key"], found.seal.signature, found.seal.statement.encode()
    )
    row = made.plant.owner.execute(
        "select topic, payload, qos, retained, redelivered, outcome, readings, collector, note, arrived_at "
        "from message where received_at = %s and message_id = %s", [received_at, message_id],
    ).fetchone()  # fmt: skip

    def us(at):
        return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    def committed(name, value):
        return {"commitment": evidence_reader.commitment(name, bytes.fromhex(found.salt), value).hex()}

    message = dict(
        zip(("topic", "payload", "qos", "retained", "redelivered", "outcome", "readings", "collector", "note"), row,
            strict=False),
        received_us=us(received_at), message_id=message_id, arrived_us=us(row[-1]),
    )  # fmt: skip
    message |= {"topic": committed("topic", row[0].encode()), "payload": committed("payload", row[1])}
    leaf = evidence_reader.leaf(found.site, message, b"")
    assert leaf.hex() == found.leaf
    hidden = {(one["first"], one["end"]): bytes.fromhex(one["root"]) for one in found.proof_json()}
    assert evidence_reader.root(0, seal["messages"], {found.place: leaf}, hidden).hex() == seal["root"]
    return found


def test_every_message_of_a_day_of_two_blocks_is_proven(made):
    rows = made.plant.owner.execute(
        "select received_at, message_id from message where site_id = %s and received_at >= '2021-03-10' "
        "and received_at < '2021-03-11' order by 1, 2", [made.plant.site],
    ).fetchall()  # fmt: skip
    assert len(rows) > 300
    places = [assert_proven(made.plant.connection, made, *row).place for row in rows[::17]]
    assert places == list(range(len(rows)))[::17]


@pytest.fixture
def allowed(made):
    """Whoever has the database's own rights may do what no program of ours does."""

    def do(table, statement, *given):
        made.plant.owner.execute(f"alter table {table} disable trigger append_only")
        made.plant.owner.execute(statement, given)
        made.plant.owner.execute(f"alter table {table} enable trigger append_only")

    return do


def message_of(made, hour=5):
    return made.plant.owner.execute(
        "select received_at, message_id from message where site_id = %s and received_at >= %s order by 1, 2 limit 1",
        [made.plant.site, datetime(2021, 3, 10, hour, tzinfo=UTC)],
    ).fetchone()


def test_a_seal_without_kept_blocks_is_proven_from_the_day(made, allowed, seen):
    at = message_of(made)
    before = inclusion(seen, *at)
    kept = made.plant.owner.execute("select * from seal_block where day = '2021-03-10'").fetchall()
    allowed("seal_block", "delete from seal_block where day = '2021-03-10'")
    try:
        assert assert_proven(seen, made, *at) == before
        # What is kept is never believed: with wrong roots all of the day is hashed, and the proof is the same.
        made.plant.owner.cursor().executemany(
            "insert into seal_block values (%s, %s, %s, %s, %s, %s)", [(*row[:5], bytes(32)) for row in kept]
        )
        assert inclusion(seen, *at) == before
    finally:
        allowed("seal_block", "delete from seal_block where day = '2021-03-10'")
        made.plant.owner.cursor().executemany("insert into seal_block values (%s, %s, %s, %s, %s, %s)", kept)


@pytest.mark.parametrize("whose", ["its own", "a neighbour's"])
def test_a_payload_that_was_changed_is_not_proven(made, seen, whose):
    at = message_of(made)
    changed = at if whose == "its own" else message_of(made, 8)
    change = "update message set payload = %s where received_at = %s and message_id = %s"
    (was,) = made.plant.owner.execute(
        "select payload from message where received_at = %s and message_id = %s", changed
    ).fetchone()
    made.plant.owner.execute(change, [was + b" ", *changed])
    try:
        found = inclusion(seen, *at)
        assert (found.sealed, found.holds) == (True, False)
        assert found.problem == "this message, or one of the 255 around it, is not what was sealed"
        raw = payload(seen, *changed, families={})
        assert not raw.sha256_holds
    finally:
        made.plant.owner.execute(change, [was, *changed])
    assert inclusion(seen, *at).holds


def test_a_message_that_came_behind_the_seal_is_not_proven(made, seen):
    at = datetime(2021, 3, 11, 12, 0, 1, tzinfo=UTC)
    receive(made.plant.owner, [(f"jcm/v1/{made.plant.site}/unknown/readings", b"x")], at, first_id=70_000)
    try:
        assert not inclusion(seen, at, 70_000).holds
    finally:
        made.plant.owner.execute("delete from message where message_id = 70000")
        made.plant.owner.execute("delete from quarantine where message_id = 70000")


def test_a_message_of_no_declared_site_is_for_whoever_sees_everything(made):
    at = datetime(2021, 3, 10, 13, tzinfo=UTC)
    for projects in (None, frozenset({"P1"})):
        with (
            connect(made.url, Role.OWNER) as connection,
            acting(connection, Role.VERIFIER, projects, read_only=True),
        ):
            if projects is None:
                assert assert_proven(connection, made, at, 60_000).site == ""
                assert payload(connection, at, 60_000, families={}).site is None
                continue
            with pytest.raises(NotThereError):
                inclusion(connection, at, 60_000)


def test_a_day_that_is_not_sealed_says_when_it_is_due(made, seen):
    (at,) = made.plant.owner.execute("select received_at from message where message_id = 90000").fetchone()
    found = inclusion(seen, at, 90_000)
    assert (found.sealed, found.holds, found.seal) == (False, False, None)
    assert found.due == datetime.combine(at.date() + timedelta(days=1), datetime.min.time(), UTC)


def test_a_seal_says_what_its_chain_and_signature_are(made, seen, allowed):
    at = message_of(made)
    found = inclusion(seen, *at).seal
    assert (found.signature_holds, found.chain_holds, found.key) == (True, True, made.key.public.id)
    assert Seal.from_statement(found.statement).root.hex() == found.root
    kept = bytes.fromhex(found.signature)
    allowed("seal", "update seal set signature = %s where day = '2021-03-10'", kept[::-1])
    try:
        wrong = inclusion(seen, *at)
        assert (wrong.holds, wrong.problem) == (False, "the signature over the seal does not hold")
    finally:
        allowed("seal", "update seal set signature = %s where day = '2021-03-10'", kept)


def test_a_joined_reading_leads_to_all_of_its_messages(made, seen):
    site = made.joined.site
    ((ts,),) = made.plant.owner.execute(
        "select min(ts) from reading r join device d using (device_id) where d.site_id = %s", [site]
    ).fetchall()
    one = reading(seen, site, "inv-1", ts)
    assert (one.profile, len(one.parts)) == ("opendtu", 3)
    assert one.message in [part.message for part in one.parts]
    assert one.topic.startswith(f"jcm/v1/{site}/via/solar/116482923311/")
    for part in one.parts:
        raw = payload(seen, part.message.received_at, part.message.message_id, families=FAMILIES)
        assert raw.fields == (("inv-1", part.field, raw.payload.decode()),)
        assert [stored.ts for stored in raw.stored] == [ts]
        assert inclusion(seen, part.message.received_at, part.message.message_id).holds


def test_what_came_of_a_message_is_found_however_late_it_came(made, seen):
    owner = made.plant.owner
    (at,) = owner.execute("select received_at from message where message_id = 90000").fetchone()
    raw = payload(seen, at, 90_000, families={})
    assert [stored.ts for stored in raw.stored] == [datetime(2021, 3, 15, 3, tzinfo=UTC)]
    part = owner.execute("select device_id, ts, received_at, message_id, field from reading_part limit 1").fetchone()
    owner.execute("delete from reading_part where message_id = %s", [part[3]])
    try:
        owner.execute("insert into reading_part values (%s, %s, %s, %s, %s)",
                      [part[0], part[1] - timedelta(days=40), *part[2:]])  # fmt: skip
        raw = payload(seen, part[2], part[3], families=FAMILIES)
        assert [line.ts for line in raw.parts] == [part[1] - timedelta(days=40)]
    finally:
        owner.execute("delete from reading_part where message_id = %s", [part[3]])
        owner.execute("insert into reading_part values (%s, %s, %s, %s, %s)", part)


def test_a_sparkplug_message_is_decoded_by_the_births_before_it(made, seen):
    rows = made.plant.owner.execute(
        "select r.ts, r.energy_exported_wh, r.received_at, r.message_id from reading r join device d using (device_id) "
        "where d.site_id = %s order by r.message_id desc", [made.node.site],
    ).fetchall()  # fmt: skip
    ts, register, received_at, message_id = rows[0]
    raw = payload(seen, received_at, message_id, families=FAMILIES)
    assert raw.not_decoded is None
    assert (ts, register) in [(one.ts, one.points.get("energy_exported_wh")) for one in raw.decoded]


def test_a_message_in_quarantine_says_why(made, seen):
    (at,) = made.plant.owner.execute("select received_at from message where message_id = 50000").fetchone()
    raw = payload(seen, at, 50_000, families={})
    assert (raw.outcome, raw.stored, raw.decoded) == ("quarantined", (), ())
    assert [(line.element, line.reason, line.released_at) for line in raw.quarantined] == [
        (None, "payload_undecodable", None)
    ]


# --- around the energy -----------------------------------------------------------------------------------------------


def test_late_readings_and_conflicts_come_in_pages(made, seen):
    whole = late(seen, KEY)
    assert [(line.message_id, line.readings) for line in whole.rows] == [(90_000 + n, 1) for n in range(5)]
    first = late(seen, KEY, limit=2)
    assert late(seen, KEY, after=first.next).rows == whole.rows[2:]
    assert late(seen, KEY, limit=5).next is None
    every = conflicts(seen, KEY)
    assert len(every.rows) == 5
    first = conflicts(seen, KEY, limit=2)
    assert conflicts(seen, KEY, after=first.next).rows == every.rows[2:]


def test_flags_tell_what_each_rule_took_and_where(made, seen):
    found = {flag.rule.id: flag for flag in flags(seen, KEY).flags}
    result = periods.find_revision(seen, "P1", FIRST, LAST).result
    assert {rule: flag.count for rule, flag in found.items()} == {rule: n for rule, n in result.rules.items() if n}
    night = found["quality.night_energy@1"]
    assert night.withheld_wh == sum(place.withheld_wh for place in night.places) == 3000
    assert (night.rule.takes, night.places[0].first_day) == (True, date(2021, 3, 12))
    assert found["quality.conflict@1"].withheld_wh is None
    assert found["register.spike@1"].withheld_wh is None  # what it had would be a guess
    delayed = found["meter.delayed_calibration@1"]
    assert delayed.withheld_wh == -next(line.wh for line in months(seen, KEY).lines if line.name == "permissible_error")
    assert delayed.said
    assert sum(place.count for place in found["register.spike@1"].places) == found["register.spike@1"].count


def test_calibrations_stand_on_a_time_line(made, seen):
    (meter,) = calibrations(seen, KEY)
    assert [(one.performed, one.valid_until) for one in meter.calibrations] == [(date(2020, 3, 2), date(2021, 3, 1))]
    assert [(one.first_day, one.last_day, one.state) for one in meter.states] == [
        (FIRST, date(2021, 3, 1), "valid"), (date(2021, 3, 2), LAST, "expired"),
    ]  # fmt: skip
    assert meter.error_percent == Decimal("0.5")


# --- what is not there -----------------------------------------------------------------------------------------------


def test_what_is_not_there_is_refused(made, seen):
    site = made.plant.site
    for ask in (
        lambda: overview(seen, "P9"),
        lambda: months(seen, replace(KEY, revision=7)),
        lambda: months(seen, replace(KEY, last_day=date(2021, 3, 21))),
        lambda: device_day(seen, KEY, site, "inv-9", FIRST),
        lambda: device_day(seen, KEY, site, "inv-1", date(2021, 4, 1)),
        lambda: reading(seen, site, "inv-1", datetime(2021, 3, 1, 0, 7, tzinfo=UTC)),
        lambda: payload(seen, datetime(2021, 3, 1, tzinfo=UTC), 1, families={}),
        lambda: inclusion(seen, datetime(2021, 3, 1, tzinfo=UTC), 1),
    ):
        with pytest.raises(NotThereError):
            ask()


def test_a_verifier_of_another_project_sees_nothing(made):
    site, at = made.plant.site, message_of(made)
    with (
        connect(made.url, Role.OWNER) as connection,
        acting(connection, Role.VERIFIER, frozenset({"P2"}), read_only=True),
    ):
        for ask in (
            lambda: overview(connection, "P1"),
            lambda: months(connection, KEY),
            lambda: days(connection, KEY, FIRST),
            lambda: device_day(connection, KEY, site, "inv-1", FIRST),
            lambda: reading(connection, site, "inv-1", datetime(2021, 3, 1, 5, tzinfo=UTC)),
            lambda: payload(connection, *at, families={}),
            lambda: inclusion(connection, *at),
            lambda: late(connection, KEY),
            lambda: conflicts(connection, KEY),
            lambda: flags(connection, KEY),
            lambda: calibrations(connection, KEY),
        ):
            with pytest.raises(NotThereError):
                ask()


# --- revisions from before the days were kept ------------------------------------------------------------------------


def test_a_revision_without_its_days_says_so_and_recomputing_keeps_them(made, allowed, seen):
    owner = made.plant.owner
    mine = "period_id = (select period_id from period where project_id = 'P1')"
    kept = {table: owner.execute(f"select * from {table} where {mine} order by 1, 2, 3, 4, 5").fetchall()
            for table in ("revision_day", "revision_line")}  # fmt: skip
    for table in kept:
        allowed(table, f"delete from {table} where {mine}")
    for ask in (lambda: months(seen, KEY), lambda: days(seen, KEY, FIRST)):
        with pytest.raises(NotKeptError, match="--recompute` keeps them"):
            ask()
    assert not overview(seen, "P1").periods[0].revisions[0].has_days
    # What is shown reading by reading is then computed from the whole period, and held against nothing.
    (register,) = device_day(seen, KEY, made.plant.site, "inv-1", date(2021, 3, 8)).registers
    assert register.stored is None
    row = next(row for row in kept["revision_day"] if row[2] == date(2021, 3, 8))
    assert (register.within_wh, register.carried_wh) == row[8:10]
    with connect(made.url, Role.READER) as connection:
        periods.recompute(connection, "P1", FIRST, LAST)
    assert not overview(seen, "P1").periods[0].revisions[0].has_days
    for _ in range(2):
        periods.recompute(made.plant.connection, "P1", FIRST, LAST)
    again = {
        table: owner.execute(f"select * from {table} where {mine} order by 1, 2, 3, 4, 5").fetchall() for table in kept
    }
    assert again == kept
    told = owner.execute("select count(*) from audit_event where action = 'period.days_kept'").fetchone()
    assert told[0] >= 1


@pytest.mark.parametrize("table", ["revision_day", "revision_line", "seal_block"])
@pytest.mark.parametrize("statement", ["delete from {}", "truncate {} cascade", "update {} set ctid = ctid"])
def test_what_was_kept_is_append_only_for_the_owner_too(made, table, statement):
    with pytest.raises(psycopg.Error, match=r"append-only|cannot"):
        made.plant.owner.execute(statement.format(table))
