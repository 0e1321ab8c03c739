"""Devices of foreign families on the real way: broker, collector, database."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from deploy.registry import apply
from devices.declaration_file import parse
from devices.decoding.catalogue import built_in
from devices.decoding.judging import Judge
from devices.decoding.memory import FRAME, Key, Memory
from ingest.collector import CollectorOptions
from ingest.errors import StaleMemoryError
from ingest.quarantine import Selection
from ingest.quarantine_replay import Replay
from ingest.store import Store
from sql.connection import Role, connect
from tests.harness import Message, forget_session, publish, rows, wait_until
from tests.harness import collecting as collecting_as

SITE = "roof-1"
VIA = f"jcm/v1/{SITE}/via"
SERIAL = "116482923311"

PROJECT = """
[project]
id = "ROOF"
title = "Roofs"
host_country = "THA"
methodology = "TH_AM001"
methodology_version = "1.0"
crediting_period = { from = 2019-01-01, to = 2029-12-31 }

[[site]]
id = "roof-1"
name = "Roof"
time_zone = "Asia/Bangkok"

[[site]]
id = "roof-2"
name = "Other roof"
time_zone = "Asia/Bangkok"
"""

OPENDTU = """
[[device]]
id = "inv-1"
site = "roof-1"
kind = "inverter"
profile = "opendtu"
address = { serial = "116482923311" }
installed = 2020-01-01
"""


def growatt(device: str, serial: str, site: str = SITE) -> str:
    return f"""
[[device]]
id = "{device}"
site = "{site}"
kind = "inverter"
profile = "growatt-grott"
address = {{ serial = "{serial}" }}
installed = 2020-01-01
"""


@pytest.fixture
def client_id(broker):
    name = f"foreign-{uuid.uuid4().hex[:8]}"
    yield name
    forget_session(broker.collector_url, name)


@pytest.fixture
def anyone(broker, servers):
    """The broker URL of a site that may write on a family's own topics as well."""

    def login(*filters: str) -> str:
        servers.site_credentials(SITE, filters)
        return broker.site_url(SITE)

    yield login
    servers.site_credentials(SITE, [])


def joining(join_s: float) -> dict:
    """The families, with other than ten seconds in which OpenDTU's fields belong together."""
    profile = built_in()["opendtu"]
    sources = tuple(
        source.model_copy(update={"join_s": join_s}) if source.join_s is not None else source
        for source in profile.sources
    )
    return dict(built_in()) | {"opendtu": profile.model_copy(update={"sources": sources})}


def collecting(mqtt: str, database: str, client_id: str, site: str = SITE, join_s: float = 2.5):
    options = CollectorOptions(catalogue=joining(join_s))
    # Of one site: other tests' bridges speak on the same broker.
    return collecting_as(mqtt, database, client_id, options=options, topic_filter=f"jcm/v1/{site}/via/#")


def declare(url: str, *devices: str) -> None:
    with connect(url, Role.OWNER) as owner:
        apply(owner, [("test.toml", parse(PROJECT + "".join(devices), "test.toml"))])


def count(url: str, table: str) -> int:
    return rows(url, f"select count(*) from {table}")[0][0]


def cycle(power: float, total_kwh: float, last_update: int | None = None, root: str = f"{VIA}/solar") -> list[Message]:
    """What OpenDTU sends every five seconds."""
    said = int(time.time()) - 1 if last_update is None else last_update
    fields = {"status/last_update": said, "0/power": power, "0/yieldday": 51, "0/yieldtotal": total_kwh}
    return [Message(f"{root}/{SERIAL}/{name}", str(value).encode(), retain=True) for name, value in fields.items()]


def forget_retained(url: str, root: str = f"{VIA}/solar") -> None:
    publish(url, [Message(one.topic, b"", retain=True) for one in cycle(0, 0, root=root)])


def test_fields_that_come_one_by_one_become_one_reading(broker, database, client_id):
    declare(database, OPENDTU)
    at = int(time.time()) - 2
    with collecting(broker.collector_url, database, client_id):
        publish(broker.site_url(SITE), cycle(71.0, 465.294, at))
        publish(broker.site_url(SITE), cycle(72.0, 465.295, at + 1))
        wait_until(lambda: count(database, "reading") >= 1)
    forget_retained(broker.site_url(SITE))
    found = rows(
        database, "select ts, power_w, energy_exported_wh, extra ->> 'DayWh', message_id from reading order by ts"
    )
    assert found[0][:4] == (datetime.fromtimestamp(at, UTC), 71.0, 465294.0, "51.0")
    # The reading goes back to the message with the register, and its parts to every message.
    assert rows(database, "select topic from message where message_id = %s", found[0][4]) == [
        (f"{VIA}/solar/{SERIAL}/0/yieldtotal",)
    ]
    parts = rows(
        database,
        "select field from reading_part p join message m using (received_at, message_id)"
        " where p.ts = %s order by message_id",
        found[0][0],
    )
    assert parts == [("status/last_update",), ("0/power",), ("0/yieldday",), ("0/yieldtotal",)]
    balance = rows(database, "select sum(messages_received), sum(readings_received) from ingest_account")
    assert balance == [(count(database, "message"), count(database, "reading"))]


def test_the_last_fields_become_a_reading_when_nothing_follows(broker, database, client_id):
    declare(database, OPENDTU)
    with collecting(broker.collector_url, database, client_id):
        publish(broker.site_url(SITE), cycle(71.0, 465.294))
        wait_until(lambda: count(database, "reading") == 1)
    forget_retained(broker.site_url(SITE))
    assert rows(database, "select state from decoder_state") == [(None,)]


def test_a_collector_goes_on_with_the_fields_that_another_one_took(broker, database, client_id):
    declare(database, OPENDTU)
    first, *rest = cycle(71.0, 465.294)
    # However long the other one takes to begin: the next cycle ends this one.
    with collecting(broker.collector_url, database, client_id, join_s=120):
        publish(broker.site_url(SITE), [first])
        wait_until(lambda: count(database, "message") == 1)
    assert count(database, "reading") == 0
    publish(broker.site_url(SITE), [*rest, cycle(72.0, 465.295)[0]])
    with collecting(broker.collector_url, database, client_id, join_s=120):
        wait_until(lambda: count(database, "reading") == 1)
    forget_retained(broker.site_url(SITE))
    assert rows(database, "select power_w, energy_exported_wh from reading") == [(71.0, 465294.0)]


def test_a_kept_message_of_unknown_age_is_no_reading(broker, database, client_id):
    declare(database, OPENDTU)
    publish(broker.site_url(SITE), cycle(71.0, 465.294))
    with collecting(broker.collector_url, database, client_id):
        wait_until(lambda: count(database, "message") == 4)
        time.sleep(1)
    forget_retained(broker.site_url(SITE))
    assert rows(database, "select distinct outcome, note, retained from message") == [("stored", "retained", True)]
    assert count(database, "reading") == 0


def test_one_topic_carries_many_inverters(broker, database, client_id):
    declare(database, growatt("inv-1", "A"), growatt("inv-2", "B"))

    def said(serial: str, total: int) -> Message:
        body = f'{{"device": "{serial}", "time": "{bangkok()}", "values": {{"pvenergytotal": {total}}}}}'
        return Message(f"{VIA}/energy/growatt", body.encode())

    with collecting(broker.collector_url, database, client_id):
        publish(broker.site_url(SITE), [said("A", 100), said("B", 200), said("XXXXXXXXXX", 300), said("A", 0)])
        wait_until(lambda: count(database, "message") == 4)
    found = rows(
        database, "select d.id, r.energy_exported_wh from reading r join device d using (device_id) order by 1"
    )
    assert found == [("inv-1", 10000.0), ("inv-2", 20000.0)]
    assert rows(database, "select reason from quarantine") == [("device_unknown",)]
    assert rows(database, "select note from message where note is not null") == [("zero:TotWhExp",)]


def bangkok() -> str:
    return datetime.now(ZoneInfo("Asia/Bangkok")).replace(tzinfo=None, microsecond=0).isoformat()


def test_a_device_that_is_declared_later_is_heard_and_what_waited_is_replayed(broker, database, client_id):
    declare(database)
    body = f'{{"device": "A", "time": "{bangkok()}", "values": {{"pvenergytotal": 100}}}}'.encode()
    with collecting(broker.collector_url, database, client_id):
        publish(broker.site_url(SITE), [Message(f"{VIA}/energy/growatt", body)])
        wait_until(lambda: count(database, "quarantine") == 1)
        time.sleep(1.1)
        declare(database, growatt("inv-1", "A"))
        later = body.replace(b"100", b"101").replace(b'"time": "2', b'"time": "2')
        publish(broker.site_url(SITE), [Message(f"{VIA}/energy/growatt", later)])
        wait_until(lambda: count(database, "reading") == 1)
    done = replay(database)
    assert done.released == 1
    # The same second with another value: the first value stands, and this one is kept beside it.
    assert count(database, "reading") + count(database, "reading_conflict") == 2


def replay(url: str):
    again = Replay(url, future_tolerance=timedelta(minutes=5), limit_bytes=100_000)
    try:
        return again.run(Selection())
    finally:
        again.close()


def test_fields_in_quarantine_are_joined_when_they_are_replayed(broker, database, client_id):
    declare(database)
    with collecting(broker.collector_url, database, client_id):
        publish(broker.site_url(SITE), cycle(71.0, 465.294))
        wait_until(lambda: count(database, "quarantine") == 4)
    forget_retained(broker.site_url(SITE))
    declare(database, OPENDTU)
    assert replay(database).released == 4
    assert rows(database, "select power_w, energy_exported_wh from reading") == [(71.0, 465294.0)]
    assert rows(database, "select count(*) from reading_part")[0][0] == 4


def test_a_topic_of_two_sites_belongs_to_neither(broker, database, client_id, anyone):
    declare(database, growatt("inv-1", "A"), growatt("inv-1", "B", "roof-2"))
    body = f'{{"device": "A", "time": "{bangkok()}", "values": {{"pvenergytotal": 100}}}}'.encode()
    with collecting(broker.collector_url, database, client_id):
        publish(anyone("energy/#"), [Message("energy/growatt", body)])
        wait_until(lambda: count(database, "quarantine") == 1)
    assert rows(database, "select reason, site_id from quarantine") == [("topic_ambiguous", None)]


def test_a_family_s_own_topic_is_heard_directly(broker, database, client_id, anyone):
    declare(database, OPENDTU)
    url = anyone("solar/#")
    with collecting(broker.collector_url, database, client_id):
        publish(url, cycle(71.0, 465.294, root="solar"))
        wait_until(lambda: count(database, "reading") == 1)
    forget_retained(url, root="solar")
    assert rows(database, "select distinct site_id from message") == [(SITE,)]


def test_a_site_cannot_speak_for_the_device_of_another(broker, database, client_id):
    declare(database, OPENDTU)
    root = "jcm/v1/roof-2/via/solar"
    with collecting(broker.collector_url, database, client_id, "roof-2"):
        publish(broker.site_url("roof-2"), cycle(71.0, 465.294, root=root))
        wait_until(lambda: count(database, "message") == 4)
    forget_retained(broker.site_url("roof-2"), root=root)
    assert rows(database, "select distinct reason, site_id from quarantine") == [("device_unknown", "roof-2")]


def test_who_writes_on_what_is_no_longer_the_newest_writes_nothing(database):
    declare(database, OPENDTU)
    one, other = Store(database, "a"), Store(database, "b")
    key = Key(FRAME, "1 x")

    def remember(store: Store) -> None:
        judge = Judge(Memory())
        judge._remember(key, None)
        store.write([], judge.aside)

    try:
        remember(one)
        with pytest.raises(StaleMemoryError):
            remember(other)
        assert [row[2] for row in one.remembered()] == [1]
    finally:
        one.close()
        other.close()


def test_a_device_on_a_topic_of_its_own_is_heard_once_it_is_declared_also_under_load(
    broker, database, client_id, anyone
):
    declare(database, growatt("inv-1", "A"))
    url = anyone("solar/#")
    with collecting(broker.collector_url, database, client_id):
        declare(database, growatt("inv-1", "A"), OPENDTU.replace("inv-1", "inv-2"))

        def heard() -> bool:
            # Something of a known device to take in every round: the collector is never idle.
            publish(url, [Message(f"{VIA}/energy/growatt", b'{"device": "A"}') for _ in range(50)])
            publish(url, cycle(71.0, 465.294, root="solar"))
            return count(database, "reading") > 0

        wait_until(heard)
    forget_retained(url, root="solar")
