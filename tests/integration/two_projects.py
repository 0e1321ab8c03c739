"""Two projects, each with rows of its own in every table that is of a project."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.access.principal import AccountRole
from mrv import periods
from mrv.evidence.keys import make_key
from mrv.evidence.sealing import seal_due
from mrv.verification import attestation, findings, keys, notification, steps
from mrv.verification.findings import About
from mrv.verification.notification import Share
from mrv.verification.steps import Author
from sql.connection import Role, connect
from tests.integration.conftest import Plant
from tests.integration.received import receive
from tests.website import Website

ONE, OTHER = "ONE", "OTHER"
PROJECTS = (ONE, OTHER)
DAYS = (date(2021, 3, 1), date(2021, 3, 2))
RECEIVED = datetime(2021, 3, 4, tzinfo=UTC)


def entity(project: str) -> str:
    """The third-party entity of a project."""
    return f"Body {project}"


def add_accounts(site: Website) -> None:
    """Add each role for each project, such as `verifier-one`, an operator of all, and somebody without a role."""
    for project in PROJECTS:
        for role in (AccountRole.VERIFIER, AccountRole.PARTICIPANT, AccountRole.OPERATOR):
            site.account(f"{role}-{project}".lower(), role, project, organisation=entity(project))
    site.account("operator", AccountRole.OPERATOR)
    site.account("nobody", None)


def build(url: str, folder: Path) -> None:
    """Declare, receive, seal, freeze and verify both projects; put a row where none comes from that."""
    key = make_key(folder / "evidence.pem")
    for number, project in enumerate(PROJECTS):
        plant = Plant(url, project=project)
        plant.apply(plant.toml.replace('title = "A', f'third_party_entity = "{entity(project)}"\ntitle = "A'))
        topic = f"jcm/v1/{plant.site}/inv-1/readings"
        text = '{{"ts": "{}", "points": {{"TotWhExp": {}, "W": 1}}}}'
        rows = plant.days(*DAYS, hourly_wh=100_000.0)
        given = [(topic, text.format(ts.isoformat(), wh).encode()) for ts, wh in rows]
        unknown = [(f"jcm/v1/{plant.site}/unknown/readings", b"{}")]
        receive(plant.owner, given + unknown, RECEIVED, first_id=1 + 1000 * number)
        plant.close()
    with connect(url, Role.OWNER) as owner, connect(url, Role.MRV) as mrv:
        receive(owner, [("elsewhere", b"?")], RECEIVED, first_id=9000)
        seal_due(mrv, key, code_version="1")
        for project in PROJECTS:
            periods.freeze(mrv, project, *DAYS, code_version="1")
            _verify(url, owner, project)
            _fill(owner, project)


def _verify(url: str, owner: psycopg.Connection, project: str) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    now, auditor, engineer = datetime.now(UTC), Author("V", entity(project)), Author("P", "A")
    until = now + timedelta(days=1)
    keys.register(owner, keys.read_public(public), entity(project), now - timedelta(days=1), until, Author("O", "O"))
    with connect(url, Role.VERIFIER) as verifier, connect(url, Role.PARTICIPANT) as participant:

        def state() -> steps.RevisionState:
            return steps.state_of(verifier, project, *DAYS)

        steps.submit(participant, state(), engineer)
        finding = findings.raise_finding(verifier, state(), "CAR", f"{project}?", About(), auditor)
        findings.raise_finding(verifier, state(), "FAR", f"{project} then?", About(), auditor)
        finding = findings.respond(participant, finding, f"{project}.", engineer)
        findings.close(verifier, finding, f"{project}!", auditor)
        signed = attestation.statement_of(verifier, state())
        attestation.attest(verifier, state(), signed, key.sign(signed), auditor)
        notification.notify(participant, state(), date(2025, 10, 30), (Share(2021, "host", project, 1),), engineer)


_ROWS = """
insert into calibration (device_id, performed, valid_until) select device_id, '2021-01-01', '2022-01-01' from device
    where site_id = %(site)s;
insert into reading_conflict select device_id, now(), now(), 1, 0, '{}', '{}' from device where site_id = %(site)s;
insert into reading_part (device_id, ts, received_at, message_id, field) select device_id, now(), now(), 1, 'x'
    from device where site_id = %(site)s;
insert into device_event values (now(), 1, %(site)s, 'node', 'birth', '');
insert into ingest_account (site_id, collector, first_received_at, last_received_at)
    values (%(site)s, 'c', now(), now());
insert into evidence_bundle (period_id, revision, redacted, sha256, bytes)
    select period_id, 1, false, encode(sha256(project_id::bytea), 'hex'), 1 from period where project_id = %(project)s;
insert into quarantine (received_at, message_id, site_id, topic, reason, detail)
    values (now(), 1, %(site)s, 't', 'unknown_device', '');
insert into revision_line (period_id, revision, system, year, place, name, wh)
    select period_id, 1, 'pv-1', 2021, 1000, 'rounding', 0 from period where project_id = %(project)s;
insert into message_drop values (now(), now(), %(site)s, 0, 0, 0, 0, 0, '[]', '1 day');
insert into message_drop_period select now(), period_id from period where project_id = %(project)s;
insert into decoder_state values ('frame', %(site)s, 1, '{}', now());
insert into energy_day (device_id, day, within_wh, carried_wh, samples, coverage, rules, inputs_sha256)
    select device_id, '2021-03-01', 0, 0, 0, 0, '{}', '' from device where site_id = %(site)s on conflict do nothing;
insert into evidence_salt select period_id, 1, sha256(project_id::bytea) from period where project_id = %(project)s;
insert into seal_timestamp (site_id, day, token, tsa_time, policy) select site_id, day, '', now(), '' from seal
    where site_id = %(site)s;
insert into job_run (job, scope, period_start, claimed_by, claimed_at, heartbeat_at)
    values ('energy_day', %(site)s, now(), 'x', now(), now()),
           ('period_report', %(project)s || ' 2021-03-01 2021-03-02', now(), 'x', now(), now());
insert into alert (rule, subject, project_id, severity, said, since, first_seen, last_seen)
    values ('silent', %(site)s, %(project)s, 'warning', '', now(), now(), now());
"""


def _fill(owner: psycopg.Connection, project: str) -> None:
    for statement in _ROWS.split(";\n")[:-1]:
        owner.execute(statement, {"project": project, "site": f"s-{project}"})
