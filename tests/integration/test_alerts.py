"""Alerts on a real database, told to a real web server and a real mail server."""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from deploy.alerts import mail as mailing
from deploy.alerts import state, webhook
from deploy.alerts.config import Email, Webhook, parse
from deploy.alerts.errors import AlertError, NoticeError
from deploy.alerts.service import Alerting, AlertThreads
from deploy.commands.alert import _test_content
from sql.connection import Role, connect
from tests.harness import one, rows, wait_until
from tests.integration.alert_sinks import mail, tls_context, web
from tests.integration.alert_world import World

SITE = "s1"
# No other rule has anything to say in these databases but of the schedule that never ran, and of this machine's disk.
QUIET = "[rules.schedule_missed]\noff = true\n[rules.disk_filling]\noff = true\n"


@pytest.fixture
def hook():
    with web() as kept:
        yield kept


@pytest.fixture
def world(database):
    made = World(database)
    yield made
    made.owner.close()


def alerting(url: str, text: str) -> Alerting:
    return Alerting(lambda: connect(url, Role.MRV), parse(QUIET + text, Path("alerts.toml")))


def told(hook, more: str = "") -> str:
    return f'[webhook.ops]\nurl = "{hook.url}"\n{more}'


def opened(url: str) -> list[state.Alert]:
    with connect(url, Role.READER) as connection:
        return state.open_alerts(connection)


def test_from_silence_to_recovery(world, hook, tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "password").write_text("pass phrase\n")
    world.site(silent_for=timedelta(hours=1))
    with mail(tmp_path, tls="starttls", login=("ops", "pass phrase")) as box:
        text = (
            "group_wait_s = 0\n" + QUIET + "[rules.site_silent]\nfor_s = 1\nkeep_s = 0\n"
            + told(hook, f'secret_file = "{tmp_path}/secret"\n')
            + f'[email.duty]\nhost = "127.0.0.1"\nport = {box.port}\nuser = "ops"\nsender = "mrv@example.org"\n'
            + f'password_file = "{tmp_path}/password"\nto = ["a@example.org", "b@example.org"]\n'
            + f'ca_file = "{tmp_path}/ca.pem"\n'
        )  # fmt: skip
        service = Alerting(lambda: connect(world.url, Role.MRV), parse(text, Path("alerts.toml")))
        assert service.evaluate()
        [alert] = opened(world.url)
        assert (alert.rule, alert.subject, alert.project, alert.site, alert.state) == (
            "site_silent", SITE, "P", SITE, "pending"
        )  # fmt: skip
        assert "no message from s1 for 60 min" in alert.said
        assert service.deliver() == 0

        time.sleep(1.05)
        service.evaluate()
        assert [one.state for one in opened(world.url)] == ["firing"]
        assert service.deliver() == 2
        # Nothing more while it lasts, whoever looks, also after a restart.
        for _ in range(3):
            service.evaluate()
            assert service.deliver() == 0

        with connect(world.url, Role.MRV) as connection:
            state.acknowledge(connection, alert.id, "Ann", "on my way")
        service.evaluate()
        [acknowledged] = opened(world.url)
        assert (acknowledged.acknowledged_by, acknowledged.acknowledged_note) == ("Ann", "on my way")
        assert one(world.url, "select detail ->> 'note' from audit_event where action = 'alert.acknowledged'")

        world.heard()
        service.evaluate()
        assert opened(world.url) == []
        assert service.deliver() == 2
        for _ in range(2):
            service.evaluate()
            assert service.deliver() == 0

        first, second = hook.bodies
        assert [first["status"], second["status"]] == ["firing", "resolved"]
        assert first["alerts"][0]["labels"] == {
            "alertname": "site_silent", "severity": "critical", "subject": SITE, "site": SITE, "project": "P"
        }  # fmt: skip
        assert first["groupKey"] == second["groupKey"]
        assert second["alerts"][0]["endsAt"] > second["alerts"][0]["startsAt"]
        for header, body in zip(hook.headers, hook.raw, strict=True):
            signed = f"{header['webhook-id']}.{header['webhook-timestamp']}.".encode() + body
            mac = base64.b64encode(hmac.new(b"s3cret", signed, hashlib.sha256).digest()).decode()
            assert header["webhook-signature"] == f"v1,{mac}"
            assert header["idempotency-key"] == header["webhook-id"]

        down, up = box.messages
        assert down["Subject"] == "[jcm-mrv critical] site silent: s1"
        assert up["Subject"] == "[jcm-mrv over] site silent: s1"
        assert up["In-Reply-To"] == down["Message-ID"]
        assert box.recipients == [["a@example.org", "b@example.org"]] * 2
        assert box.encrypted == [True, True]
        assert max(map(len, down.get_content().splitlines())) < 140
    with connect(world.url, Role.READER) as connection:
        [past] = state.history(connection)
        assert past.state == "resolved"
        notices = state.notices_of(connection, [past.id])
    assert [(n.target, n.kind, n.attempts, n.outcome) for n in notices] == [
        ("webhook.ops", "firing", 1, "HTTP 204"), ("email.duty", "firing", 1, "taken for 2 recipients"),
        ("webhook.ops", "resolved", 1, "HTTP 204"), ("email.duty", "resolved", 1, "taken for 2 recipients"),
    ]  # fmt: skip


def test_what_was_pending_and_went_away_was_nothing(world, hook):
    world.site(silent_for=timedelta(hours=1))
    service = alerting(world.url, "[rules.site_silent]\nfor_s = 600\n" + told(hook))
    service.evaluate()
    assert [one.state for one in opened(world.url)] == ["pending"]
    world.heard()
    service.evaluate()
    service.deliver()
    assert one(world.url, "select count(*) from alert") == 0
    assert hook.raw == []


def grouped(url: str, hook, more: str = "", head: str = "group_wait_s = 0\n") -> Alerting:
    text = head + QUIET + "[rules.site_silent]\nkeep_s = 0\n" + told(hook) + more
    return Alerting(lambda: connect(url, Role.MRV), parse(text, Path("alerts.toml")))


def test_what_fires_together_is_told_together_and_its_recovery_once(world, hook):
    for site in ("s1", "s2", "s3"):
        world.site(site, silent_for=timedelta(hours=1))
    service = grouped(world.url, hook, head="group_wait_s = 600\n")
    service.evaluate()
    service.deliver()
    assert hook.raw == []  # the group waits
    age = "interval '10 min'"
    world.owner.execute(f"update alert set first_seen = first_seen - {age}, firing_since = firing_since - {age}")
    service.evaluate()
    service.deliver()
    [body] = hook.bodies
    assert [one["labels"]["alertname"] for one in body["alerts"]] == ["collector_away", *["site_silent"] * 3]
    assert body["commonLabels"] == {"severity": "critical"}
    for site in ("s1", "s2"):
        world.heard(site)
        service.evaluate()
        service.deliver()
        assert len(hook.raw) == 1  # the rest of the group lasts
    world.heard("s3")
    service.evaluate()
    assert [one.rule for one in opened(world.url)] == ["collector_away"]  # it is kept for keep_s
    world.owner.execute(
        "update alert set last_seen = last_seen - interval '1 hour', first_seen = first_seen - interval '1 hour'"
        " where resolved_at is null"
    )
    service.evaluate()
    service.deliver()
    assert [(one["status"], len(one["alerts"])) for one in hook.bodies] == [("firing", 4), ("resolved", 4)]


def test_those_that_recovered_do_not_wait_for_the_rest_for_ever(world, hook):
    world.site("s1", silent_for=timedelta(hours=1))
    world.site("s2", silent_for=timedelta(hours=1))
    service = grouped(
        world.url, hook, "[rules.collector_away]\noff = true\n", "group_wait_s = 0\nrecovery_wait_s = 0\n"
    )
    for site in ("s1", "s2"):
        service.evaluate()
        service.deliver()
        world.heard(site)
    service.evaluate()
    service.deliver()
    assert [[one["labels"]["site"] for one in body["alerts"]] for body in hook.bodies] == [["s1", "s2"], ["s1"], ["s2"]]
    assert [body["status"] for body in hook.bodies] == ["firing", "resolved", "resolved"]


def test_a_target_that_is_away_hears_it_when_it_is_back_in_order(world, hook):
    world.site(silent_for=timedelta(hours=1))
    service = grouped(world.url, hook, head="group_wait_s = 0\n")
    hook.status = 503
    service.evaluate()
    assert service.deliver() == 0
    world.heard()
    service.evaluate()
    assert service.deliver() == 0  # it is not tried again at once, and the recovery waits for it
    [(attempts, outcome)] = rows(world.url, "select attempts, outcome from alert_notice where kind = 'firing'")
    assert (attempts, outcome) == (1, "HTTP 503")
    assert rows(world.url, "select attempts from alert_notice where kind = 'resolved'") == [(0,)]
    wait_s = one(world.url, "select extract(epoch from due_at - tried_at) from alert_notice where attempts = 1")
    assert 29.9 < wait_s < 40  # retry_s, from when it failed
    hook.status = 302
    due_now(world)
    assert service.deliver() == 0  # redirections are not followed
    hook.status = 204
    due_now(world)
    assert service.deliver() == 2
    assert [one["status"] for one in hook.bodies] == ["firing", "resolved"]
    assert "geheim" not in str(rows(world.url, "select content, outcome from alert_notice"))


def due_now(world: World) -> None:
    world.owner.execute("update alert_notice set due_at = now() - interval '1 s' where sent_at is null")


def test_a_target_that_is_nowhere_is_given_up(world, hook):
    world.site(silent_for=timedelta(hours=1))
    text = (
        "group_wait_s = 0\ngive_up_after_s = 60\n"
        + QUIET
        + '[webhook.gone]\nurl = "http://127.0.0.1:1/x?token=geheim"\n'
    )
    service = Alerting(lambda: connect(world.url, Role.MRV), parse(text, Path("alerts.toml")))
    service.evaluate()
    assert service.deliver() == 0
    assert "refused" in one(world.url, "select outcome from alert_notice")
    world.owner.execute("update alert_notice set created_at = created_at - interval '61 s'")
    due_now(world)
    assert service.deliver() == 0
    assert "given up" in one(world.url, "select outcome from alert_notice where given_up_at is not null")
    assert "geheim" not in one(world.url, "select outcome from alert_notice")


def test_pauses_double_and_one_target_that_is_away_holds_up_no_other(world, hook):
    """The one that is away has more to take than the other, and its notices are older."""
    gone = '[webhook.a]\nurl = "http://127.0.0.1:1/"\n'
    for site in ("s1", "s2", "s3"):
        world.site(site, silent_for=timedelta(hours=1))
        grouped(world.url, hook, gone + "[rules.collector_away]\noff = true\n").evaluate()
    service = grouped(world.url, hook, gone + "[rules.collector_away]\noff = true\n")
    assert service.deliver() == 3
    assert rows(world.url, "select attempts from alert_notice where target = 'webhook.a' order by 1") == [
        (0,),
        (0,),
        (1,),
    ]
    for _ in range(3):
        due_now(world)
        service.deliver()
    waits = rows(world.url, "select attempts, extract(epoch from due_at - tried_at)::float from alert_notice"
                            " where target = 'webhook.a' and tried_at is not null")  # fmt: skip
    assert all(30 * 2 ** (attempts - 1) - 1 < wait_s < 30 * 2 ** (attempts - 1) + 10 for attempts, wait_s in waits)
    assert sum(attempts for attempts, _ in waits) == 4


def test_a_process_that_dies_after_sending_sends_it_again_under_the_same_key(world, hook):
    world.site(silent_for=timedelta(hours=1))
    service = grouped(world.url, hook)
    service.evaluate()
    # What the database would hold: claimed, taken by the target, not recorded.
    assert service.deliver() == 1
    world.owner.execute("update alert_notice set sent_at = null, outcome = null")
    assert service.deliver() == 0  # the claim still holds
    due_now(world)
    assert grouped(world.url, hook).deliver() == 1
    assert hook.raw[0] == hook.raw[1]
    assert hook.headers[0]["idempotency-key"] == hook.headers[1]["idempotency-key"]


def test_two_replicas_keep_one_alert_and_send_one_notice(world, hook):
    for site in ("s1", "s2"):
        world.site(site, silent_for=timedelta(hours=1))
    with judging(grouped(world.url, hook)), judging(grouped(world.url, hook)), judging(grouped(world.url, hook)):
        wait_until(lambda: hook.raw, what="a notice")
        time.sleep(0.3)
    assert one(world.url, "select count(*) from alert") == 3
    assert len(hook.raw) == 1
    assert one(world.url, "select max(attempts) from alert_notice") == 1


def test_one_replica_judges_at_a_time(world, hook):
    world.site(silent_for=timedelta(hours=1))
    service = grouped(world.url, hook)
    with connect(world.url, Role.MRV) as other:
        other.execute("select pg_advisory_lock(hashtext('jcm-mrv alerts'))")
        assert not service.evaluate()
        assert opened(world.url) == []
    wait_until(service.evaluate, what="its turn")
    assert len(opened(world.url)) == 1


@contextmanager
def judging(service: Alerting) -> Iterator[None]:
    """Judge and send twenty times a second; ended also when the test fails, lest they go on for all that follow."""
    threads = AlertThreads(service, timedelta(seconds=0.05), send_every=timedelta(seconds=0.05))
    threads.start()
    try:
        yield
    finally:
        threads.stop()


def test_a_slow_target_holds_up_no_judging(world, hook):
    world.site(silent_for=timedelta(hours=1))
    hook.delay = threading.Event()
    with judging(grouped(world.url, hook)):
        try:
            wait_until(lambda: rows(world.url, "select 1 from alert_notice where attempts = 1"), what="the attempt")
            world.heard()
            wait_until(lambda: opened(world.url) == [], what="the recovery")
        finally:
            hook.delay.set()
        wait_until(lambda: len(hook.raw) == 2, what="both notices")


def test_nothing_is_told_of_what_is_muted(world, hook):
    world.site(silent_for=timedelta(hours=1))
    service = grouped(world.url, hook, head="group_wait_s = 600\n")
    service.evaluate()
    [alert] = opened(world.url)
    until = datetime.now(UTC) + timedelta(hours=1)
    with connect(world.url, Role.MRV) as connection:
        state.mute(connection, alert.id, "Ann", until)
    service = grouped(world.url, hook)
    service.evaluate()
    assert service.deliver() == 0
    # It goes and comes again within the time.
    world.heard()
    service.evaluate()
    world.heard(at=datetime.now(UTC) - timedelta(hours=1))
    world.owner.execute("delete from reading where ts > now() - interval '30 min'")
    service.evaluate()
    [again] = opened(world.url)
    assert again.id != alert.id
    assert (again.muted_by, again.muted_until) == ("Ann", until)
    assert service.deliver() == 0
    with connect(world.url, Role.MRV) as connection:
        state.unmute(connection, again.id, "Ann")
        with pytest.raises(AlertError, match="is not muted"):
            state.unmute(connection, again.id, "Ann")
    service.evaluate()
    assert service.deliver() == 1
    # Muted again: its recovery is not told either.
    with connect(world.url, Role.MRV) as connection:
        state.mute(connection, again.id, "Ann", until)
    world.heard()
    service.evaluate()
    assert service.deliver() == 0
    assert [body["status"] for body in hook.bodies] == ["firing"]
    assert opened(world.url) == []


def test_a_muted_alert_joins_no_group_and_holds_up_none(world, hook):
    quiet = "[rules.collector_away]\noff = true\n"
    for site in ("s1", "s2", "s3"):
        world.site(site, silent_for=timedelta(hours=1))
    grouped(world.url, hook, quiet, "group_wait_s = 600\n").evaluate()
    numbers = {alert.subject: alert.id for alert in opened(world.url)}
    until = datetime.now(UTC) + timedelta(hours=1)
    with connect(world.url, Role.MRV) as connection:
        state.mute(connection, numbers["s1"], "Ann", until)
    service = grouped(world.url, hook, quiet)
    service.evaluate()
    service.deliver()
    assert [one["labels"]["site"] for one in hook.bodies[0]["alerts"]] == ["s2", "s3"]
    # Muted while it lasts, it is no reason to wait for with the recovery of the other.
    with connect(world.url, Role.MRV) as connection:
        state.mute(connection, numbers["s2"], "Ann", until)
    world.heard("s3")
    service.evaluate()
    service.deliver()
    assert [one["labels"]["site"] for one in hook.bodies[1]["alerts"]] == ["s3"]
    assert len(hook.raw) == 2


def test_each_target_hears_what_it_asked_for(world, hook):
    world.site("s1", silent_for=timedelta(hours=1), project="P")
    world.site("s2", silent_for=timedelta(hours=1), project="Q")
    with web() as other, web() as third:
        more = f'projects = ["Q"]\n[webhook.b]\nurl = "{other.url}"\nrules = ["collector_away"]\n'
        more += f'[webhook.c]\nurl = "{third.url}"\nrules = ["seal_late"]\n'
        service = grouped(world.url, hook, more)
        service.evaluate()
        assert service.deliver() == 2
        assert [one["labels"]["subject"] for one in hook.bodies[0]["alerts"]] == ["s2"]
        assert [one["labels"]["subject"] for one in other.bodies[0]["alerts"]] == ["collector"]
        for site in ("s1", "s2"):
            world.heard(site)
        service.evaluate()
        service.deliver()
        assert third.raw == []


def test_a_project_sees_its_own_alerts_and_none_of_the_installation(world, hook):
    world.site("s1", silent_for=timedelta(hours=1), project="P")
    world.site("s2", silent_for=timedelta(hours=1), project="Q")
    grouped(world.url, hook).evaluate()
    with connect(world.url, Role.READER) as connection:
        assert [one.subject for one in state.open_alerts(connection, frozenset({"Q"}))] == ["s2"]
        assert state.open_alerts(connection, frozenset()) == []
        assert {one.subject for one in state.open_alerts(connection, None)} == {"s1", "s2", "collector"}


def test_an_alert_that_is_over_or_unknown_cannot_be_changed(world, hook):
    world.site(silent_for=timedelta(hours=1))
    service = grouped(world.url, hook)
    service.evaluate()
    [alert] = opened(world.url)
    past, ahead = datetime.now(UTC) - timedelta(1), datetime.now(UTC) + timedelta(1)
    with connect(world.url, Role.MRV) as connection:
        with pytest.raises(AlertError, match="there is no alert 999999999"):
            state.acknowledge(connection, 999999999, "Ann")
        with pytest.raises(AlertError, match="time ahead"):
            state.mute(connection, alert.id, "Ann", past)
        with pytest.raises(AlertError, match="who"):
            state.acknowledge(connection, alert.id, " \n")
        world.heard()
        service.evaluate()
        with pytest.raises(AlertError, match="is over"):
            state.mute(connection, alert.id, "Ann", ahead)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="history"):
            connection.execute("delete from alert")
    with connect(world.url, Role.READER) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        state.acknowledge(connection, alert.id, "Ann")


def test_the_database_that_is_away_ends_no_thread(hook, world):
    calls = []

    def connected():
        calls.append(1)
        if len(calls) < 4:
            return connect("postgresql://nobody@127.0.0.1:1/x", Role.MRV, timeout_s=1)
        return connect(world.url, Role.MRV)

    world.site(silent_for=timedelta(hours=1))
    service = Alerting(connected, grouped(world.url, hook).config)
    with judging(service):
        wait_until(lambda: hook.raw, what="a notice")


def test_a_web_server_of_another_authority_is_refused(tmp_path):
    with web(tls_context(tmp_path)) as hook:
        with pytest.raises(NoticeError, match="cannot be reached") as raised:
            webhook.send(Webhook(url=hook.url), "webhook.x", "k", _test_content(None))
        assert "certificate" in str(raised.value).lower()
        assert "geheim" not in str(raised.value)
        target = Webhook(url=hook.url, ca_file=tmp_path / "ca.pem")
        assert webhook.send(target, "webhook.x", "k", _test_content(None)) == "HTTP 204"


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_mail_server_of_another_authority_is_refused(security, world, tmp_path):
    with mail(tmp_path, tls=security) as box:
        given = {
            "host": "127.0.0.1",
            "port": box.port,
            "security": security,
            "sender": "a@b.example",
            "to": ["c@d.example"],
        }
        content = _test_content(None)
        with pytest.raises(NoticeError, match="TLS is refused"):
            mailing.send(Email(**given), "email.x", "k", content)
        good = Email(**given, ca_file=tmp_path / "ca.pem")
        assert mailing.send(good, "email.x", "k", content) == "taken for 1 recipient"
        assert box.encrypted == [True]
        wrong = Email(**given, ca_file=tmp_path / "ca.pem", user="ops", password="geheim")
        with pytest.raises(NoticeError) as raised:
            mailing.send(wrong, "email.x", "k", content)
        assert "geheim" not in str(raised.value)
        box.refused = {"c@d.example"}
        with pytest.raises(NoticeError, match="refuses every recipient"):
            mailing.send(good, "email.x", "k", content)
