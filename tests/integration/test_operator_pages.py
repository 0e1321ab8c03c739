"""What operators see and do: sites, gaps, quarantine, alerts, health; in pages and as events."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from deploy.access.principal import AccountRole
from tests.harness import declare, one, rows
from tests.website import Website, serving

NOW = datetime.now(UTC)
FOREIGN = b'{"ts": "2026-01-01T00:00:00Z", "points": {"W": 1.0, "TotWhExp": 5}}'


@pytest.fixture(scope="module")
def site(shared_database: str) -> Iterator[Website]:
    declare(shared_database, "sunny", ["inv-1", "inv-2"])
    declare(shared_database, "<b>sly", ["inv-1"], project="Q")
    with psycopg.connect(shared_database) as connection:
        fill(connection)
    with serving(shared_database) as site:
        site.account("omar", AccountRole.OPERATOR)
        site.account("olga", AccountRole.OPERATOR, "Q")
        yield site


def fill(connection: psycopg.Connection) -> None:
    """Six hours of readings with a gap; a clock that is ahead; quarantine; an alert of each kind."""
    ids = dict(connection.execute("select site_id || '/' || id, device_id from device").fetchall())
    begin = NOW.replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
    for minute in range(360):
        if 120 <= minute < 150:
            continue
        ts = begin + timedelta(minutes=minute)
        reading(connection, ids["sunny/inv-1"], ts, ts + timedelta(seconds=2))
    reading(connection, ids["sunny/inv-2"], NOW - timedelta(minutes=1), NOW - timedelta(minutes=3))
    connection.execute(
        "insert into ingest_account (site_id, collector, messages_received, messages_stored, messages_quarantined,"
        " first_received_at, last_received_at) values ('sunny', 'c-1', 331, 330, 1, now(), now())"
    )
    quarantined(connection, 1, "jcm/v1/sunny/inv-1/readings", "sunny", b'{"points": <script>}', "payload_invalid")
    quarantined(connection, 2, "jcm/v1/sunny/inv-2/readings", "sunny", FOREIGN, "device_unknown")
    quarantined(connection, 3, "jcm/v1/nowhere/x/readings", None, b"\xff\x00", "device_unknown")
    for days in (2, 0):
        connection.execute(
            "insert into job_run (job, scope, period_start, claimed_by, claimed_at, heartbeat_at)"
            " values ('energy_day', 'sunny', %s, '', now(), now())",
            [NOW - timedelta(days=days)],
        )
    for rule, subject, project in (("site_silent", "<b>sly", "Q"), ("disk_filling", "the database", None)):
        connection.execute(
            "insert into alert (rule, subject, project_id, site_id, severity, said, since, first_seen, last_seen,"
            " firing_since) values (%s, %s, %s, %s, 'critical', 'it is so', now(), now(), now(), now())",
            [rule, subject, project, subject if project else None],
        )


def reading(connection: psycopg.Connection, device: int, ts: datetime, received: datetime) -> None:
    connection.execute(
        "insert into reading (device_id, ts, received_at, message_id, element, power_w) values (%s, %s, %s, 9, 0, 1)",
        [device, ts, received],
    )


def quarantined(
    connection: psycopg.Connection, number: int, topic: str, site: str | None, payload: bytes, reason: str
) -> None:
    connection.execute(
        "insert into message (received_at, message_id, arrived_at, topic, payload, sha256, qos, retained, redelivered,"
        " collector, site_id, outcome, readings) values (%s, %s, now(), %s, %s, sha256(%s), 1, false, false, 'c', %s,"
        " 'quarantined', 1)",
        [NOW, number, topic, payload, payload, site],
    )
    connection.execute(
        "insert into quarantine (received_at, message_id, element, site_id, topic, reason, detail)"
        " values (%s, %s, 0, %s, %s, %s, 'for a test')",
        [NOW, number, site, topic, reason],
    )


@pytest.fixture
def omar(site: Website) -> Iterator[httpx.Client]:
    with site.browser("omar") as client:
        yield client


def csrf(client: httpx.Client, path: str) -> str:
    return re.search(r'name="csrf" value="([^"]+)"', client.get(path).text)[1]


def test_silent_sites_come_first_and_the_account_is_shown(omar: httpx.Client) -> None:
    page = omar.get("/sites").text
    assert page.index("&lt;b&gt;sly") < page.index('href="/sites/sunny"')
    assert "<b>sly" not in page
    assert "331 = 330 stored + 0 duplicate + 0 conflict + 1 quarantined" in page
    assert "nothing ever received" in page


def test_a_site_shows_its_gap_its_devices_and_a_clock_that_is_ahead(omar: httpx.Client) -> None:
    page = omar.get("/sites/sunny").text
    assert "30 of usually 60" in page
    assert re.search(r"inv-2.*?120 s ahead", page, re.DOTALL)
    assert "payload_invalid" in page


def test_gaps_and_clocks_are_numbers_for_scripts(site: Website) -> None:
    with site.client("omar") as client:
        found = client.get("/api/v1/sites/sunny/gaps?days=1").json()
        one_device = next(one for one in found["devices"] if one["device"] == "inv-1")
        assert one_device["usual"] == 60
        assert sum(one_device["readings"]) == 330
        assert 30 in one_device["readings"]
        clocks = {one["device"]: one for one in client.get("/api/v1/sites/sunny/clocks").json()}
        assert clocks["inv-1"]["ahead_s"] == 0
        assert clocks["inv-1"]["usual_delay_s"] == pytest.approx(2)
        assert clocks["inv-2"]["ahead_s"] == pytest.approx(120)


def test_rates_come_as_events_without_a_reload(site: Website) -> None:
    with site.client("omar") as client, client.stream("GET", "/api/v1/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        before = next(json.loads(line[6:]) for line in lines if line.startswith("data: "))
        with psycopg.connect(site.database) as connection:
            connection.execute(
                "update ingest_account set messages_received = messages_received + 1,"
                " messages_duplicate = messages_duplicate + 1"
            )
        for line in lines:
            if line.startswith("data: ") and json.loads(line[6:])["messages"] != before["messages"]:
                break
        assert json.loads(line[6:])["messages"]["duplicate"] == before["messages"]["duplicate"] + 1
        assert json.loads(line[6:])["balanced"] is True


def test_a_payload_is_shown_as_text_and_its_sight_is_on_record(site: Website, omar: httpx.Client) -> None:
    number = one(site.database, "select min(quarantine_id) from quarantine")
    page = omar.get(f"/quarantine/{number}").text
    assert "&lt;script&gt;" in page
    assert "<script>}" not in page
    assert one(site.database, "select count(*) from audit_event where subject = %s", f"quarantine {number}") == 1
    download = omar.get(f"/quarantine/{number}/payload")
    assert download.content == b'{"points": <script>}'
    assert download.headers["content-type"] == "application/octet-stream"
    assert "attachment" in download.headers["content-disposition"]


def test_an_entry_is_tried_and_then_replayed(site: Website, omar: httpx.Client) -> None:
    number = one(site.database, "select quarantine_id from quarantine where message_id = 2")
    form = {"number": number, "csrf": csrf(omar, "/quarantine")}
    tried = omar.post("/quarantine/replay", data=form | {"how": "try"}).text
    assert "Tried, nothing was changed" in tried
    assert one(site.database, "select released_at from quarantine where quarantine_id = %s", number) is None
    done = omar.post("/quarantine/replay", data=form | {"how": "do"}).text
    assert "1 entry released" in done
    assert one(site.database, "select released_at from quarantine where quarantine_id = %s", number) is not None
    assert one(site.database, "select count(*) from audit_event where action = 'quarantine.replayed'") == 1


def test_who_operates_one_project_replays_nothing_of_another(site: Website) -> None:
    number = one(site.database, "select quarantine_id from quarantine where message_id = 1")
    with site.client("olga") as client:
        assert client.post("/api/v1/quarantine/replay", json={"ids": [number]}).status_code == 404
        assert client.get("/api/v1/quarantine").json()["items"] == []
    with site.browser("olga") as client:
        assert client.get("/health").status_code == 403
        assert 'href="/health"' not in client.get("/sites").text
        assert "sunny" not in client.get("/sites").text


def test_a_replay_that_is_no_json_and_an_unknown_reason_are_told(site: Website) -> None:
    with site.client("omar") as client:
        sent = client.post("/api/v1/quarantine/replay", content=b'{"ids": [1]}')
        asked = client.get("/api/v1/quarantine?reason=device_unknwon")
    assert sent.status_code == 422
    assert "send it with `Content-Type: application/json`" in sent.json()["detail"]
    assert asked.status_code == 400
    assert "there is no reason device_unknwon; there are topic_unknown" in asked.json()["detail"]


def test_an_alert_is_acknowledged_muted_and_unmuted(site: Website, omar: httpx.Client) -> None:
    number = one(site.database, "select alert_id from alert where rule = 'disk_filling'")
    form = {"csrf": csrf(omar, "/alerts")}
    assert omar.post(f"/alerts/{number}", data=form | {"step": "acknowledge", "note": "ordered"}).status_code == 303
    assert omar.post(f"/alerts/{number}", data=form | {"step": "mute", "hours": "1"}).status_code == 303
    page = omar.get("/alerts").text
    assert "omar the person (omar)" in page
    assert "ordered" in page
    assert "muted" in page
    assert omar.post(f"/alerts/{number}", data=form | {"step": "unmute"}).status_code == 303
    actions = rows(site.database, "select action from audit_event where action like 'alert.%%' order by id")
    assert actions == [("alert.acknowledged",), ("alert.muted",), ("alert.unmuted",)]
    with site.client("olga") as client:
        assert [found["rule"] for found in client.get("/api/v1/alerts").json()] == ["site_silent"]
        assert client.post(f"/api/v1/alerts/{number}/acknowledge", json={}).status_code == 404
        far = (NOW + timedelta(days=60)).isoformat()
        own = one(site.database, "select alert_id from alert where rule = 'site_silent'")
        assert client.post(f"/api/v1/alerts/{own}/mute", json={"until": far}).status_code == 400


def test_health_shows_database_schedule_and_identity(omar: httpx.Client) -> None:
    page = omar.get("/health").text
    assert '<a href="/health" aria-current="page">' in page
    assert "TimescaleDB" in page
    assert "It holds" in page
    assert "not asked: JCM_MRV_MQTT_URL is not set" in page
    # Of a day that lasts and one that is over.
    assert re.search(r"Work that is due</dt>\s*<dd[^>]*>1<", page)


def test_a_long_list_goes_on(site: Website) -> None:
    with site.client("omar") as client:
        first = client.get("/api/v1/quarantine?limit=1&waiting=false").json()
        then = client.get("/api/v1/quarantine", params={"limit": 2, "waiting": False, "after": first["next"]}).json()
        assert len(then["items"]) == 2
        assert then["next"] is None
        assert first["items"][0]["id"] > then["items"][0]["id"]
        assert client.get("/api/v1/quarantine?after=x").status_code == 400
