"""What the alerts are judged on, read from real rows; and what the fleet's metrics make of it."""

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deploy.alerts.config import AlertsFile, parse
from deploy.alerts.facts import Facts, gather
from deploy.alerts.judge import judge
from deploy.alerts.service import Alerting
from deploy.fleet_metrics import FLEET_FAMILIES, FleetCollector, values_of
from sql.connection import Role, connect
from tests.integration.alert_world import World
from tests.website import serving

HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)


@pytest.fixture
def world(database):
    made = World(database)
    yield made
    made.owner.close()


def read(world: World, text: str = "", **given) -> Facts:
    with connect(world.url, Role.READER) as connection:
        return gather(connection, parse(text, Path("a.toml")), **given)


def fires(world: World, text: str = "", **given) -> dict[str, str]:
    facts = read(world, text, **given)
    judged = judge(facts, parse(text, Path("a.toml")), facts.at).firing
    return {f"{rule} {subject}": one.said for (rule, subject), one in judged.items()}


def test_habits_are_those_of_the_days_before_the_silence(world):
    now = datetime.now(UTC)
    world.declare("s1")
    for device, ages in {
        "day": [2 * HOUR, DAY, 2 * DAY, 3 * DAY],
        # Silent for five days, and at this time on the days before.
        "long": [5 * DAY + HOUR, 6 * DAY, 7 * DAY, 8 * DAY],
        # Never at this time.
        "other": [2 * HOUR, DAY + 3 * HOUR, 2 * DAY + 3 * HOUR, 3 * DAY + 3 * HOUR],
        "once": [2 * HOUR, DAY, 2 * DAY + 3 * HOUR, 3 * DAY + 3 * HOUR],
        "new": [2 * HOUR, DAY + 3 * HOUR - 12 * HOUR],
        "heard": [MINUTE, DAY],
        "never": [],
    }.items():
        world.declare("s1", device=device)
        for age in ages:
            world.reading("s1", device, now - age)
    world.account("s1", "c", now)
    habits = {one.device: one.habit for one in read(world).devices}
    assert habits == {
        "day": True, "long": True, "other": False, "once": False, "new": None, "heard": None, "never": None,
        "inv-1": None,
    }  # fmt: skip


def test_a_replay_is_not_a_site_that_is_heard(world):
    world.site(silent_for=HOUR)
    world.account("s1", "quarantine-replay", datetime.now(UTC))
    [site] = read(world).sites
    assert site.last_received < datetime.now(UTC) - 59 * MINUTE


def test_what_was_taken_away_is_not_missed(world):
    number = world.site(silent_for=HOUR)
    world.site("s2", silent_for=HOUR)
    world.owner.execute(
        "insert into device_install values (%s, now() - interval '9 d', null, now() - interval '1 h')", [number]
    )
    facts = read(world)
    assert [one.site for one in facts.sites] == ["s2"]
    assert [one.subject for one in facts.devices] == ["s2/inv-1"]
    world.owner.execute("insert into device_install values (%s, now() - interval '1 h')", [number])
    assert [one.site for one in read(world).sites] == ["s1", "s2"]


def test_clocks(world):
    now = datetime.now(UTC)
    # By the lag of each of twelve readings, oldest first.
    for device, lags in {
        "right": [0.2] * 12,
        "fast": [-90] * 12,
        "slow": [400 + n for n in range(12)],
        # A gateway that sends what it kept.
        "buffered": [3600 - 300 * n for n in range(12)],
        "few": [-90] * 3,
    }.items():
        world.declare("s1", device=device)
        for n, lag_s in enumerate(lags):
            world.reading("s1", device, now - timedelta(seconds=300 * (len(lags) - n)), timedelta(seconds=lag_s))
    assert {name for name in fires(world) if "clock" in name} == {"clock_skew s1/fast", "clock_skew s1/slow"}


def test_anomalies_come_from_the_latest_computed_days(world):
    number = world.site(silent_for=MINUTE)
    today = datetime.now(UTC).date()
    for ago, rules in (
        (20, {"register.reset@1": 9}),
        (3, {"register.reset@1": 2}),
        (2, {}),
        (1, {"register.frozen@1": 3}),
    ):
        world.owner.execute(
            "insert into energy_day values (%s, %s, 0, 0, null, 1, 1, %s, '')",
            [number, today - timedelta(days=ago), json.dumps(rules | {"register.normal@1": 12})],
        )
    [said] = [said for name, said in fires(world).items() if name == "register_anomaly s1/inv-1"]
    assert said == f"s1/inv-1 {today - timedelta(days=1)}: frozen 3"
    assert "reset 2" in fires(world, "[rules.register_anomaly]\ndays = 3\n")["register_anomaly s1/inv-1"]


def test_quarantine_of_the_last_hour_that_nobody_released(world):
    world.site(silent_for=MINUTE)
    given = [
        (10, "s1", MINUTE, False),
        (10, None, MINUTE, False),
        (50, "s1", 2 * HOUR, False),
        (50, "s1", MINUTE, True),
    ]
    for count, site, age, released in given:
        world.owner.execute(
            "insert into quarantine (received_at, message_id, site_id, topic, reason, detail, released_at)"
            " select %s, 1, %s, 't', 'time_naive', '', case when %s then now() end from generate_series(1, %s)",
            [datetime.now(UTC) - age, site, released, count],
        )
    facts = read(world)
    assert timedelta(0) < facts.at - facts.quarantined["s1"].first - MINUTE < MINUTE
    counted = values_of(facts, judge(facts, AlertsFile(), facts.at), AlertsFile())["jcm_mrv_quarantine_new_entries"]
    assert counted == {("",): 10, ("s1",): 10}
    found = fires(world)
    assert "10 entries" in found["quarantine_rising s1"]
    assert "10 entries" in found["quarantine_rising no site"]
    assert "60 entries" in fires(world, "[rules.quarantine_rising]\nwindow_s = 10_000\n")["quarantine_rising s1"]


def test_the_account(world):
    now = datetime.now(UTC)
    world.declare("s1")
    world.account("s1", "c", now, messages=5)
    world.account("", "c", now, messages=1)
    assert "identity_broken s1" not in fires(world)
    # Sealed and since: all five are there.
    world.seal("s1", now - 2 * DAY, 3)
    for _ in range(2):
        world.message(now)
    world.message(now, None)
    assert not [name for name in fires(world) if "identity" in name]
    world.owner.execute("delete from message where site_id = 's1'")
    found = fires(world)
    assert "5 messages were counted, 3 are kept or sealed" in found["identity_broken s1"]
    assert "identity_broken no site" not in found
    world.owner.execute("alter table ingest_account drop constraint messages_balance")
    world.owner.execute("update ingest_account set messages_stored = 0 where site_id = ''")
    assert "messages received are not" in fires(world)["identity_broken no site"]


def test_seals(world):
    now = datetime.now(UTC)
    world.declare("s1")
    world.message(now - 3 * DAY)
    world.message(now)
    assert "seal_late seal" not in fires(world)  # nothing is sealed here
    assert "not sealed" in fires(world, sealing=True)["seal_late seal"]
    world.seal("s1", now - 3 * DAY, 1)
    assert "seal_late seal" not in fires(world)


def test_the_schedule(world):
    world.site(silent_for=MINUTE)
    assert "never ran" in fires(world)["schedule_missed schedule"]
    job = "insert into job_run (job, scope, period_start, claimed_by, claimed_at, heartbeat_at, failure) values "
    world.owner.execute(job + "('look_through', '', 'epoch', 'a', now(), now() - interval '1 h', null)")
    world.owner.execute(
        job + "('energy_day', 's1', now() - interval '2 d', '', '-infinity', '-infinity', 'no register')"
    )
    world.owner.execute(job + "('energy_day', 's1', now() - interval '1 d', '', '-infinity', '-infinity', null)")
    world.owner.execute(job + "('energy_day', 'gone', now() - interval '9 d', '', '-infinity', '-infinity', null)")
    found = fires(world)
    assert "for 60 min" in found["schedule_missed schedule"]
    assert found["schedule_missed energy_day s1"].startswith("1 day is not computed at s1")
    assert found["schedule_missed energy_day s1"].endswith("no register")
    assert len([name for name in found if "schedule" in name]) == 2
    # Whoever is in the middle of long work lives.
    world.owner.execute("update job_run set heartbeat_at = now() where claimed_at = '-infinity' and scope = 's1'")
    assert "schedule_missed schedule" not in fires(world)


def test_the_disk(world, tmp_path):
    assert read(world).volume is None
    facts = read(world, folder=tmp_path)
    assert facts.volume.total_bytes > facts.volume.free_bytes > 0
    assert facts.database_bytes > 1_000_000
    assert "disk_filling database" in fires(world, "[rules.disk_filling]\ndatabase_limit_bytes = 1_000_000\n")
    assert "disk_filling volume" in fires(world, f"[rules.disk_filling]\nfolder = '{tmp_path}'\nfree_share = 0.9999\n")
    assert read(world, folder=tmp_path / "nowhere").volume is None


def test_reading_changes_nothing_and_leaves_the_connection_as_it_was(world):
    with connect(world.url, Role.MRV) as connection:
        gather(connection, parse("", Path("a.toml")))
        assert connection.read_only is None
        connection.execute("insert into audit_event (action, subject) values ('x', 'y')")


def scraped(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    text = generate_latest(registry).decode()
    return {
        (sample.name, *(sample.labels[label] for label in FLEET_FAMILIES[sample.name].labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_day_that_was_computed_and_is_opened_again_is_not_overdue(world):
    number = world.site(silent_for=MINUTE)
    day = datetime.now(UTC).date() - 3 * DAY
    # The site's own midnight, here ten hours into the UTC day before.
    world.owner.execute("update site set time_zone = 'Pacific/Kiritimati'")
    world.owner.execute(
        "insert into job_run (job, scope, period_start, claimed_by, claimed_at, heartbeat_at)"
        " values ('energy_day', 's1', %s::date::timestamp at time zone 'Pacific/Kiritimati', '', now(), now())",
        [day],
    )

    def computed(on):
        world.owner.execute("insert into energy_day values (%s, %s, 0, 0, null, 1, 1, '{}', '')", [number, on])

    computed(day - DAY)
    computed(day + DAY)
    assert [(one.site, one.days) for one in read(world).overdue] == [("s1", 1)]
    computed(day)
    assert read(world).overdue == ()
    world.owner.execute("update job_run set failure = 'register 7 is gone'")
    assert [one.failure for one in read(world).overdue] == ["register 7 is gone"]
    world.owner.execute("update job_run set failure = null")
    world.owner.execute("update energy_day set computed_at = now() - interval '7 hours'")
    assert [one.days for one in read(world).overdue] == [1]


def test_what_prometheus_is_told_of_the_fleet(world):
    world.site(silent_for=2 * HOUR)
    world.site("s2", silent_for=MINUTE)
    world.declare("s2", device="inv-2")
    world.seal("s2", datetime.now(UTC) - DAY, 1)
    config = parse(
        '[webhook.ops]\nurl = "http://127.0.0.1:1/"\n[rules.disk_filling]\ndatabase_limit_bytes = 9\n', Path("a")
    )
    service = Alerting(lambda: connect(world.url, Role.MRV), config, folder=Path("/"))
    service.evaluate()
    opened = []

    def reader():
        opened.append(1)
        return connect(world.url, Role.READER)

    registry = CollectorRegistry()
    registry.register(FleetCollector(Alerting(reader, config, folder=Path("/"))))
    assert opened == []  # to be registered costs no reading
    found = scraped(registry)
    assert found["jcm_mrv_fleet_up",] == 1
    assert found["jcm_mrv_site_silent", "s1"] == 1
    assert found["jcm_mrv_site_silent", "s2"] == 0
    assert found["jcm_mrv_device_silent", "s2", "inv-1"] == 0
    # It never read, and its site is not known well: neither silent nor well.
    assert ("jcm_mrv_device_silent", "s2", "inv-2") not in found
    assert found["jcm_mrv_database_limit_bytes",] == 9
    assert found["jcm_mrv_alerts", "site_silent", "critical", "firing"] == 1
    assert found["jcm_mrv_notices_unsent", "webhook.ops"] == 0
    assert found["jcm_mrv_account_balanced", "s2"] == 0  # a seal counts what no account does
    assert found["jcm_mrv_overdue_days", "s1"] == 0
    assert {name for name, *_ in found} <= set(FLEET_FAMILIES)
    for _ in range(5):
        scraped(registry)
    assert len(opened) == 1


def test_scrapes_at_the_same_time_read_once_and_a_database_that_is_away_is_said(world):
    opened = []

    def reader():
        opened.append(1)
        if len(opened) > 1:
            return connect("postgresql://nobody@127.0.0.1:1/x", Role.READER, timeout_s=1)
        return connect(world.url, Role.READER)

    collector = FleetCollector(Alerting(reader, parse("", Path("a"))), cache_s=60)
    threads = [threading.Thread(target=lambda: list(collector.collect())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    collector = FleetCollector(Alerting(reader, parse("", Path("a"))), cache_s=60)
    [up] = collector.collect()
    assert [(sample.name, sample.value) for sample in up.samples] == [("jcm_mrv_fleet_up", 0)]
    list(collector.collect())
    assert len(opened) == 2


def test_the_reader_cannot_change_alerts(world):
    with connect(world.url, Role.READER) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("update alert set said = ''")


def test_the_web_server_shows_the_fleet(world):
    world.site(silent_for=2 * HOUR)
    with serving(world.url) as site, site.client() as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert 'jcm_mrv_site_silent{site="s1"} 1.0' in answer.text
    assert "jcm_mrv_fleet_up 1.0" in answer.text
