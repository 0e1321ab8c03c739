"""Backup and restore of real evidence: sealed, frozen, exported, dumped, restored, exported again."""

import json
import signal
import subprocess
import sys
import zipfile

import psycopg
import pytest
from psycopg import conninfo

from deploy.keeping.backup import backup
from deploy.keeping.content import mend_sequences
from tests.forked import run_command
from tests.harness import collecting, forget_session, numbered, one, publish, rows, wait_until
from tests.integration.keeping_drill import DAYS, ROOT, SITE, Installation, collect_more, prepare


@pytest.fixture(scope="module")
def made(databases, servers, tmp_path_factory):
    """An installation that was backed up."""
    folder = tmp_path_factory.mktemp("backup")
    here = Installation(databases.new(migrated=True), servers.superuser_url(), folder / "here")
    here.said, here.out = prepare(here), folder / "all.backup"
    yield here
    databases.drop(here.url)


@pytest.fixture
def there(made, databases):
    other = made.another()
    yield other
    databases.drop(other.url)


def test_the_drill(made, there, broker):
    assert made.out.stat().st_mode & 0o777 == 0o600
    assert "not encrypted: keep this file as a key is kept: evidence-key.pem, authority/ca.key" in made.said.stdout
    said = there.run("restore", made.out, "--ca", there.authority).stdout
    for line in (
        "the account holds over 49 messages and 49 readings, counted again",
        "3 seals: chained, each signed, and 49 messages lead to their roots",
        "revision 1 of KEEP 2021-03-01 to 2021-03-02: computed again, the same byte for byte",
        "hypertables with their chunks: device_event 0, message 3, reading 1, reading_part 0",
        f"{there.key}: written",
        "restored and verified",
    ):
        assert line in said, said
    assert there.key.read_bytes() == made.key.read_bytes()
    assert there.key.stat().st_mode & 0o777 == 0o600
    assert (there.authority / "issued.json").read_bytes() == (made.authority / "issued.json").read_bytes()

    out = there.folder / "after.zip"
    there.run("evidence", "export", *DAYS, "--out", out)
    assert out.read_bytes() == (made.folder.parent / "before.zip").read_bytes()
    public = there.folder / "public.pem"
    public.write_text(there.run("evidence", "keys").stdout)
    assert "signed by the key that was given" in there.run("evidence", "verify", out, "--key", public).stdout
    there.run("status", "--recount")
    owners = rows(
        there.url,
        "select distinct tableowner from pg_tables where schemaname = 'public' or tablename ~ 'hyper.*chunk$'",
    )
    assert owners == [("jcm_mrv",)]

    # New messages get new numbers and new chunks.
    collect_more(there, broker.collector_url, broker.site_url(SITE))
    assert one(there.url, "select count(distinct message_id) from message") == 99
    there.run("status", "--recount")


def test_a_database_that_is_not_empty_is_refused(made):
    said = made.run("restore", made.out, "--without-keys", status=1).stderr
    assert "is not empty; name another database with --into, it is made for you" in said


@pytest.mark.parametrize("name", ["template1", "postgres"])
def test_the_servers_own_databases_are_refused(made, name):
    said = made.run("restore", made.out, "--without-keys", "--into", name, status=1).stderr
    assert f"{name} is the server's own database; name another one with --into" in said


def test_an_empty_database_of_somebody_else_is_refused_before_it_is_touched(made, there, servers):
    name = conninfo.conninfo_to_dict(there.url)["dbname"]
    with psycopg.connect(
        conninfo.make_conninfo(servers.superuser_url(), dbname="postgres"), autocommit=True
    ) as connection:
        connection.execute(f'create database "{name}" template template0')
        said = there.run("restore", made.out, "--without-keys", status=1).stderr
        assert "is not this login's to create in; `alter database … owner to …`" in said
        assert not one(there.url, "select count(*) from pg_extension where extname = 'timescaledb'")
        connection.execute(f'drop database "{name}" with (force)')


def test_a_damaged_file_is_refused_before_the_database_is_touched(made, there, tmp_path):
    whole = made.out.read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    said = there.run("restore", tmp_path / "cut", status=1).stderr
    assert "is no whole backup: it was cut off, or is something else" in said
    with zipfile.ZipFile(made.out) as file:
        at = file.getinfo("database.dump").header_offset + 2000
    (tmp_path / "bit").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    said = there.run("restore", tmp_path / "bit", "--without-keys", status=1).stderr
    assert "database.dump is damaged; take another backup" in said
    changed = tmp_path / "changed"
    with zipfile.ZipFile(made.out) as file, zipfile.ZipFile(changed, "w") as other:
        for name in file.namelist():
            content = file.read(name)
            other.writestr(name, content[:-1] if name == "database.dump" else content)
    said = there.run("restore", changed, "--without-keys", status=1).stderr
    assert "database.dump is not what the manifest says" in said
    with psycopg.connect(conninfo.make_conninfo(there.url, dbname="jcm_mrv")) as connection:
        name = conninfo.conninfo_to_dict(there.url)["dbname"]
        assert connection.execute("select from pg_database where datname = %s", [name]).rowcount == 0


def changed_manifest(made, out, **changes):
    with zipfile.ZipFile(made.out) as file, zipfile.ZipFile(out, "w") as other:
        for name in file.namelist():
            content = file.read(name)
            if name == "manifest.json":
                content = json.dumps(json.loads(content) | changes).encode()
            other.writestr(name, content)
    return out


def test_another_timescaledb_or_a_newer_schema_is_refused_with_what_to_do(made, there, tmp_path):
    said = there.run(
        "restore", changed_manifest(made, tmp_path / "a", timescaledb="2.99.0"), "--without-keys", status=1
    )
    assert "the backup is of TimescaleDB 2.99.0" in said.stderr
    assert "install 2.99.0 there, restore, then `alter extension timescaledb update`" in said.stderr
    said = there.run("restore", changed_manifest(made, tmp_path / "b", schema_version=9999), "--without-keys", status=1)
    assert "the backup has schema 9999, this version knows 00" in said.stderr


def test_rows_that_are_not_those_of_the_manifest_are_told(made, there, tmp_path):
    with zipfile.ZipFile(made.out) as file:
        tables = json.loads(file.read("manifest.json"))["tables"]
    tables["message"]["rows"] += 1
    said = there.run("restore", changed_manifest(made, tmp_path / "a", tables=tables), "--without-keys", status=1)
    assert "message is not what was backed up: 50 rows were, 49 are there" in said.stderr


@pytest.mark.parametrize("moment", ["pieces", "_compare"])
def test_a_restore_that_did_not_end_is_told_by_every_command_and_mended(made, there, moment):
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(moment), "restore", str(made.out), "--without-keys"],
        env=there.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _, said = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, said
    for command in (["status"], ["migrate"]):
        said = there.run(*command, status=1).stderr
        assert "did not end; repeat it with `jcm-mrv restore FILE --again`" in said
    given = ("restore", made.out, "--without-keys", "--no-verify")
    assert "--again drops what it left and begins anew" in there.run(*given, status=1).stderr
    assert "collectors may go on" in there.run(*given, "--again").stdout
    assert "is not empty" in there.run(*given, "--again", status=1).stderr


# In the middle of the dump, and when it is in but not yet seen to be what it was.
KILLED = """
import os, signal
import deploy.keeping.restore as restore

def kill(source, *_more):
    if hasattr(source, "read"):
        yield source.read(20_000)
    os.kill(os.getpid(), signal.SIGKILL)

restore.{0} = kill if "{0}" == "pieces" else lambda *given: list(kill(*given))
from deploy.cli import main
main()
"""


def test_keys_are_sealed_with_a_passphrase_and_not_written_over_others(made, there, tmp_path):
    phrase, wrong, out = tmp_path / "phrase", tmp_path / "wrong", tmp_path / "sealed.backup"
    phrase.write_text("correct horse battery\n")
    wrong.write_text("another horse battery\n")
    said = made.run("backup", "--out", out, "--ca", made.authority, "--passphrase-file", phrase)
    assert "it holds private keys, sealed with the passphrase: evidence-key.pem" in said.stdout
    assert "is not in this backup" not in said.stderr
    assert b"PRIVATE KEY" not in out.read_bytes()
    assert b"PRIVATE KEY" in made.out.read_bytes()
    given = ("restore", out, "--ca", there.authority, "--no-verify")
    assert "give --passphrase-file, or --without-keys" in there.run(*given, status=1).stderr
    assert "not the one that" in there.run(*given, "--passphrase-file", wrong, status=1).stderr
    there.key.write_bytes(b"another key")
    there.authority.mkdir()
    (there.authority / "ca.pem").write_bytes(b"another authority")
    said = there.run(*given, "--passphrase-file", phrase).stdout
    assert f"{there.key}: left as it is, it is ANOTHER one" in said
    assert there.key.read_bytes() == b"another key"
    assert [path.name for path in there.authority.iterdir()] == ["ca.pem"]


def test_keys_that_are_not_where_they_are_looked_for_are_told(made, tmp_path):
    nowhere = tmp_path / "nowhere"
    made.run("backup", "--out", tmp_path / "x.backup", "--ca", nowhere, status=2)
    said = made.run("backup", "--out", tmp_path / "x.backup", JCM_MRV_AUTHORITY_DIR=str(nowhere)).stderr
    assert f"there is no certificate authority in {nowhere}, so it is not in this backup" in said
    assert "no evidence key" not in said


def test_a_backup_without_keys_says_so_and_a_password_is_in_no_argument(made, there, tmp_path):
    out = tmp_path / "bare.backup"
    said = made.run("backup", "--out", out, "--without-keys")
    assert "it holds no keys; keep a copy of the evidence key" in said.stdout
    with zipfile.ZipFile(out) as file:
        assert json.loads(file.read("manifest.json"))["holds_private_keys"] is False
    said = there.run("restore", out, "--into", there.url.replace(" ", "  "), status=1).stderr
    assert "--into has a password, which everybody here can see in `ps`" in said
    password = str(conninfo.conninfo_to_dict(made.url)["password"])
    assert password not in said


def test_no_login_of_a_superuser_is_told(made, there):
    said = there.run(
        "restore", made.out, "--without-keys", status=1, JCM_MRV_DATABASE_ADMIN_URL=conninfo.make_conninfo(made.url)
    )
    assert "can be restored by a superuser only; give the login of one in JCM_MRV_DATABASE_ADMIN_URL" in said.stderr


def test_a_backup_while_messages_come_is_of_one_moment(made, there, broker, tmp_path):
    """What a collector writes between two steps of a backup, and is not kept from writing, is in none of its parts."""
    out, before = tmp_path / "live.backup", one(made.url, "select count(*) from message")
    with collecting(broker.collector_url, made.url, "keeping-live", topic_filter=f"jcm/v1/{SITE}/#"):
        numbers = iter(range(1000, 2000))

        def come(said: str) -> None:
            more = [next(numbers) for _ in range(10)]
            publish(broker.site_url(SITE), numbered(SITE, "inv-1", more))
            wait_until(lambda: one(made.url, "select count(*) from message") == before + more[-1] - 999, what=said)

        manifest = backup(made.url, out, keys=None, code_version="1", tell=come)
    forget_session(broker.collector_url, "keeping-live")
    assert next(numbers) >= 1030
    assert manifest.tables["message"].rows == manifest.tables["reading"].rows == before
    there.run("restore", out, "--without-keys")
    assert one(there.url, "select count(*) from message") == before


def test_a_sequence_that_would_give_a_number_again_is_set(database):
    with psycopg.connect(database, autocommit=True) as connection:
        assert mend_sequences(connection)[1] == []
        connection.execute(
            "insert into audit_event (id, action, subject) overriding system value values (70, 'x', 'y');"
            "insert into message values (now(), 5000, now(), 't', '', '', 1, false, false, 'c', null, 'stored', 1)"
        )
        number, mended = mend_sequences(connection)
        assert (number > 5, mended) == (True, ["audit_event_id_seq", "message_id_seq"])
        assert connection.execute("select nextval('audit_event_id_seq'), nextval('message_id_seq')").fetchone() == (
            71, 6000,
        )  # fmt: skip
        assert mend_sequences(connection)[1] == []


def test_the_evidence_key_must_be_named_or_left_out(made, tmp_path):
    environment = {name: value for name, value in made.environment.items() if name != "JCM_MRV_EVIDENCE_KEY_FILE"}
    done = run_command("backup", "--out", tmp_path / "x", environment=environment, cwd=ROOT)
    assert done.returncode == 1
    assert "JCM_MRV_EVIDENCE_KEY_FILE is not set" in done.stderr
    assert done.stderr.endswith("; or say --without-keys\n")
    assert not list(tmp_path.iterdir())
