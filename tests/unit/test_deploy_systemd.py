"""The systemd units, as systemd itself reads and judges them."""

import configparser
import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))
PROGRAM = "/opt/jcm-mrv/bin/jcm-mrv"
# systemd's own scale: 0 is closed, 10 open; below 2 nothing is left but the network, which each of them needs.
MOST_EXPOSED = 2.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: apt-get install systemd"
)


class Unit(configparser.RawConfigParser):
    """A unit; of a key that stands several times, all values."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None, dict_type=dict)
        self.optionxform = str
        self.text = path.read_text(encoding="utf-8")
        self.read_string(self.text)

    def all(self, key: str) -> list[str]:
        return re.findall(rf"^{key}=(.*)$", self.text, re.MULTILINE)


def analyze(*arguments: object, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def units(tmp_path) -> Path:
    """The units, with a program that is there."""
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, sys.executable))
    return tmp_path


@needs_systemd
def test_systemd_has_nothing_against_them(units):
    done = analyze("verify", "--man=no", *sorted(units.iterdir()), folder=units)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_a_wrong_line_would_be_seen(units):
    path = units / "jcm-mrv-serve.service"
    path.write_text(path.read_text().replace("ProtectHome=yes", "ProtectHomes=yes"))
    assert "ProtectHomes" in analyze("verify", "--man=no", path, folder=units).stderr


@needs_systemd
@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_little_of_the_machine_is_exposed(path, units):
    said = analyze("security", "--offline=true", "--no-pager", units / path.name, folder=units).stdout
    assert float(re.findall(r"exposure level for .*: ([0-9.]+)", said)[0]) <= MOST_EXPOSED


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_is_watched_and_started_again(path):
    service = Unit(path)["Service"]
    if service["Type"] == "oneshot":
        assert service["Restart"] == "on-failure"
        return
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 60, "the collector's own patience is 30 s"
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"] == "2"


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_secrets_are_handed_over_by_systemd(path):
    unit = Unit(path)
    handed = {one.split(":")[0] for one in unit.all("LoadCredential")}
    used = set(re.findall(r"=%d/(\w+)", unit.text))
    assert handed == used
    assert handed


def test_only_the_migration_has_the_owners_login():
    has = {path.name for path in SERVICES if "owner-database-url" in path.read_text(encoding="utf-8")}
    assert has == {"jcm-mrv-migrate.service"}


def test_the_program_works_where_no_memory_may_become_code():
    """`MemoryDenyWriteExecute=`: what numpy, pandas, pyarrow, cryptography and the pages are made with does without."""
    refuse, deny = 65, 1  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0:
        pytest.skip("the kernel is older than 6.3")
    code = (
        f"import ctypes, mmap; assert ctypes.CDLL(None).prctl({refuse}, {deny}, 0, 0, 0) == 0\n"
        "try: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "except OSError: pass\n"
        "else: raise SystemExit('memory became code')\n"
        "import numpy, pandas, pyarrow, pvlib, cryptography.hazmat.primitives.asymmetric.ed25519 as e, deploy.web.app\n"
        "e.Ed25519PrivateKey.generate().sign(b'x'); numpy.linalg.inv(numpy.eye(200)); pandas.Series([1.0]).mean()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
