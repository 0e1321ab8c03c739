"""What an instance keeps about itself, and where."""

import base64
import hashlib
import os
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import LocalServersError
from deploy.local import LocalServers, place, progress_for
from deploy.local.mosquitto import ACCESS, access_file, password_file, password_hash
from deploy.local.packages import digest, find_packages
from deploy.local.place import make_directory, reachable_directory, write_private
from deploy.local.probe import connect_packet, mqtt_connack
from deploy.local.progress import PlainProgress
from deploy.local.state import State, free_port, is_free, read_state, write_state


def test_state_is_kept_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read_state(path) is None
    state = State()
    assert state.add_site("site-1")
    assert not state.add_site("site-1")
    write_state(path, state)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_state(path) == state
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_damaged_state_is_said_without_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"owner_password": "hush", "postgres_port": "x"}')
    with pytest.raises(LocalServersError, match="damaged") as raised:
        read_state(path)
    assert "hush" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_a_state_that_somebody_else_wrote_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_state(path, State())
    os.chown(path, 1, 1)
    with pytest.raises(LocalServersError, match="belongs to somebody else"):
        read_state(path)


def test_two_instances_share_no_password() -> None:
    first, second = State(), State()
    passwords = {first.superuser_password, first.owner_password, first.collector_password}
    passwords |= {second.superuser_password, second.owner_password, second.collector_password}
    assert len(passwords) == 6
    assert first.instance != second.instance


@given(password=st.text(min_size=1, max_size=40), salt=st.binary(min_size=12, max_size=12))
def test_the_hash_is_mosquittos(password: str, salt: bytes) -> None:
    kind, iterations, encoded_salt, encoded_hash = password_hash(password, salt).split("$")[1:]
    assert (kind, iterations) == ("7", "101")
    assert base64.b64decode(encoded_salt) == salt
    assert base64.b64decode(encoded_hash) == hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)


def test_the_same_password_hashes_differently_for_two_users() -> None:
    lines = password_file({"b": "same", "a": "same"}).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["a", "b"]
    assert len({line.partition(":")[2] for line in lines}) == 2


def rules(text: str) -> list[tuple[str, str]]:
    """Each line of an ACL with whom it is for."""
    found, who = [], ""
    for line in text.splitlines():
        if line.startswith("user "):
            who = line.removeprefix("user ")
        elif line and not line.startswith("#"):
            found.append(("", line) if line.startswith("pattern ") else (who, line))
    return found


def test_who_may_write_what_is_this_and_no_more() -> None:
    asked = [
        ("collector", "topic write spBv1.0/+/NCMD/#"),
        ("collector", "topic write spBv1.0/STATE/#"),
        ("collector", "topic write jcm/v1/+/via/spBv1.0/+/NCMD/#"),
    ]
    site = [("", "pattern write jcm/v1/%u/#")]
    # "topic x" without "read" or "write" gives both.
    found = [(who, rule) for who, rule in rules(ACCESS) if rule.split()[1] != "read"]
    assert found == [*asked, ("publisher", "topic write #"), *site]


def test_a_site_reads_what_its_own_sparkplug_nodes_are_asked_and_nothing_else() -> None:
    assert [rule for who, rule in rules(ACCESS) if who != "collector" and rule.split()[1] == "read"] == [
        "pattern read jcm/v1/%u/via/spBv1.0/+/NCMD/#",
        "pattern read spBv1.0/STATE/+",
    ]


def test_the_shipped_acl_is_that_of_the_local_broker_without_its_publisher() -> None:
    shipped = (Path(__file__).resolve().parents[2] / "deploy/mosquitto/acl").read_text()
    assert rules(shipped) == [(who, rule) for who, rule in rules(ACCESS) if who != "publisher"]


def test_topics_of_its_own_are_for_that_site_alone() -> None:
    text = access_file({"b": ["shellies/b/#"], "a": ["x/+/y", "z"]})
    assert text.startswith(ACCESS)
    assert rules(text)[len(rules(ACCESS)) :] == [
        ("a", "topic write x/+/y"), ("a", "topic write z"), ("b", "topic write shellies/b/#")
    ]  # fmt: skip


def test_a_site_has_exactly_the_topics_it_was_last_given() -> None:
    state = State()
    assert state.add_site("s")
    assert not state.add_site("s")
    # An older version reads a state without any, and this one what an older one wrote.
    assert "site_filters" not in state.model_dump_json()
    password = state.site_passwords["s"]
    assert state.add_site("s", ["a/#", "b"])
    assert not state.add_site("s", ["a/#", "b"])
    assert not state.add_site("s")
    assert State.model_validate_json(state.model_dump_json()).site_filters == {"s": ["a/#", "b"]}
    assert state.add_site("s", ["b"])
    assert state.site_filters == {"s": ["b"]}
    assert state.add_site("s", [])
    assert state.site_filters == {}
    assert state.site_passwords == {"s": password}


def test_a_connect_packet_is_as_the_standard_says() -> None:
    # MQTT 3.1.1, 3.1: fixed header, "MQTT" 4, flags user+password+clean, keep-alive, client id, user, password.
    assert connect_packet("u", "pw") == b"\x10\x13\x00\x04MQTT\x04\xc2\x00\x05\x00\x00\x00\x01u\x00\x02pw"
    long = connect_packet("u", "p" * 200)
    assert long[1:3] == bytes([(len(long) - 3) % 128 | 128, (len(long) - 3) // 128])


def test_a_port_where_nobody_listens_does_not_answer() -> None:
    assert mqtt_connack("127.0.0.1", free_port(), "u", "p", timeout_s=0.5) is None


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not is_free(taken.getsockname()[1])
    assert 20_000 <= free_port() < 32_000


def test_a_private_file_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "file.part").symlink_to(victim)
    (tmp_path / "file").symlink_to(victim)
    write_private(tmp_path / "file", "secret")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "file").is_symlink()


def test_a_folder_that_is_a_link_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(LocalServersError, match="--dir"):
            make_directory(tmp_path / name, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as somebody else")
def test_a_folder_below_a_private_one_is_replaced_for_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    user = place.server_user(tmp_path / "nothing")
    assert user is not None
    assert user.uid != 0
    moved = reachable_directory(tmp_path / "a", user)
    assert moved.parent == place._FALLBACK_PARENT
    assert moved == reachable_directory(tmp_path / "a", user)
    assert moved != reachable_directory(tmp_path / "b", user)
    tmp_path.chmod(0o755)
    with_parents = [tmp_path, *tmp_path.parents]
    if all(path.stat().st_mode & 0o001 for path in with_parents):
        assert reachable_directory(tmp_path / "a", user) == tmp_path / "a"
    assert reachable_directory(tmp_path / "a", None) == tmp_path / "a"


def test_the_default_folder_follows_the_setting_or_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JCM_MRV_LOCAL_DIR", raising=False)
    assert place.default_directory() == Path(__file__).resolve().parents[2] / ".local"
    monkeypatch.setenv("JCM_MRV_LOCAL_DIR", str(tmp_path))
    assert place.default_directory() == tmp_path


def test_an_incomplete_or_moved_package_folder_is_not_there(tmp_path: Path) -> None:
    import json

    folder = tmp_path / "trixie-amd64-1"
    root = folder / "root"
    root.mkdir(parents=True)
    assert find_packages(tmp_path) is None
    listed = [{"name": "mosquitto", "version": "2.0.21-1", "sha256": "00"}]
    content = {"root": str(root), "digest": digest(listed), "packages": listed}
    (folder / "packages.json").write_text(json.dumps(content))
    found = find_packages(tmp_path)
    assert found is not None
    assert found.versions == {"mosquitto": "2.0.21-1"}
    folder.rename(tmp_path / "trixie-arm64-1")
    assert find_packages(tmp_path) is None
    (tmp_path / "trixie-arm64-1" / "packages.json").write_text("{")
    assert find_packages(tmp_path) is None


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    servers = LocalServers(tmp_path / "never", packages=tmp_path / "packages")
    status = servers.status()
    assert not status.running
    assert status.postgres.port is None
    servers.stop()
    servers.reset()
    assert list(tmp_path.iterdir()) == []


def test_plain_progress_says_each_quarter_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = progress_for()
    assert isinstance(progress, PlainProgress)
    progress.step("downloading")
    for done in range(0, 101, 5):
        progress.download(done * 1_000_000, 100_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "downloading",
        "  25.0 of 100.0 MB",
        "  50.0 of 100.0 MB",
        "  75.0 of 100.0 MB",
        "  100.0 of 100.0 MB",
    ]
