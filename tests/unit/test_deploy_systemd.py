"""The systemd units, as systemd itself reads and judges them."""

import configparser
import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.site_files import SITE_FOLDER, gateway_toml

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
    used = set(re.findall(r"=%d/([\w.]+)", unit.text))
    assert handed == used
    # The authority's folder is the unit's own.
    assert bool(handed) == (path.name != "jcm-mrv-crl.service")


def test_only_the_migration_has_the_owners_login():
    has = {path.name for path in SERVICES if "owner-database-url" in path.read_text(encoding="utf-8")}
    assert has == {"jcm-mrv-migrate.service", "jcm-mrv-backup.service"}


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_only_what_is_roots_is_done_as_root_and_without_roots_rights(path):
    service = Unit(path)["Service"]
    rights = {"jcm-mrv-backup.service": "", "jcm-mrv-crl.service": "CAP_DAC_READ_SEARCH CAP_KILL CAP_SETUID CAP_SETGID"}
    assert ("DynamicUser" in service) == (path.name not in rights)
    assert service["CapabilityBoundingSet"] == rights.get(path.name, "")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.timer")), ids=lambda path: path.name)
def test_a_timer_starts_a_service_that_ends(path):
    timer = Unit(path)
    assert Unit(path.with_suffix(".service"))["Service"]["Type"] == "oneshot"
    assert (timer["Timer"]["Persistent"], timer["Timer"]["RandomizedDelaySec"]) == ("true", "30min")
    assert timer["Install"]["WantedBy"] == "timers.target"


def test_a_site_follows_the_guide_with_the_shipped_unit():
    """The files and settings of docs/gateway.md and of what `device provision` writes."""
    unit = Unit(FOLDER / "jcm-mrv-gateway.service")
    guide = (FOLDER.parents[1] / "docs" / "gateway.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (LoadCredential=.*|Environment=.*)$", guide, re.MULTILINE)
    assert len(lines) == 3
    assert set(lines) <= set(unit.text.splitlines())
    (spool,) = re.findall(r'^spool = "/var/lib/(.*)/', gateway_toml("site-1", []), re.MULTILINE)
    assert unit["Service"]["StateDirectory"] == spool
    assert f"LoadCredential=client.key:{SITE_FOLDER}/client.key" in lines


def test_old_backups_go_after_a_new_one(tmp_path):
    """The unit's own commands, with a program in the place of ours and a folder in the place of systemd's."""
    service = Unit(FOLDER / "jcm-mrv-backup.service")["Service"]
    folder, program = tmp_path / "jcm-mrv-backup", tmp_path / "program"
    folder.mkdir()
    program.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    program.chmod(0o755)

    def run(command: str) -> list[str]:
        for one, other in (("%S", str(tmp_path)), ("%%", "%"), ("$$", "$"), ("${KEEP_DAYS}", "14"), (PROGRAM, program)):
            command = command.replace(one, str(other))
        words = shlex.split(command)
        environment = {"BACKUP_OPTIONS": "--passphrase-file /etc/p", "PATH": "/usr/bin:/bin"}
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    said = run(service["ExecStart"])
    assert re.fullmatch(rf"{folder}/\d{{4}}-\d\d-\d\d\.backup", said.pop(2))
    assert said == ["backup", "--out", "--passphrase-file", "/etc/p"]
    for name, age in (("new.backup", 0), ("14.backup", 14), ("16.backup", 16), ("16.other", 16)):
        (folder / name).touch()
        then = time.time() - age * 86_400 - 60
        os.utime(folder / name, (then, then))
    run(service["ExecStartPost"])
    assert {path.name for path in folder.iterdir()} == {"new.backup", "14.backup", "16.other"}


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv (util-linux)")
def test_a_backup_finds_its_programs_as_root_without_roots_rights():
    """As jcm-mrv-backup.service runs: as root, which may not become the user of the local servers to look."""
    code = "from deploy.keeping.tools import find_tool\nprint(find_tool('pg_dump', 1))"
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", sys.executable, "-c", code]
    done = subprocess.run(bare, capture_output=True, text=True, check=False, timeout=60)
    # Where there is none, it is said so.
    assert done.returncode == 0 or "install postgresql-client-1" in done.stderr, done.stderr


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
