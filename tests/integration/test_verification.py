"""A revision on its way to notified tonnes, on a real database: each step, each refusal, by role and by the owner."""

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from threading import Barrier, Thread

import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mrv import periods
from mrv.verification import attestation, findings, keys, notification, statement, steps
from mrv.verification.errors import SignatureError, VerificationError, VerifierKeyError
from mrv.verification.findings import About
from mrv.verification.notification import Share
from mrv.verification.steps import Author
from sql.connection import Role, connect
from sql.errors import SchemaError

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 10)
DAYS = (FIRST, LAST)
TPE = "Example Certification Body"
AUDITOR = Author("V. Auditor", TPE)
ENGINEER = Author("P. Engineer", "A")
OWNER = Author("O. Operator", "The Service")
NOTHING = About()
STEPS = ("submission", "finding", "finding_response", "finding_closing", "attestation", "notification")


def pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass
class Case:
    """A plant with a frozen period of 7 t, a connection for each side, and the verifier's key."""

    plant: object
    verifier: psycopg.Connection
    participant: psycopg.Connection
    key: Ed25519PrivateKey
    key_id: str

    @property
    def owner(self) -> psycopg.Connection:
        return self.plant.owner

    def freeze(self) -> int:
        return periods.freeze(self.plant.connection, "P1", *DAYS, code_version="1").revision.number

    def more(self, hours: int = 240, hourly_wh: float = 100_000.0) -> None:
        """Let readings of the period come late."""
        rows = self.plant.days(FIRST, LAST, hourly_wh=hourly_wh)
        self.plant.insert([(ts + timedelta(minutes=30), wh + hourly_wh / 2) for ts, wh in rows[:hours]])

    def state(self, revision: int | None = None) -> steps.RevisionState:
        return steps.state_of(self.verifier, "P1", *DAYS, revision)

    def submit(self, revision: int | None = None, author: Author = ENGINEER) -> None:
        steps.submit(self.participant, self.state(revision), author)

    def raise_(self, kind="CAR", text="why?", about=NOTHING, author=AUDITOR) -> findings.Finding:
        return findings.raise_finding(self.verifier, self.state(), kind, text, about, author)

    def respond(self, label: str, author: Author = ENGINEER) -> findings.Finding:
        found = findings.find(self.participant, "P1", *DAYS, label)
        return findings.respond(self.participant, found, "because", author)

    def close(self, label: str, author: Author = AUDITOR) -> findings.Finding:
        return findings.close(self.verifier, findings.find(self.verifier, "P1", *DAYS, label), "accepted", author)

    def statement(self, revision: int | None = None) -> bytes:
        return attestation.statement_of(self.verifier, self.state(revision))

    def attest(self, revision=None, signed=None, key=None, author=AUDITOR) -> attestation.Attestation:
        signed = self.statement(revision) if signed is None else signed
        signature = (key or self.key).sign(signed)
        return attestation.attest(self.verifier, self.state(revision), signed, signature, author)

    def notify(self, *shares: Share, revision: int | None = None) -> notification.Notification:
        given = shares or (Share(2021, "host", "A", 3), Share(2021, "japan", "B", 4))
        return notification.notify(self.participant, self.state(revision), date(2025, 10, 30), given, ENGINEER)

    def audit(self) -> list[tuple]:
        return self.owner.execute(
            "select action, detail ->> 'person', detail ->> 'organisation', detail ->> 'finding' from audit_event"
            " where action not in ('apply', 'period.frozen') order by id"
        ).fetchall()


@pytest.fixture
def case(plant):
    plant.apply(plant.toml.replace('title = "A test plant"', f'title = "A test plant"\nthird_party_entity = "{TPE}"'))
    plant.insert(plant.days(FIRST, LAST, hourly_wh=100_000.0))
    key = Ed25519PrivateKey.generate()
    public = keys.read_public(pem(key))
    now = datetime.now(UTC)
    registered = keys.register(plant.owner, public, TPE, now - timedelta(days=1), now + timedelta(days=365), OWNER)
    with connect(plant.url, Role.VERIFIER) as verifier, connect(plant.url, Role.PARTICIPANT) as participant:
        made = Case(plant, verifier, participant, key, registered.key_id)
        made.freeze()
        yield made


def refused(said: str, error=VerificationError):
    return pytest.raises(error, match=said)


def test_from_frozen_to_notified_with_a_finding_of_each_kind(case):
    assert case.state().state == "frozen"
    case.submit()
    assert case.state().state == "submitted"
    car = case.raise_(about=About("pv-1", "s-P1/inv-1", date(2021, 3, 2), "register.gap@1"))
    assert (car.label, car.state, car.revision) == ("CAR-1", "raised", 1)
    assert [case.raise_("CL").label, case.raise_("FAR").label, case.raise_("CAR").label] == ["CL-1", "FAR-1", "CAR-2"]
    assert case.state().open_findings == ("CAR-1", "CAR-2", "CL-1", "FAR-1")
    for label in ("CAR-1", "CL-1", "CAR-2"):
        assert case.respond(label).state == "responded"
        assert case.close(label).state == "closed"
    done = case.attest()
    assert (case.state().state, done.key.key_id) == ("verified", case.key_id)
    said = json.loads(done.statement)
    assert (said["open_far"], said["vintages"], said["er_tco2"]) == (["FAR-1"], [{"er_tco2": 7, "year": 2021}], 7)
    assert said["systems"] == [{"id": "pv-1", "years": [{"re_tco2": "7.656000", "year": 2021}]}]
    case.notify()
    assert case.state().state == "notified"
    shares = case.owner.execute("select vintage, side, holder, tco2 from notification_share order by side").fetchall()
    assert shares == [(2021, "host", "A", 3), (2021, "japan", "B", 4)]
    # A FAR is answered after the verification, at the next one.
    case.respond("FAR-1")
    assert case.close("FAR-1").state == "closed"
    assert attestation.check(case.verifier, case.state()).statement == done.statement
    assert case.audit() == [
        ("verifier_key.registered", "O. Operator", "The Service", None),
        ("period.submitted", "P. Engineer", "A", None),
        ("finding.raised", "V. Auditor", TPE, "CAR-1"),
        ("finding.raised", "V. Auditor", TPE, "CL-1"),
        ("finding.raised", "V. Auditor", TPE, "FAR-1"),
        ("finding.raised", "V. Auditor", TPE, "CAR-2"),
        ("finding.responded", "P. Engineer", "A", "CAR-1"),
        ("finding.closed", "V. Auditor", TPE, "CAR-1"),
        ("finding.responded", "P. Engineer", "A", "CL-1"),
        ("finding.closed", "V. Auditor", TPE, "CL-1"),
        ("finding.responded", "P. Engineer", "A", "CAR-2"),
        ("finding.closed", "V. Auditor", TPE, "CAR-2"),
        ("period.attested", "V. Auditor", TPE, None),
        ("period.notified", "P. Engineer", "A", None),
        ("finding.responded", "P. Engineer", "A", "FAR-1"),
        ("finding.closed", "V. Auditor", TPE, "FAR-1"),
    ]


def test_no_step_is_taken_out_of_turn(case):
    with refused("cannot be given a finding: it is not submitted yet"):
        case.raise_()
    with refused("cannot be attested: it is not submitted yet"):
        case.attest()
    with refused("cannot be notified: it is not submitted yet"):
        case.notify()
    case.submit()
    with refused("cannot be submitted: it is submitted already"):
        case.submit()
    with refused("cannot be notified: it is not verified yet"):
        case.notify()
    case.raise_("CL")
    with refused("cannot be attested: CL-1 not closed"):
        case.attest()
    with refused("CL-1 cannot be closed: nobody has responded to it"):
        case.close("CL-1")
    case.respond("CL-1")
    with refused("cannot be attested: CL-1 not closed"):
        case.attest()
    case.close("CL-1")
    with refused("CL-1 is closed already"):
        case.close("CL-1")
    with refused("CL-1 is closed; it takes no more responses"):
        case.respond("CL-1")
    case.attest()
    for late in (case.submit, case.raise_, case.attest):
        with refused("verified and cannot change; what is new goes into the next revision"):
            late()
    case.notify()
    with refused("notified and cannot change"):
        case.notify()


def test_who_verifies_and_who_is_verified_are_never_one(case):
    with refused(f"{TPE} is the third-party entity and may not submit"):
        case.submit(author=AUDITOR)
    case.submit()
    with refused(f"only {TPE}, the third-party entity, may raise a finding; not A"):
        case.raise_(author=ENGINEER)
    case.raise_()
    with refused("may not respond to a finding; a participant does"):
        case.respond("CAR-1", author=Author("V", "  example certification  BODY "))
    case.respond("CAR-1")
    with refused(f"only {TPE}, the third-party entity, may close a finding; not A"):
        case.close("CAR-1", author=ENGINEER)


def test_what_is_open_is_carried_over_and_keeps_its_number(case):
    case.submit()
    case.raise_()
    case.raise_("CL")
    case.respond("CL-1")
    case.close("CL-1")
    case.more()
    assert case.freeze() == 2
    assert [entry.state for entry in steps.states(case.verifier, "P1", *DAYS)] == ["superseded", "frozen"]
    with refused("cannot be attested: it is superseded by revision 2"):
        case.attest(1)
    with refused("revision 1 of P1 .* cannot be submitted: it is superseded by revision 2"):
        case.submit(1)
    case.submit()
    assert case.state().open_findings == ("CAR-1",)
    assert case.raise_().label == "CAR-2"
    with refused("cannot be attested: CAR-1, CAR-2 not closed"):
        case.attest()
    assert case.respond("CAR-1").responses[0].revision == 2


def test_a_revision_after_a_verified_one_changes_nothing_about_it(case):
    case.submit()
    case.attest()
    case.more()
    assert case.freeze() == 2
    assert [entry.state for entry in steps.states(case.verifier, "P1", *DAYS)] == ["verified", "frozen"]
    assert case.audit()[-1][0] == "period.frozen_after_verification"
    case.submit()
    case.attest()
    with refused("revision 1 .* cannot be notified: revision 2 was verified after it"):
        case.notify(revision=1)
    case.notify()
    assert [entry.state for entry in steps.states(case.verifier, "P1", *DAYS)] == ["verified", "notified"]


def test_the_tonnes_of_a_period_are_notified_once(case):
    case.submit()
    case.attest()
    case.notify()
    case.more()
    case.freeze()
    case.submit()
    case.attest()
    with refused("revision 2 .* cannot be notified: revision 1 was, and the tonnes of a period are notified once"):
        case.notify()


def test_a_signature_of_another_key_or_over_something_else_is_refused(case):
    case.submit()
    with refused("not made over this statement by a key of Example Certification Body: wrong key", SignatureError):
        case.attest(key=Ed25519PrivateKey.generate())
    said = json.loads(case.statement())
    said["vintages"][0]["er_tco2"] = 8
    with refused(r"not the statement of revision 1 .*: vintages\[0\].er_tco2 was 8, is 7", SignatureError):
        case.attest(signed=json.dumps(said, sort_keys=True, separators=(",", ":")).encode())
    with refused("the same content in other bytes, such as a line feed", SignatureError):
        case.attest(signed=case.statement() + b"\n")
    with refused("that is not a statement", SignatureError):
        case.attest(signed=b"{}")
    with refused("a signature has 64 bytes, this one 3", SignatureError):
        attestation.attest(case.verifier, case.state(), case.statement(), b"abc", AUDITOR)
    other = Ed25519PrivateKey.generate()
    now = datetime.now(UTC)
    keys.register(case.owner, keys.read_public(pem(other)), "Other Body", now, now + timedelta(days=1), OWNER)
    with refused("is registered for Other Body, not for Example Certification Body"):
        case.attest(key=other)
    with refused("only Example Certification Body, the third-party entity, may attest; not Other Body"):
        case.attest(key=other, author=Author("W", "Other Body"))
    with refused("no key is registered for Nobody", SignatureError):
        case.attest(key=Ed25519PrivateKey.generate(), author=Author("W", "Nobody"))
    assert case.state().state == "submitted"


@pytest.mark.parametrize(
    ("since", "until", "said"), [(-2, -1, "expired at"), (1, 2, "is not valid before")], ids=["expired", "not yet"]
)
def test_a_key_outside_its_time_is_refused(case, since, until, said):
    case.submit()
    old, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    span = (now + timedelta(days=since), now + timedelta(days=until))
    keys.register(case.owner, keys.read_public(pem(old)), TPE, *span, OWNER)
    with refused(said):
        case.attest(key=old)


def test_a_withdrawn_key_attests_nothing_more_and_what_it_attested_stands(case):
    case.submit()
    case.attest()
    keys.withdraw(case.owner, case.key_id, "lost", OWNER)
    assert attestation.check(case.verifier, case.state()).key.withdrawn_because == "lost"
    case.more()
    case.freeze()
    case.submit()
    with refused("was withdrawn at"):
        case.attest()
    with refused("was withdrawn at", VerifierKeyError):
        keys.withdraw(case.owner, case.key_id, "again", OWNER)


def test_a_result_that_was_changed_behind_our_back_is_found(case):
    case.submit()
    signed = case.statement()
    tamper = "update period_revision set result = replace(result, '\"er_tco2\":7', '\"er_tco2\":9')"
    case.owner.execute("alter table period_revision disable trigger frozen")
    case.owner.execute(tamper)
    with refused(r"er_tco2 was 7, is 9; result_sha256 was", SignatureError):
        case.attest(signed=signed)
    case.owner.execute(tamper.replace("7", "x").replace("9", "7").replace("x", "9"))
    case.attest(signed=signed)
    case.owner.execute(tamper)
    with refused("not the statement of revision 1", SignatureError):
        attestation.check(case.verifier, case.state())
    with refused("not the statement of revision 1", SignatureError):
        case.notify(Share(2021, "japan", "B", 9))


def test_a_signature_that_was_put_in_by_hand_is_found_when_it_is_relied_on(case):
    """PostgreSQL cannot check Ed25519: what it let in is refused by everything that reads it."""
    case.submit()
    case.verifier.execute(
        "insert into attestation (period_id, revision, key_id, statement, signature, person, organisation)"
        " values (%s, 1, %s, %s, %s, 'V', %s)",
        [case.state().period_id, case.key_id, case.statement(), bytes(64), TPE],
    )
    with refused("the signature stored for revision 1 .* was not made by", SignatureError):
        attestation.check(case.verifier, case.state())
    with refused("the signature stored", SignatureError):
        case.notify()


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([(2021, "host", "A", 3), (2021, "japan", "B", 3)], "2021: host 3 [+] Japan 3 = 6, verified 7"),
        ([(2021, "host", "A", 4), (2021, "japan", "B", 4)], "2021: host 4 [+] Japan 4 = 8, verified 7"),
        (
            [(2021, "japan", "B", 7), (2020, "japan", "B", 1)],
            "2020: host 0 [+] Japan 1 = 1, verified nothing",
        ),
        ([(2021, "japan", "B", 3), (2021, "japan", "B", 4)], "a share is given twice: 2021 japan B"),
        ([(2021, "japan", "B", 7.5)], "not a share of whole tonnes"),
        ([(2021, "japan", "B", -7), (2021, "host", "A", 14)], "not a share of whole tonnes"),
        ([(2021, "both", "B", 7)], "not a share of whole tonnes"),
        ([(2021, "japan", " ", 7)], "not a share of whole tonnes"),
    ],
)
def test_shares_that_do_not_sum_are_refused_with_the_numbers(case, shares, said):
    case.submit()
    case.attest()
    with refused(said):
        case.notify(*[Share(*share) for share in shares])
    case.notify(Share(2021, "japan", "Government", 4), Share(2021, "japan", "B", 2), Share(2021, "host", "A", 1))


def test_the_owner_cannot_skip_change_or_backdate_a_step(case):
    period = case.state().period_id
    steps_of_owner = (
        f"insert into attestation values ({period}, 1, '{case.key_id}', '{{}}', '\\x00', now(), 'x', 'x', 'x')",
        f"insert into notification values ({period}, 1, now(), '[]', now(), 'x', 'x', 'x')",
        (
            "insert into finding (period_id, revision, kind, text, person, organisation)"
            f" values ({period}, 1, 'CAR', 'x', 'x', '{TPE}')"
        ),
    )
    for statement_ in steps_of_owner:
        with pytest.raises(psycopg.DatabaseError, match="not submitted yet"):
            case.owner.execute(statement_)
    case.owner.execute(
        f"insert into submission values ({period}, 1, '2001-01-01', 'somebody', 'P', 'A') returning at, login"
    )
    at, login = case.owner.execute("select at, login from submission").fetchone()
    assert at.year > 2001
    assert login == case.owner.execute("select session_user").fetchone()[0]
    for table in (*STEPS, "verifier_key", "verifier_key_withdrawal"):
        for change in (f"update {table} set person = 'x'", f"delete from {table}", f"truncate {table} cascade"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                case.owner.execute(change)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        case.owner.execute("truncate period_revision cascade")
    with case.owner.transaction():
        case.owner.execute("set transaction isolation level repeatable read")
        with refused("read committed"), steps.refusals():
            case.owner.execute(steps_of_owner[2])
        raise psycopg.Rollback


@pytest.mark.parametrize(
    ("kind", "about", "said"),
    [
        ("CL", About(system="pv-9"), "has no system pv-9; it has pv-1"),
        ("CL", About(device="inv-1"), "has no device inv-1; name it as SITE/DEVICE"),
        ("CL", About(day=date(2021, 3, 11)), "2021-03-11 is not a day of revision 1"),
        ("CL", About(rule="register.gap"), "there is no rule register.gap"),
        ("CL", About(message_id=17), "there is no message 17"),
    ],
)
def test_a_finding_about_what_is_not_there_is_refused(case, kind, about, said):
    case.submit()
    with refused(said):
        case.raise_(kind, about=about)
    assert findings.findings(case.verifier, "P1") == []


def test_two_findings_at_once_get_two_numbers_and_an_attestation_waits_for_them(case):
    case.submit()
    signed = case.statement()
    start, said = Barrier(3, timeout=60), []

    def work(what):
        with connect(case.plant.url, Role.VERIFIER) as connection:
            start.wait()
            try:
                said.append(what(connection))
            except VerificationError as error:
                said.append(str(error))

    def raise_one(connection):
        return findings.raise_finding(connection, case.state(), "CAR", "x", About(), AUDITOR).label

    def attest(connection):
        attestation.attest(connection, case.state(), signed, case.key.sign(signed), AUDITOR)
        return "attested"

    threads = [Thread(target=work, args=(what,)) for what in (raise_one, raise_one, attest)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if "attested" in said:
        # Whoever was first may be the last to say so.
        numbers = sorted(entry for entry in said if entry.startswith("CAR-"))
        assert numbers == [f"CAR-{n + 1}" for n in range(len(numbers))]
        assert said.index("attested") <= 2
    else:
        assert {"CAR-1", "CAR-2"} < set(said)
    opened = case.owner.execute("select count(*) from finding f join attestation a using (period_id) where f.at > a.at")
    assert opened.fetchone()[0] == 0


def test_the_key_of_openssl_and_its_signature_are_taken(case, tmp_path):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    openssl("genpkey", "-algorithm", "ed25519", "-out", "verifier.pem")
    openssl("pkey", "-in", "verifier.pem", "-pubout", "-out", "verifier.pub.pem")
    now = datetime.now(UTC)
    public = keys.read_public((tmp_path / "verifier.pub.pem").read_bytes())
    keys.register(case.owner, public, TPE, now, now + timedelta(days=1), OWNER)
    case.submit()
    signed = case.statement()
    (tmp_path / "statement.json").write_bytes(signed)
    arguments = ("-inkey", "verifier.pem", "-in", "statement.json", "-out", "statement.sig")
    openssl("pkeyutl", "-sign", "-rawin", *arguments)
    signature = (tmp_path / "statement.sig").read_bytes()
    assert signature == keys.sign((tmp_path / "verifier.pem").read_bytes(), signed)
    done = attestation.attest(case.verifier, case.state(), signed, signature, AUDITOR)
    assert done.key.key_id == keys.key_id(public)


def test_the_statement_is_written_as_documented(case):
    """An independent reading of docs/verifiers.md."""
    import hashlib

    case.submit()
    case.raise_("FAR")
    text, digest, until = case.owner.execute(
        "select result, inputs_digest, to_char(received_until, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') from period_revision"
    ).fetchone()
    sha = hashlib.sha256(text.encode()).hexdigest()
    assert case.statement().decode() == (
        '{"er_tco2":7,'
        f'"inputs_digest":"{digest}",'
        '"methodology":{"id":"TH_AM001","version":"1.0"},'
        '"open_far":["FAR-1"],'
        '"period":{"from":"2021-03-01","to":"2021-03-10"},'
        '"project":"P1",'
        f'"received_until":"{until}+00:00",'
        f'"result_sha256":"sha256:{sha}",'
        '"revision":1,'
        '"statement":"jcm-mrv attestation 1",'
        '"systems":[{"id":"pv-1","years":[{"re_tco2":"7.656000","year":2021}]}],'
        '"vintages":[{"er_tco2":7,"year":2021}]}'
    )
    assert statement.read(case.statement())["project"] == "P1"


def test_a_login_of_the_verifier_alone_is_recorded_and_can_be_nothing_else(case):
    from psycopg import conninfo

    login = f"vera_{case.plant.url[-12:]}"
    case.owner.execute(f"create role {login} login password 'x' in role jcm_mrv_verifier")
    case.owner.execute("insert into login_project (login, project_id) values (%s, 'P1')", [login])
    url = conninfo.make_conninfo(case.plant.url, user=login, password="x")
    try:
        case.submit()
        with connect(url, Role.VERIFIER) as vera:
            found = findings.raise_finding(vera, case.state(), "CL", "why?", NOTHING, AUDITOR)
            assert found.signed.login == login
        actors = case.owner.execute("select actor from audit_event where action = 'finding.raised'").fetchall()
        assert actors == [(login,)]
        for other in (Role.PARTICIPANT, Role.MRV):
            with pytest.raises(SchemaError, match=f"this login may not act as {other.value}"):
                connect(url, other)
        with connect(url, Role.OWNER) as vera, pytest.raises(psycopg.errors.InsufficientPrivilege):
            vera.execute("insert into verifier_key default values")
    finally:
        case.owner.execute(f"drop role {login}")


def test_a_project_that_names_another_entity_or_none(case):
    case.submit()
    case.raise_("CL")
    case.raise_("CL")
    new = Author("N", "New Body")
    case.plant.apply(case.plant.toml.replace('title = "A test plant"', 'title = "A"\nthird_party_entity = "New Body"'))
    with refused("New Body is the third-party entity and may not respond"):
        case.respond("CL-1", author=new)
    case.respond("CL-1")
    with refused(f"only New Body, the third-party entity, may close a finding; not {TPE}"):
        case.close("CL-1")
    case.close("CL-1", author=new)
    with refused("CL-2 not closed"):
        case.attest()
    case.plant.apply(case.plant.toml)  # names none
    with refused(f"{TPE} is the third-party entity and may not respond"):
        case.respond("CL-2", author=AUDITOR)
    case.respond("CL-2")
    with refused(f"only {TPE}, the third-party entity, may close a finding; not New Body"):
        case.close("CL-2", author=new)
    case.close("CL-2")
    case.attest()
