"""Retention: nothing goes that is unsealed, unreported, or needed by what is to come; what goes is on record.

A plant whose first four months are frozen, exported and notified. That notification was three years ago is written into
the row by the tests, the database's clock being its own.
"""

import json
import os
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.keeping import retention
from deploy.keeping.errors import RetentionError
from deploy.keeping.proof import check_revisions, check_seals
from mrv import periods
from mrv.evidence.export import export
from mrv.evidence.keys import make_key
from mrv.evidence.sealing import seal_due
from mrv.verification import attestation, keys, notification, steps
from mrv.verification.notification import Share
from mrv.verification.steps import Author
from sql.connection import Role, connect
from tests.forked import run_command
from tests.integration.conftest import Plant, audit_events
from tests.integration.received import receive

ROOT = Path(__file__).resolve().parents[2]
FIRST, LAST = date(2021, 3, 1), date(2021, 6, 30)
DAY = "2021-04-15"
START, END = f"{DAY} 00:00+00", "2021-04-16 00:00+00"
STAYS = "select why from message_chunk_stays(%s, %s, make_interval(years => %s), %s) why"
TPE = "Example Certification Body"


@pytest.fixture(scope="module")
def plant(databases, tmp_path_factory):
    url = databases.new(migrated=True)
    plant = Plant(url)
    plant.folder = tmp_path_factory.mktemp("retention")
    plant.apply(plant.toml.replace("from = 2019-01-01", "from = 2021-03-01"))
    number = 0
    # Six days into what is not frozen.
    for hours in range(0, (LAST - FIRST).days * 24 + 6 * 24, 24):
        at = datetime(2021, 2, 28, 18, tzinfo=UTC) + timedelta(hours=hours)
        said = [
            json.dumps({"ts": (at + timedelta(hours=h)).isoformat(), "points": {"TotWhExp": 100_000.0 * (hours + h)}})
            for h in (0, 6, 12, 18)
        ]
        topic = f"jcm/v1/{plant.site}/inv-1/readings"
        receive(plant.owner, [(topic, one.encode()) for one in said], at + timedelta(hours=18), first_id=number + 1)
        number += len(said)
    plant.owner.execute(
        "insert into ingest_account (site_id, collector, messages_received, messages_stored, readings_received,"
        " readings_stored, first_received_at, last_received_at) select site_id, collector, count(*), count(*),"
        " sum(readings), sum(readings), min(received_at), max(received_at) from message group by 1, 2"
    )
    plant.key = make_key(plant.folder / "key.pem")
    seal_due(plant.connection, plant.key, code_version="1")
    periods.freeze(plant.connection, "P1", FIRST, LAST, code_version="1")
    notify(plant)
    bundle = plant.folder / "bundle.zip"
    export(
        plant.connection, "P1", (FIRST, LAST), 1, bundle, key=plant.key, code_version=version("jcm-mrv"), families={}
    )
    retention.record_bundle(plant.connection, "P1", (FIRST, LAST), 1, bundle, redacted=False)
    change(plant.owner, "notification", "update notification set at = now() - interval '3 years'")
    yield plant
    plant.close()
    databases.drop(url)


def notify(plant: Plant) -> None:
    auditor, engineer, owner = Author("V. Auditor", TPE), Author("P. Engineer", "A"), Author("O. Operator", "Service")
    key = Ed25519PrivateKey.generate()
    now = datetime.now(UTC)
    keys.register(
        plant.owner, key.public_key().public_bytes_raw(), TPE, now - timedelta(days=1), now + timedelta(days=1), owner
    )

    def state() -> steps.RevisionState:
        return steps.state_of(plant.owner, "P1", FIRST, LAST, None)

    steps.submit(plant.owner, state(), engineer)
    statement = attestation.statement_of(plant.owner, state())
    attestation.attest(plant.owner, state(), statement, key.sign(statement), auditor)
    tonnes = periods.recompute(plant.connection, "P1", FIRST, LAST).result.er_tco2
    notification.notify(plant.owner, state(), date(2021, 9, 1), [Share(2021, "host", "A", tonnes)], engineer)


def change(owner: psycopg.Connection, guarded: str | None, *statements: str) -> None:
    """Change what is append-only, as only an owner can who takes its guard away."""
    tables = {None: [], "seal": ["seal", "seal_block"]}.get(guarded, [guarded])
    for table in tables:
        owner.execute(f"alter table {table} disable trigger user")
    for statement in statements:
        owner.execute(statement)
    for table in tables:
        owner.execute(f"alter table {table} enable trigger user")


@contextmanager
def undone(plant: Plant):
    with plant.owner.transaction(force_rollback=True):
        yield plant.owner


def stays(owner: psycopg.Connection, years: int = 2, *, quarantined: bool = False, day: str = DAY) -> list[str]:
    start = datetime.fromisoformat(f"{day}T00:00+00:00")
    return [why for (why,) in owner.execute(STAYS, [start, start + timedelta(days=1), years, quarantined])]


def refused(owner: psycopg.Connection) -> str:
    """What the function that drops says, whatever was asked before."""
    with pytest.raises(psycopg.Error) as caught, owner.transaction():
        owner.execute("select drop_message_chunk(%s, interval '2 years', false)", [START])
    assert caught.value.sqlstate == "JR001"
    return caught.value.diag.message_primary or ""


def test_what_is_sealed_notified_and_exported_may_go(plant):
    assert stays(plant.owner) == []
    chunks = retention.plan(plant.owner, 2, quarantined=False)
    gone = [chunk for chunk in chunks if not chunk.stays]
    # The first open day is 1 July in Bangkok; a month before it stays for what the rules look back to.
    assert (gone[0].start.date(), gone[-1].start.date()) == (date(2021, 3, 1), date(2021, 5, 30))
    assert [chunk.messages for chunk in gone] == [4] * 91
    assert all("P1 needs what is from 2021-05-30 17:00:00+00 on: 2021-07-01" in chunk.stays[0] for chunk in chunks[91:])


AGAIN = """
    insert into period_revision
    select period_id, 2, received_until + interval '1 day', declarations, methodology, code_version, {}
    from period_revision
"""
LATE = "select device_id, '2021-07-20', '2021-04-15 12:00', 1, 0 from device"
OF_THE_DAY = f"received_at between '{START}' and '{END}'"
FIRST_OF_THE_DAY = f"message_id = (select min(message_id) from message where {OF_THE_DAY})"
# What is wrong: the table whose guard is away, what is done to it, and what is said then.
UNMET = {
    "notified too recently": (
        "notification",
        ["update notification set at = now() - interval '23 months'"],
        "needs what is from",
    ),
    "never notified": ("notification", ["delete from notification"], "2021-03-01 is not in a period that was notified"),
    "no bundle": ("evidence_bundle", ["delete from evidence_bundle"], "with bundles of all its revisions on record"),
    "a redacted bundle": ("evidence_bundle", ["update evidence_bundle set redacted = true"], "with bundles of all"),
    "a later revision without a bundle": (
        "period_revision",
        [AGAIN.format("inputs_digest, result")],
        "with bundles of all",
    ),
    "a later revision that is unfinished": ("period_revision", [AGAIN.format("null, null")], "with bundles of all"),
    "not sealed": (
        "seal",
        [f"delete from seal_block where day = '{DAY}'", f"delete from seal where day = '{DAY}'"],
        f"not sealed, or not what was sealed: {DAY} of s-P1, 4 messages",
    ),
    "another one came behind the seal": (
        None,
        [
            "create temporary table one on commit drop as select * from message where " + FIRST_OF_THE_DAY,
            "update one set message_id = 99999",
            "insert into message select * from one",
        ],
        f"not what was sealed: {DAY} of s-P1, 5 messages",
    ),
    "one is missing": (None, ["delete from message where " + FIRST_OF_THE_DAY], "s-P1, 3 messages"),
    "payloads are other ones": (
        None,
        [f"update message set payload = 'x' where {OF_THE_DAY}"],
        "4 payloads are not what was received",
    ),
    "a reading of what is not notified": (
        None,
        [f"insert into reading (device_id, ts, received_at, message_id, element) {LATE}"],
        "needs what is from",
    ),
    "a part of a reading of what is not notified": (
        None,
        [f"insert into reading_part (device_id, ts, received_at, message_id, field) {LATE}"],
        "needs what is from",
    ),
    "few readings before what is not notified": (
        None,
        ["delete from reading where ts between '2021-04-20' and '2021-06-27'"],
        "needs what is from 2021-03-29 12:00:00+00 on",
    ),
    "in quarantine": (
        None,
        [
            f"insert into quarantine (received_at, message_id, topic, reason, detail) values ('{DAY}', 1, '', '', '')",
        ],
        "1 messages wait in quarantine",
    ),
    "a Sparkplug node that was born before and not since": (
        None,
        ["insert into device_event values ('2021-04-10', 1, 's-P1', 'g/e', 'sparkplug_node_born', '')"],
        "needs what is from 2021-04-10 00:00:00+00 on",
    ),
}


@pytest.mark.parametrize("case", list(UNMET))
def test_each_condition_is_needed(plant, case):
    table, statements, why = UNMET[case]
    with undone(plant) as owner:
        change(owner, table, *statements)
        said = stays(owner)
        assert len(said) == 1, said
        assert why in said[0]
        assert f"stay: {said[0]}" in refused(owner)
    assert stays(plant.owner) == []


def test_what_waits_in_quarantine_goes_when_it_is_asked_for(plant):
    with undone(plant) as owner:
        change(owner, None, *UNMET["in quarantine"][1])
        assert stays(owner, quarantined=True) == []


P2 = """
    insert into project (id, title, host_country, methodology, methodology_version, crediting_from, crediting_to)
    values ('P2', 'x', 'THA', 'TH_AM001', '1.0', '2021-01-01', '2025-01-01')
"""


def test_a_message_of_no_site_stays_while_any_project_may_need_it(plant):
    with undone(plant) as owner:
        change(
            owner,
            "seal",
            "insert into seal select '', day, 1, statement, sha256 || 'x', signature, key_id, salt, created_at"
            f" from seal where day = '{DAY}'",
            f"update seal set messages = 3 where day = '{DAY}' and site_id = 's-P1'",
            f"update message set site_id = null where {FIRST_OF_THE_DAY}",
        )
        assert stays(owner) == []
        owner.execute(P2)
        owner.execute("insert into site (id, project_id, name, time_zone) values ('s-2', 'P2', 'x', 'UTC')")
        assert stays(owner) == ["it has messages of no declared site, which may be of P2"]


def test_another_project_that_is_not_notified_keeps_the_day(plant):
    with undone(plant) as owner:
        owner.execute(P2)
        owner.execute("update site set project_id = 'P2'")
        assert any("P2 needs what is from" in why for why in stays(owner))


def test_less_than_a_year_is_refused_in_the_database(plant):
    with pytest.raises(RetentionError, match="messages are kept for at least one year"):
        retention.plan(plant.owner, 0, quarantined=False)
    assert stays(plant.owner, years=20) == ["received too recently"]


@pytest.mark.parametrize("role", [Role.MRV, Role.COLLECTOR, Role.READER])
def test_the_owner_alone_drops(plant, role):
    with (
        connect(plant.url, role) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="for function drop_message_chunk"),
    ):
        connection.execute("select drop_message_chunk(%s, interval '2 years', false)", [START])


def test_a_chunk_that_is_none_and_another_isolation_are_refused(plant):
    with pytest.raises(psycopg.Error, match="no messages begin at"):
        plant.owner.execute("select drop_message_chunk('2021-04-15 01:00+00', interval '2 years', false)")
    with plant.owner.transaction(force_rollback=True):
        plant.owner.execute("set transaction isolation level repeatable read")
        with pytest.raises(psycopg.Error, match="read committed"):
            plant.owner.execute("select drop_message_chunk(%s, interval '2 years', false)", [START])


def test_the_record_is_append_only(plant):
    for statement in (
        "update evidence_bundle set bytes = 1",
        "delete from message_drop",
        "truncate message_drop_period",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            plant.owner.execute(statement)


def test_letting_go(plant, monkeypatch):
    """The last test of the module: what goes is on record, and everything else holds."""

    def run(*arguments, status=0, **more):
        environment = {**os.environ, "JCM_MRV_DATABASE_URL": plant.url, "JCM_MRV_MQTT_URL": "mqtt://x:y@localhost:1"}
        environment["JCM_MRV_EVIDENCE_KEY_FILE"] = str(plant.folder / "key.pem")
        done = run_command(*arguments, environment=environment | more, cwd=ROOT)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "everything is kept: JCM_MRV_KEEP_MESSAGES_YEARS is not set" in run("retention", "plan")
    assert "is not set: everything is kept" in run("retention", "apply", status=1)
    said = run("retention", "plan", JCM_MRV_KEEP_MESSAGES_YEARS="2")
    assert "2021-03-01 to 2021-05-30, 364 messages: may go" in said
    assert "364 of 508 messages would go" in said
    before = plant.owner.execute("select count(*) from reading").fetchone()
    with Path(os.devnull).open() as nobody, monkeypatch.context() as patched:
        patched.setattr("sys.stdin", nobody)
        said = run("retention", "apply", status=130, JCM_MRV_KEEP_MESSAGES_YEARS="2")
    assert said.startswith("364 messages would go\n")
    assert "a backup is at hand? [y/N]" in said
    assert said.endswith("jcm-mrv: not confirmed, and nothing was done; --yes does not ask\n")
    said = run("retention", "apply", "--yes", JCM_MRV_KEEP_MESSAGES_YEARS="2")
    assert "364 messages of 91 days are gone" in said
    assert plant.owner.execute("select count(*), min(received_at)::date from message").fetchone() == (
        144, date(2021, 5, 31),
    )  # fmt: skip
    assert plant.owner.execute("select count(*) from reading").fetchone() == before
    assert "0 of 144 messages would go" in run("retention", "plan", JCM_MRV_KEEP_MESSAGES_YEARS="2")
    assert "0 messages of 0 days are gone" in run("retention", "apply", JCM_MRV_KEEP_MESSAGES_YEARS="2")

    run("status", "--recount")
    first = audit_events(plant.owner, "message.dropped")[0]
    seal = plant.owner.execute(
        "select sha256, statement::jsonb ->> 'root' from seal where day = '2021-03-01'"
    ).fetchone()
    assert (first["messages"], first["readings"], first["project"]) == (4, 4, "P1")
    assert first["seals"] == [{"day": "2021-03-01", "sha256": seal[0], "root": seal[1]}]
    assert len(audit_events(plant.owner, "message.dropped")) == 91

    told: list[str] = []
    check_seals(plant.connection, told.append)
    check_revisions(plant.connection, told.append)
    assert (
        "127 seals: chained, each signed, and 144 messages lead to their roots; of 91 the messages are gone" in told[0]
    )
    assert "its messages are gone by retention; its bundle is the evidence" in told[1]

    # Late readings of the period make no further revision: it would be computed from less than the first.
    plant.insert([(datetime(2021, 4, 1, 3, tzinfo=UTC), 75_000_000.0)])
    with pytest.raises(psycopg.Error, match="takes no further revision: messages of it were dropped by retention"):
        periods.freeze(plant.connection, "P1", FIRST, LAST, code_version="1")
    assert "takes no further revision" in run("period", "freeze", "P1", str(FIRST), str(LAST), status=1)
    # What comes next is computed as ever.
    frozen = periods.freeze(plant.connection, "P1", date(2021, 7, 1), date(2021, 7, 5), code_version="1")
    assert (
        periods.recompute(plant.connection, "P1", date(2021, 7, 1), date(2021, 7, 5)).number == frozen.revision.number
    )
    bundle = plant.folder / "next.zip"
    seal_due(plant.connection, plant.key, code_version="1")
    export(
        plant.connection, "P1", (date(2021, 7, 1), date(2021, 7, 5)), 1, bundle, key=plant.key,
        code_version=version("jcm-mrv"), families={},
    )  # fmt: skip
