"""Keys of a backup that somebody else wrote."""

import io
import tarfile
from pathlib import Path

import pytest

from deploy.keeping import keys as key_files
from deploy.keeping.errors import BackupFileError


@pytest.mark.parametrize("name", ["authority//{}", "authority/../../{}", "/{}", "authority/a/../../../{}"])
def test_keys_of_a_backup_are_written_nowhere_else(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere" / "authorized_keys"
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        info = tarfile.TarInfo(name.format(elsewhere))
        info.size = 3
        tar.addfile(info, io.BytesIO(b"bad"))
    with pytest.raises(BackupFileError):
        key_files.put(
            key_files.unpack(held.getvalue(), None, sealed=False), tmp_path / "own" / "key.pem", tmp_path / "own" / "ca"
        )
    assert not elsewhere.exists()
