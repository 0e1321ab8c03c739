"""Sealing, export and verification on a real database; every way of tampering is found and named."""

import json
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from importlib import resources
from types import SimpleNamespace

import psycopg
import pytest

from devices.sparkplug import sparkplug_b_pb2
from mrv import periods
from mrv.basis import canonical_text
from mrv.errors import MrvError
from mrv.evidence.canonical import Commitments, Seal, message_leaf
from mrv.evidence.errors import BundleError, EvidenceError
from mrv.evidence.export import export
from mrv.evidence.keys import SigningKey, make_key
from mrv.evidence.merkle import EMPTY
from mrv.evidence.rows import Line
from mrv.evidence.sealing import seal_due
from mrv.evidence.verification import verify
from mrv.schedule import Schedule
from sql.connection import Role, connect
from tests import evidence_reader
from tests.integration.conftest import Plant
from tests.integration.received import receive

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 4)


def payload(ts: datetime, wh: float) -> bytes:
    return json.dumps({"ts": ts.isoformat(), "points": {"TotWhExp": wh, "W": 50000.0}}).encode()


def deliver(plant, *, site=None, device="inv-1", first_id=1000, first=FIRST, last=LAST) -> int:
    """Hourly readings of 100 kWh, received in batches of three an hour after the last."""
    topic = f"jcm/v1/{site or plant.site}/{device}/readings"
    rows = plant.days(first, last, hourly_wh=100_000.0)
    for start in range(0, len(rows), 3):
        some = rows[start : start + 3]
        receive(
            plant.owner,
            [(topic, payload(ts, wh)) for ts, wh in some],
            some[-1][0] + timedelta(hours=1),
            first_id=first_id + start,
        )
    return len(rows)


@pytest.fixture
def key(tmp_path) -> SigningKey:
    return make_key(tmp_path / "key.pem")


def make(plant, key, path, *, families=None, redacted=False, project="P1", days=(FIRST, LAST)):
    return export(
        plant.connection, project, days, None, path, key=key, code_version="test",
        families=families or {}, redacted=redacted,
    )  # fmt: skip


def prepare(plant, key) -> None:
    """Four days, 97 readings; another device's message stands beside them, and is needed by nothing."""
    deliver(plant)
    receive(plant.owner, [(f"jcm/v1/{plant.site}/unknown/readings", b"{}")], datetime(2021, 3, 2, 5, tzinfo=UTC),
            first_id=9000)  # fmt: skip
    receive(plant.owner, [("elsewhere", b"?")], datetime(2021, 3, 2, 6, tzinfo=UTC), first_id=9001)
    seal_due(plant.connection, key, code_version="test")
    periods.freeze(plant.connection, "P1", FIRST, LAST, code_version="test")


@pytest.fixture(scope="module")
def made(shared_database, tmp_path_factory):
    """The plant, its key, and both of its bundles, which no test changes."""
    folder = tmp_path_factory.mktemp("made")
    plant, key = Plant(shared_database), make_key(folder / "key.pem")
    plant.apply(plant.toml)
    prepare(plant, key)
    make(plant, key, folder / "full.zip")
    make(plant, key, folder / "redacted.zip", redacted=True)
    yield SimpleNamespace(plant=plant, key=key, folder=folder)
    plant.close()


@pytest.fixture
def bundle(made, tmp_path):
    """A copy of the full bundle."""
    return copied(made.folder / "full.zip", tmp_path)


@pytest.fixture
def redacted(made, tmp_path):
    """A copy of the redacted bundle."""
    return copied(made.folder / "redacted.zip", tmp_path)


def copied(path, folder):
    (folder / path.name).write_bytes(path.read_bytes())
    return folder / path.name


def test_a_bundle_verifies_and_is_the_same_each_time(made, bundle, tmp_path):
    plant, key = made.plant, made.key
    done = verify(bundle, [key.public])
    assert (done.er_tco2, done.readings, done.messages, done.sealed, done.days) == (3, 97, 97, 98, 5)
    assert (done.seals, done.trusted, done.unchecked) == (5, True, [])
    make(plant, key, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_the_second_reader_agrees(made, bundle, redacted):
    said = evidence_reader.check(bundle, made.key.public.raw)
    assert (said["er_tco2"], said["messages"], said["readings"], said["seals"]) == (3, 97, 97, 5)
    assert evidence_reader.check(redacted, made.key.public.raw)["er_tco2"] == 3


# --- tampering -------------------------------------------------------------------------------------------------------


def members(path) -> dict[str, str]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name).decode() for name in file.namelist()}


def write(path, content: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in content.items():
            file.writestr(name, text)


def signed_anew(content: dict[str, str], key: SigningKey) -> None:
    """What a forger with a key of their own can do: claim, keys and manifest made to fit."""
    claim = json.loads(content["claim.json"])
    registers = json.loads(content["registers.json"])
    for entry in registers:
        entry["sha256"] = sha256(content[entry["file"]].encode()).hexdigest()
    content["registers.json"] = canonical_text(registers)
    inputs = {name: sha256(content[name].encode()).hexdigest() for name in claim["inputs"]}
    claim |= {"key": key.public.id, "inputs": inputs}
    if "salts.json" in content:
        from mrv.evidence.documents import public_digest

        salt = bytes.fromhex(json.loads(content["salts.json"])["documents"])
        claim["documents"] = {name: public_digest(name, content[name], salt) for name in claim["documents"]}
    result = json.loads(content["result.json"])
    claim |= {"er_tco2": result["er_tco2"], "inputs_digest": result["inputs_digest"]}
    claim["vintages"] = {str(vintage["year"]): vintage["er_tco2"] for vintage in result["vintages"]}
    content["claim.json"] = canonical_text(claim)
    content["claim.sig"] = key.sign(content["claim.json"].encode()).hex()
    content["keys.json"] = canonical_text(json.loads(content["keys.json"]) | {key.public.id: key.public.raw.hex()})
    manifest = json.loads(content["manifest.json"]) | {"key": key.public.id}
    manifest["members"] = {
        name: {"sha256": sha256(text.encode()).hexdigest(), "size": len(text.encode())}
        for name, text in content.items()
        if not name.startswith("manifest.")
    }
    content["manifest.json"] = canonical_text(manifest)
    content["manifest.sig"] = key.sign(content["manifest.json"].encode()).hex()


def lines(content, name) -> list[str]:
    return content[name].splitlines(keepends=True)


def flipped_bit(content):
    some = lines(content, "messages/000002.jsonl")
    line = json.loads(some[3])
    line["payload"] = ("A" if line["payload"][9] != "A" else "B").join((line["payload"][:9], line["payload"][10:]))
    content["messages/000002.jsonl"] = "".join([*some[:3], canonical_text(line) + "\n", *some[4:]])


def changed_flag(content):
    content["messages/000002.jsonl"] = content["messages/000002.jsonl"].replace(
        '"retained":false', '"retained":true', 1
    )


def missing_message(content):
    some = lines(content, "messages/000002.jsonl")
    content["messages/000002.jsonl"] = "".join([*some[:3], *some[4:]])


def missing_with_its_reading(content):
    some = lines(content, "messages/000002.jsonl")
    number = json.loads(some[3])["message_id"]
    content["messages/000002.jsonl"] = "".join([*some[:3], *some[4:]])
    kept = [line for line in lines(content, "registers/0001.csv") if f",{number}," not in line]
    content["registers/0001.csv"] = "".join(kept)


def added_message(content):
    some = lines(content, "messages/000002.jsonl")
    line = json.loads(some[3]) | {"message_id": 1_000_000}
    content["messages/000002.jsonl"] = "".join([*some[:4], canonical_text(line) + "\n", *some[4:]])


def swapped_day(content):
    one, other = "messages/000002.jsonl", "messages/000003.jsonl"
    content[one], content[other] = content[other], content[one]


def swapped_messages(content):
    some = lines(content, "messages/000002.jsonl")
    content["messages/000002.jsonl"] = "".join([*some[:3], some[4], some[3], *some[5:]])


def swapped_places(content):
    some = lines(content, "messages/000002.jsonl")
    one, other = json.loads(some[3]), json.loads(some[4])
    one["place"], other["place"] = other["place"], one["place"]
    content["messages/000002.jsonl"] = "".join(
        [*some[:3], *(canonical_text(line) + "\n" for line in (one, other)), *some[5:]]
    )


def swapped_leaves(content):
    """Both payloads, with leaves that fit them."""
    some = lines(content, "messages/000002.jsonl")
    one, other = json.loads(some[3]), json.loads(some[4])
    one["payload"], other["payload"] = other["payload"], one["payload"]
    one["leaf"], other["leaf"] = other["leaf"], one["leaf"]
    content["messages/000002.jsonl"] = "".join(
        [*some[:3], *(canonical_text(line) + "\n" for line in (one, other)), *some[5:]]
    )


def another_truth(content):
    """A payload, its reading and its leaf changed together: who holds a full bundle holds the salts."""
    some = lines(content, "messages/000002.jsonl")
    line = Line.parse("s-P1", some[3])
    said = json.loads(line.message.payload)
    was, said["points"]["TotWhExp"] = said["points"]["TotWhExp"], said["points"]["TotWhExp"] + 1.0
    message = line.message._replace(payload=json.dumps(said).encode())
    salt = bytes.fromhex(json.loads(lines(content, "days.jsonl")[1])["salt"])
    leaf = message_leaf(message, Commitments.of(message, salt))
    content["messages/000002.jsonl"] = "".join([*some[:3], Line(line.place, leaf, message, None).line(), *some[4:]])
    content["registers/0001.csv"] = content["registers/0001.csv"].replace(f",{was!r},", f",{was + 1.0!r},", 1)


def changed_reading(content):
    content["registers/0001.csv"] = content["registers/0001.csv"].replace(",3001000.0,", ",3002000.0,")


def changed_factor(content):
    content["methodology.json"] = content["methodology.json"].replace('"value":"0.319"', '"value":"0.519"')


def changed_result(content):
    content["result.json"] = content["result.json"].replace('"er_tco2":3', '"er_tco2":4')


def changed_declaration(content):
    content["declaration.json"] = content["declaration.json"].replace('"capacity_kw":"200"', '"capacity_kw":"400"')


def edited_manifest(content):
    content["manifest.json"] = content["manifest.json"].replace('"revision":1', '"revision":2')


def removed_seal(content):
    some = lines(content, "seals.jsonl")
    content["seals.jsonl"] = "".join([*some[:2], *some[3:]])


def removed_last_seal(content):
    content["seals.jsonl"] = "".join(lines(content, "seals.jsonl")[:-1])


def changed_seal(content):
    content["seals.jsonl"] = content["seals.jsonl"].replace('\\"messages\\":25', '\\"messages\\":24')


def removed_member(content):
    del content["messages/000003.jsonl"]


def added_member(content):
    content["note.txt"] = "?"


NAIVE = [
    (flipped_bit, "message 1009 of 2021-03-01 (s-P1): payload does not match its leaf"),
    (changed_flag, "(s-P1): payload does not match its leaf, or topic or another field does not"),
    (missing_message, "message 1009 of 2021-03-01 (s-P1) is missing, and the reading of s-P1/inv-1 at"),
    (added_message, "message 1000000 of 2021-03-01 (s-P1) is at place 3, behind message 1009"),
    (swapped_day, "of 2021-03-02 (s-P1) stands among those of 2021-03-01 (s-P1)"),
    (swapped_messages, "is at place 3, behind message 1010 of 2021-03-01 (s-P1) at place 4"),
    (swapped_places, "is at place 3, behind message 1009 of 2021-03-01 (s-P1) at place 4"),
    (changed_reading, "does not follow from message 1030 of 2021-03-02 (s-P1): the register is 3001000.0 Wh there"),
    (changed_factor, "methodology.json was changed"),
    (changed_result, "result.json was changed"),
    (changed_declaration, "declaration.json was changed"),
    (edited_manifest, "manifest.json was changed: the signature (manifest.sig)"),
    (removed_seal, "continues that of 2021-03-02, but the bundle has that of 2021-03-01 before it"),
    (removed_last_seal, "there is no seal of 2021-03-04 (s-P1)"),
    (changed_seal, "was changed: the signature of key"),
    (removed_member, "messages/000003.jsonl is missing from the bundle"),
    (added_member, "note.txt is not in the manifest"),
]
FOUND_OTHERWISE = {
    changed_factor, changed_result, changed_declaration, edited_manifest, removed_member, added_member,
}  # fmt: skip
FORGED = [
    *(one for one in NAIVE if one[0] not in FOUND_OTHERWISE),
    (missing_with_its_reading, "messages of 2021-03-01 (s-P1), place 3 of"),
    (swapped_leaves, "payload does not match its leaf"),
    (another_truth, "the messages of 2021-03-01 (s-P1) and their proof do not give the sealed root"),
    (changed_factor, "the digest of the inputs is sha256:"),
    (changed_declaration, "the digest of the inputs is sha256:"),
    (changed_result, "result.json does not recompute: er_tco2 was 4, is 3"),
]


@pytest.mark.parametrize(("tamper", "said"), NAIVE)
def test_tampering_is_found_and_named(made, bundle, tamper, said):
    key = made.key
    content = members(bundle)
    tamper(content)
    assert content != members(bundle)
    write(bundle, content)
    for trusted in ([key.public], []):
        with pytest.raises(BundleError) as found:
            verify(bundle, trusted)
        assert said in str(found.value)
    with pytest.raises(evidence_reader.WrongError):
        evidence_reader.check(bundle, key.public.raw)


@pytest.mark.parametrize(("tamper", "said"), FORGED)
def test_a_forger_who_signs_everything_anew_is_found_by_the_seals_and_the_arithmetic(bundle, tmp_path, tamper, said):
    content = members(bundle)
    tamper(content)
    signed_anew(content, make_key(tmp_path / "forger.pem"))
    write(bundle, content)
    with pytest.raises(BundleError) as found:
        verify(bundle)
    assert said in str(found.value)


def test_another_key_is_named(made, bundle, tmp_path):
    key = made.key
    forger = make_key(tmp_path / "forger.pem")
    content = members(bundle)
    signed_anew(content, forger)
    write(bundle, content)
    assert verify(bundle).trusted is False
    with pytest.raises(BundleError, match=f"manifest.json is signed by key {forger.public.id[:16]}, not by the key"):
        verify(bundle, [key.public])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_named(bundle, share):
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BundleError, match=r"full.zip is no whole zip file"):
        verify(bundle)


def test_every_flipped_bit_of_the_file_is_found(made, bundle):
    """A hundred of them; those in the zip's own times and flags change no content."""
    whole = bundle.read_bytes()
    unseen = 0
    for at in range(11, len(whole), len(whole) // 100):
        bundle.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            verify(bundle, [made.key.public])
        except BundleError:
            continue
        unseen += 1
        bundle.with_name("flipped.zip").write_bytes(bundle.read_bytes())
        bundle.write_bytes(whole)
        assert members(bundle.with_name("flipped.zip")) == members(bundle)
    assert unseen < 30


# --- redacted --------------------------------------------------------------------------------------------------------


def test_the_redacted_bundle_shows_nothing_confidential_and_still_verifies(made, bundle, redacted):
    path = redacted
    done = verify(path, [made.key.public])
    assert (done.er_tco2, done.redacted, done.messages) == (3, True, 97)
    assert len(done.unchecked) == 2
    content = members(path)
    assert content["claim.json"] == members(bundle)["claim.json"]
    everything = "".join(content.values())
    assert "jcm/v1" not in everything
    assert '"participants":[' not in everything
    assert "salt" not in everything


def test_the_redacted_bundle_of_a_site_with_coordinates_verifies(plant, key, tmp_path):
    """The rules of the sky are computed again from them; without them 27 values of the result were others."""
    plant.apply(plant.toml.replace("time_zone =", "latitude = 13.7\nlongitude = 100.5\ntime_zone ="))
    prepare(plant, key)
    make(plant, key, tmp_path / "redacted.zip", redacted=True)
    assert verify(tmp_path / "redacted.zip", [key.public]).redacted
    result = json.loads(members(tmp_path / "redacted.zip")["result.json"])
    assert "quality.night_energy@1" in result["quality"]["rules"]
    evidence_reader.check(tmp_path / "redacted.zip", key.public.raw)


def test_tampering_with_the_redacted_bundle_is_found(made, redacted):
    path, key = redacted, made.key
    whole = members(path)
    for tamper, said in (
        (missing_message, "is missing, and"),
        (changed_flag, "does not match its leaf"),
        (changed_result, "result.json was changed"),
        (changed_reading, "registers/0001.csv was changed"),
    ):
        content = dict(whole)
        tamper(content)
        write(path, content)
        with pytest.raises(BundleError, match=said):
            verify(path, [key.public])


# --- seals -----------------------------------------------------------------------------------------------------------


def seals(plant) -> list[Seal]:
    rows = plant.owner.execute("select statement from seal order by site_id, day")
    return [Seal.from_statement(statement) for (statement,) in rows]


def test_each_site_has_a_chain_and_a_silent_day_is_stated(plant, key):
    topic = f"jcm/v1/{plant.site}/inv-1/readings"
    at = datetime(2021, 3, 1, 23, 59, 59, 999999, UTC)
    receive(plant.owner, [(topic, payload(at, 5000.0)), ("strange", b"")], at, first_id=10)
    receive(plant.owner, [(topic, payload(at + timedelta(days=3), 6000.0))], at + timedelta(days=3), first_id=20)
    done = seal_due(plant.connection, key, code_version="test")
    assert (done.days, done.seals, done.messages) == (2, 3, 3)
    nobody, first, second = seals(plant)
    assert (nobody.site, nobody.messages, first.site) == ("", 1, plant.site)
    assert (first.previous, second.previous, second.previous_day) == (None, first.sha256, first.day)
    assert first.root != EMPTY
    assert seal_due(plant.connection, key, code_version="test").days == 0
    assert len(seals(plant)) == 3


def test_a_day_that_is_not_over_is_not_sealed(plant, key):
    now = plant.owner.execute("select clock_timestamp()").fetchone()[0]
    receive(plant.owner, [("strange", b"1")], now - timedelta(days=1), first_id=1)
    receive(plant.owner, [("strange", b"2")], now, first_id=2)
    assert seal_due(plant.connection, key, code_version="test").days == 1
    assert [seal.day for seal in seals(plant)] == [(now - timedelta(days=1)).date()]


def test_sealing_waits_for_a_batch_that_is_being_written(plant, key, database):
    receive(plant.owner, [("strange", b"1")], datetime(2021, 3, 1, tzinfo=UTC), first_id=1)
    # The pool ends after the lock that its thread may wait for.
    with ThreadPoolExecutor(1) as pool, connect(database, Role.COLLECTOR) as collector:
        collector.execute("begin")
        collector.execute("select pg_advisory_xact_lock_shared(hashtext('jcm-mrv batch'))")
        done = pool.submit(seal_due, plant.connection, key, code_version="test")
        with pytest.raises(TimeoutError):
            done.result(timeout=0.5)
        collector.execute("commit")
        assert done.result(timeout=60).days == 1


def test_two_that_seal_at_once_seal_each_day_once(plant, key, database):
    for day in range(1, 6):
        receive(plant.owner, [("strange", b"1")], datetime(2021, 3, day, tzinfo=UTC), first_id=day)
    with connect(database, Role.MRV) as other, ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(seal_due, one, key, code_version="test") for one in (plant.connection, other)]
        assert sum(run.result(timeout=60).days for run in runs) == 5
    chain = seals(plant)
    assert [seal.previous for seal in chain[1:]] == [seal.sha256 for seal in chain[:-1]]


def test_the_schedule_seals_once_a_day(plant, key):
    receive(plant.owner, [("strange", b"1")], datetime(2021, 3, 1, tzinfo=UTC), first_id=1)
    work = Schedule(lambda: connect(plant.url, Role.MRV), name="a", code_version="test", sealing_key=key)
    assert (work.run_until_done(), len(seals(plant))) == (1, 1)
    assert work.run_until_done() == 0
    receive(plant.owner, [("strange", b"1")], datetime(2021, 3, 2, tzinfo=UTC), first_id=2)
    plant.owner.execute("update message set payload = '?' where message_id = 2")
    plant.owner.execute("update job_run set period_start = period_start - interval '1 day' where job = 'seal'")
    assert work.run_until_done() == 0
    ((said,),) = plant.owner.execute("select failure from job_run where job = 'seal' and finished_at is null")
    assert "message 2 of 2021-03-02" in said


@pytest.mark.parametrize("table", ["seal", "signing_key", "evidence_salt"])
@pytest.mark.parametrize("statement", ["delete from {}", "truncate {} cascade", "update {} set ctid = ctid"])
def test_seals_are_append_only_for_the_owner_too(plant, table, statement):
    with pytest.raises(psycopg.Error, match=r"append-only|cannot"):
        plant.owner.execute(statement.format(table))


def test_a_payload_that_was_changed_before_its_day_was_sealed_is_named(plant, key):
    receive(plant.owner, [("strange", b"1")], datetime(2021, 3, 1, tzinfo=UTC), first_id=77)
    plant.owner.execute("update message set payload = 'x'")
    with pytest.raises(EvidenceError, match=r"message 77 of 2021-03-01 \(no declared site\) is not what was received"):
        seal_due(plant.connection, key, code_version="test")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("update message set payload = payload || ' ' where message_id = 1009", "are not what was sealed"),
        ("delete from message where message_id = 9000", "does not recompute"),
        ("delete from message where message_id = 1009", "does not recompute"),
        (
            "update reading set energy_exported_wh = energy_exported_wh + 9 where message_id = 1009",
            "does not recompute",
        ),
    ],
)
def test_what_was_changed_in_the_database_after_sealing_is_not_exported(plant, key, tmp_path, change, said):
    prepare(plant, key)
    plant.owner.execute(change)
    with pytest.raises(MrvError) as found:
        make(plant, key, tmp_path / "x.zip")
    assert said in str(found.value)


def test_without_a_seal_there_is_no_bundle(plant, key, tmp_path):
    deliver(plant)
    periods.freeze(plant.connection, "P1", FIRST, LAST, code_version="test")
    with pytest.raises(EvidenceError, match=r"nothing is sealed yet"):
        make(plant, key, tmp_path / "x.zip")


# --- families --------------------------------------------------------------------------------------------------------

FAMILIES = {
    name: resources.files("devices").joinpath("profiles", f"{name}.toml").read_text(encoding="utf-8")
    for name in ("opendtu", "growatt-grott", "sparkplug-b")
}
AT = datetime(2021, 3, 2, 3, tzinfo=UTC)


def foreign(plant, family: str, address: str, register: str = "") -> None:
    head = plant.toml.split("[[device]]")[0]
    plant.apply(
        head
        + f"""
[[device]]
id = "inv-1"
site = "{plant.site}"
pv_system = "pv-1"
kind = "inverter"
profile = "{family}"
address = {address}
rated_power_w = 100_000
{register}
serial_number = "SN-4711"
installed = 2019-01-01
"""
    )


def bundle_of(plant, key, path, days=(FIRST, LAST)):
    seal_due(plant.connection, key, code_version="test")
    periods.freeze(plant.connection, "P1", *days, code_version="test")
    make(plant, key, path, families=FAMILIES, days=days)
    return path


def reading_replaced(path, key) -> None:
    """The first register of the bundle raised by a watt-hour, everything signed anew with the service's own key."""
    content = members(path)
    head, first, *rest = content["registers/0001.csv"].splitlines(keepends=True)
    cells = first.split(",")
    cells[1] = repr(float(cells[1]) + 1.0)
    content["registers/0001.csv"] = "".join([head, ",".join(cells), *rest])
    signed_anew(content, key)
    write(path, content)


def opendtu(plant) -> None:
    foreign(plant, "opendtu", '{ serial = "116482923311" }')
    for number in range(4):
        at = AT + number * timedelta(hours=1)
        fields = {"status/last_update": int(at.timestamp()) - 2, "0/power": 9000, "0/yieldtotal": 100.0 + 9 * number}
        given = [(f"jcm/v1/{plant.site}/via/solar/116482923311/{name}", str(value).encode())
                 for name, value in fields.items()]  # fmt: skip
        receive(plant.owner, given, at, first_id=100 * (number + 1), every=timedelta(milliseconds=100))


def growatt(plant) -> None:
    """A family whose message may come without a time of its own."""
    foreign(plant, "growatt-grott", '{ serial = "NTCL000001" }')
    for number in range(4):
        at = AT + number * timedelta(hours=1)
        said = {"device": "NTCL000001", "time": f"{at:%Y-%m-%dT%H:%M:%S}", "buffered": "no",
                "values": {"pvstatus": 1, "pvenergytotal": 1000 + 90 * number, "pvpowerout": 90000}}  # fmt: skip
        topic = f"jcm/v1/{plant.site}/via/energy/growatt"
        receive(plant.owner, [(topic, json.dumps(said).encode())], at, first_id=100 * (number + 1))


def sparkplug(plant) -> tuple[date, date]:
    vectors = tomllib.loads(FAMILIES["sparkplug-b"])["vector"]
    vector = next(one for one in vectors if one["about"] == "births, then data by alias")
    address = ", ".join(f'{name} = "{value}"' for name, value in vector["address"].items())
    foreign(plant, "sparkplug-b", f"{{ {address} }}", 'register = { point = "TotWhExp", bits = 64 }')
    given = [(f"jcm/v1/{plant.site}/via/{one['topic']}", bytes.fromhex(one["payload_hex"]))
             for one in vector["messages"]]  # fmt: skip
    at = vector["arrived_at"] + timedelta(minutes=1)
    receive(plant.owner, given, at, first_id=100, every=timedelta(milliseconds=100))
    return at.date(), at.date()


def sparkplug_long_after_its_birth(plant) -> tuple[date, date]:
    """Data by alias alone, days after the births, whose own readings no register rule reaches back to."""
    born, _ = sparkplug(plant)
    vectors = tomllib.loads(FAMILIES["sparkplug-b"])["vector"]
    birth = next(one for one in vectors if one["about"] == "births, then data by alias")["messages"]
    data = sparkplug_b_pb2.Payload.FromString(bytes.fromhex(birth[2]["payload_hex"]))
    given = [(f"jcm/v1/{plant.site}/via/{one['topic']}", bytes.fromhex(one["payload_hex"])) for one in birth[:2]]
    begin = datetime(born.year, born.month, born.day, tzinfo=UTC)
    for hour in range(24, 120):
        at = begin + timedelta(hours=hour)
        data.timestamp = int(at.timestamp() * 1000)
        for metric in data.metrics:
            metric.timestamp = data.timestamp
        data.metrics[0].long_value += 10
        # Each with the births before it, which tell what the aliases mean; only the data is written.
        written = (f"jcm/v1/{plant.site}/via/{birth[2]['topic']}", data.SerializeToString())
        receive(plant.owner, [*given, written], at + timedelta(minutes=1), first_id=1000 + 10 * hour, skip=2)
    return born + timedelta(days=3), born + timedelta(days=4)


@pytest.mark.parametrize("family", [opendtu, growatt, sparkplug, sparkplug_long_after_its_birth])
def test_readings_of_foreign_families_follow_from_their_messages(plant, key, tmp_path, family):
    days = family(plant) or (FIRST, LAST)
    assert plant.owner.execute("select count(*) from reading where energy_exported_wh is not null").fetchone()[0]
    path = bundle_of(plant, key, tmp_path / "foreign.zip", days)
    done = verify(path, [key.public])
    assert done.readings > 0
    reading_replaced(path, key)
    with pytest.raises(BundleError, match=r"the reading of s-P1/inv-1 at .* does not follow from"):
        verify(path, [key.public])


def test_serial_numbers_are_withheld_from_the_public(plant, key, tmp_path):
    opendtu(plant)
    bundle_of(plant, key, tmp_path / "full.zip")
    make(plant, key, tmp_path / "redacted.zip", redacted=True)
    assert verify(tmp_path / "redacted.zip", [key.public]).redacted
    everything = "".join(members(tmp_path / "redacted.zip").values())
    assert "SN-4711" not in everything
    assert "116482923311" not in everything
    assert "SN-4711" in "".join(members(tmp_path / "full.zip").values())
