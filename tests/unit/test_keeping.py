"""Backup's parts without a database: keys in a file, PostgreSQL's programs by version, a password in no argument."""

import io
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.errors import InputError, OutputError
from deploy.files import whole
from deploy.keeping import keys
from deploy.keeping.archive import DUMP, Manifest, Reader, Writer
from deploy.keeping.errors import BackupFileError, RestoreError, ToolError
from deploy.keeping.places import _named
from deploy.keeping.tools import environment_of, find_tool, running

PHRASE = b"correct horse battery"
URL = "postgresql://me:s3cr3t%40@db.example.org:6543/mrv?sslmode=require"


def tool(folder: Path, name: str, version: str | None) -> Path:
    folder.mkdir(exist_ok=True)
    said = f"echo '{name} (PostgreSQL) {version}'" if version else "exit 3"
    path = folder / name
    path.write_text(f"#!/bin/sh\n{said}\n")
    path.chmod(0o755)
    return path


def test_the_servers_version_is_taken_and_else_the_nearest_newer_one(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c", "d")]
    for folder, version in zip(folders, ("15.18 (Debian)", "18.1", "17.2", None), strict=True):
        tool(folder, "pg_dump", version)
    assert find_tool("pg_dump", 17, folders) == folders[2] / "pg_dump"
    assert find_tool("pg_dump", 16, folders) == folders[2] / "pg_dump"
    assert find_tool("pg_dump", 18, folders) == folders[1] / "pg_dump"
    with pytest.raises(
        ToolError, match=r"the server is PostgreSQL 17 and pg_dump is older here: .*a/pg_dump \(15\)"
    ) as said:
        find_tool("pg_dump", 17, folders[:1])
    assert str(said.value).endswith("install postgresql-client-17")
    with pytest.raises(ToolError, match="the server is PostgreSQL 17 and there is no pg_restore here"):
        find_tool("pg_restore", 17, folders)


def test_the_login_goes_into_the_environment():
    given = environment_of(URL)
    assert (given["PGPASSWORD"], given["PGUSER"], given["PGHOST"], given["PGPORT"], given["PGDATABASE"]) == (
        "s3cr3t@", "me", "db.example.org", "6543", "mrv",
    )  # fmt: skip
    assert given["PGSSLMODE"] == "require"


def test_a_program_that_fails_is_one_line(tmp_path):
    path = tmp_path / "pg_dump"
    path.write_text(
        "#!/bin/sh\necho 'pg_dump: warning: so what' >&2\necho 'pg_dump: error: no such thing' >&2\nexit 1\n"
    )
    path.chmod(0o755)
    with (
        pytest.raises(ToolError, match=r"^pg_dump failed: no such thing$"),
        running([str(path)], URL, writes=False) as out,
    ):
        assert out.read() == b""
    with pytest.raises(ToolError, match="no such thing"), running([str(path)], URL, writes=True) as stream:
        stream.write(b"x" * 10_000_000)
    with pytest.raises(ToolError, match="cannot be started"), running([str(tmp_path / "none")], URL, writes=False):
        pass


def test_a_program_sees_its_login_and_nobody_else_does(tmp_path):
    script = "import os, sys; print(os.environ['PGPASSWORD'], open('/proc/self/cmdline').read())"
    with running([sys.executable, "-c", script], URL, writes=False) as out:
        said = out.read().decode()
    assert said.startswith("s3cr3t@ ")
    assert "s3cr3t" not in said.removeprefix("s3cr3t@ ")


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    folder = tmp_path / "from"
    (folder / "authority" / "deep").mkdir(parents=True)
    for name, mode in (
        ("key.pem", 0o600),
        ("authority/ca.key", 0o600),
        ("authority/deep/x", 0o644),
        ("authority/lock", 0o600),
    ):
        (folder / name).write_bytes(name.encode() * 3)
        (folder / name).chmod(mode)
    return keys.collect(folder / "key.pem", folder / "authority")


@pytest.mark.parametrize("phrase", [None, PHRASE])
def test_keys_come_back_with_their_modes(files, phrase, tmp_path):
    assert list(files) == ["evidence-key.pem", "authority/ca.key", "authority/deep/x"]
    packed = keys.pack(files, phrase)
    assert (b"ca.key" in packed) == (phrase is None)
    found = keys.unpack(packed, phrase, sealed=phrase is not None)
    key, authority = tmp_path / "to" / "k.pem", tmp_path / "to" / "authority"
    written, same, other = keys.put(found, key, authority)
    assert (len(written), same, other) == (3, [], [])
    assert key.read_bytes() == b"key.pem" * 3
    assert key.stat().st_mode & 0o777 == 0o600
    assert (authority / "deep" / "x").stat().st_mode & 0o777 == 0o644
    assert keys.put(found, key, authority) == ([], written, [])


def test_of_an_authority_all_files_or_none(files, tmp_path):
    found = keys.unpack(keys.pack(files, None), None, sealed=False)
    authority = tmp_path / "to"
    authority.mkdir()
    (authority / "ca.key").write_bytes(b"another one's")
    written, same, other = keys.put(found, None, authority)
    assert (written, same) == ([], [])
    assert other == [authority / "ca.key", authority / "deep/x"]
    assert [path.name for path in authority.iterdir()] == ["ca.key"]


@settings(max_examples=4, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_bit_of_sealed_keys_is_told(at, bit):
    sealed = bytearray(SEALED)
    sealed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(BackupFileError):
        keys.unpack(bytes(sealed), PHRASE, sealed=True)


SEALED = keys.pack({"evidence-key.pem": Path(__file__)}, PHRASE)


def test_a_wrong_or_missing_passphrase_is_told():
    assert keys.unpack(SEALED, PHRASE, sealed=True)["evidence-key.pem"][0] == Path(__file__).read_bytes()
    with pytest.raises(BackupFileError, match="is not the one that"):
        keys.unpack(SEALED, b"another horse battery", sealed=True)
    with pytest.raises(BackupFileError, match="give --passphrase-file, or --without-keys"):
        keys.unpack(SEALED, None, sealed=True)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "authority/../../x"])
def test_a_key_that_would_go_elsewhere_is_refused(name):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(BackupFileError, match="which is no key file"):
        keys.unpack(held.getvalue(), None, sealed=False)


def test_a_passphrase_is_read_without_its_lines_end(tmp_path):
    path = tmp_path / "phrase"
    path.write_text("correct horse battery\r\n")
    assert keys.read_passphrase(path) == PHRASE
    assert keys.read_passphrase(None) is None
    path.write_text("short")
    with pytest.raises(InputError, match="has at least 12 characters"):
        keys.read_passphrase(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        keys.read_passphrase(tmp_path / "none")


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError), whole(out) as path:
        path.write_bytes(b"half" * (1 // 0))
    assert list(tmp_path.iterdir()) == []
    with whole(out) as path:
        path.write_bytes(b"all")
    assert out.read_bytes() == b"all"
    assert out.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OutputError, match="is a folder"), whole(tmp_path):
        pass


def manifest(writer: Writer, **changes) -> Manifest:
    given = {
        "made_at": "2026-01-01T00:00:00+00:00", "code_version": "1", "schema_version": 13, "postgresql": "17.5",
        "timescaledb": "2.19.3", "edition": "apache", "tables": {}, "hypertables": {}, "members": writer.members,
        "keys": None, "holds_private_keys": False,
    }  # fmt: skip
    return Manifest(**(given | changes))


def test_what_is_no_backup_is_told(tmp_path):
    path = tmp_path / "b"
    for content in (b"", b"no zip"):
        path.write_bytes(content)
        with pytest.raises(BackupFileError, match="is no whole backup"):
            Reader(path)
    with pytest.raises(BackupFileError, match="cannot be read: No such file"):
        Reader(tmp_path / "none")
    writer = Writer(path)
    with writer.member(DUMP) as member:
        member.write(b"a dump")
    writer.close(manifest(writer, format="jcm-mrv backup 2"))
    with pytest.raises(BackupFileError, match="is no jcm-mrv backup 1; restore it with the version that wrote it"):
        Reader(path)
    writer = Writer(path)
    writer.close(manifest(writer))
    Reader(path).check()


def test_a_member_that_is_missing_is_told(tmp_path):
    path = tmp_path / "b"
    writer = Writer(path)
    with writer.member(DUMP) as member:
        member.write(b"a dump")
    more = dict(writer.members) | {"keys.tar": writer.members[DUMP]}
    writer.close(manifest(writer, members=more))
    with pytest.raises(BackupFileError, match=r"keys\.tar is damaged"):
        Reader(path).check()


def test_where_to_is_a_name_or_an_address_without_a_password():
    assert environment_of(_named(URL, "drill"))["PGDATABASE"] == "drill"
    assert environment_of(_named(URL, "drill"))["PGPASSWORD"] == "s3cr3t@"
    same = environment_of(_named(URL, "postgresql://me@db.example.org:6543/drill"))
    assert (same["PGDATABASE"], same["PGPASSWORD"]) == ("drill", "s3cr3t@")
    other = environment_of(_named(URL, "postgresql://me@other.example.org/drill"))
    assert "PGPASSWORD" not in other
    for into, said in (("postgresql://me:pw@x/y", "`ps`"), ("postgresql://[", "cannot be read")):
        with pytest.raises(RestoreError, match=said) as caught:
            _named(URL, into)
        assert "pw" not in str(caught.value)
