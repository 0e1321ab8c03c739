"""Files that commands write: whole or not at all."""

import os
import stat

import pytest

from deploy.files import OutputError, write_whole


def test_writes_with_the_rights_of_any_new_file(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, b"new")
    (tmp_path / "b").write_bytes(b"")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_replaces_what_a_link_points_to(tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "old").read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def no_space(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OutputError, match=r"a\.json cannot be written: No space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    (tmp_path / "out").symlink_to(f"/dev/fd/{write_end}")
    write_whole(tmp_path / "out", b"new")
    assert os.read(read_end, 10) == b"new"
    os.close(read_end)
    os.close(write_end)


def test_says_what_is_wrong_with_the_place(tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        write_whole(tmp_path / "missing" / "a.json", b"new")
    with pytest.raises(OutputError, match="is a folder"):
        write_whole(tmp_path, b"new")
