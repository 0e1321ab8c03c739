"""The restore drill: real messages, sealed, frozen, exported, backed up, restored, exported again, held side by side.

`make drill` prints it; `test_backup.py` tests it.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path

from psycopg import conninfo

from deploy.local import LocalServers
from deploy.local import default_directory as local_directory
from tests.databases import Databases
from tests.forked import run_command
from tests.harness import collecting, forget_session, numbered, one, publish, wait_until
from tests.integration.conftest import Plant
from tests.integration.received import receive

ROOT = Path(__file__).resolve().parents[2]
PROJECT, SITE = "KEEP", "s-KEEP"
DAYS = (PROJECT, "2021-03-01", "2021-03-02")


class Installation:
    """A database with its keys, and the command line on it."""

    def __init__(self, url: str, admin: str, folder: Path, tell: Callable[[str], None] = lambda _line: None) -> None:
        self.url, self.folder, self._tell = url, folder, tell
        folder.mkdir(exist_ok=True)
        self.key, self.authority = folder / "key.pem", folder / "authority"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")},
            "JCM_MRV_DATABASE_URL": url,
            "JCM_MRV_DATABASE_ADMIN_URL": admin,
            "JCM_MRV_MQTT_URL": "mqtt://nobody:nothing@localhost:1",
            "JCM_MRV_EVIDENCE_KEY_FILE": str(self.key),
        }

    def run(self, *arguments, status=0, **more) -> subprocess.CompletedProcess:
        self._tell(f"$ jcm-mrv {' '.join(map(str, arguments))}")
        done = run_command(*arguments, environment=self.environment | more, cwd=ROOT)
        self._tell(done.stderr + done.stdout)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def another(self) -> "Installation":
        """Another installation, whose database is yet to be made."""
        name = f"test_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        url = conninfo.make_conninfo(self.url, dbname=name)
        admin = self.environment["JCM_MRV_DATABASE_ADMIN_URL"]
        return Installation(url, admin, self.folder.with_name(name), self._tell)


def prepare(here: Installation) -> subprocess.CompletedProcess:
    """Two days of a plant, sealed, frozen, with their bundle; return what the backup said."""
    folder = here.folder.parent
    plant = Plant(here.url, project=PROJECT)
    plant.apply(plant.toml)
    for number, (ts, wh) in enumerate(plant.days(date(2021, 3, 1), date(2021, 3, 2), hourly_wh=100_000.0)):
        said = json.dumps({"ts": ts.isoformat(), "points": {"TotWhExp": wh}}).encode()
        receive(plant.owner, [(f"jcm/v1/{plant.site}/inv-1/readings", said)], ts, first_id=number + 1)
    # The account as a collector would have written it, and its block of numbers.
    plant.owner.execute(
        "insert into ingest_account (site_id, collector, messages_received, messages_stored, readings_received,"
        " readings_stored, first_received_at, last_received_at)"
        " select site_id, collector, count(*), count(*), sum(readings), sum(readings), min(received_at),"
        " max(received_at) from message group by 1, 2"
    )
    plant.owner.execute("select nextval('message_id_seq')")
    plant.close()
    here.run("evidence", "keys", "--make")
    here.run("period", "freeze", *DAYS)
    here.run("evidence", "seal")
    here.run("evidence", "export", *DAYS, "--out", folder / "before.zip")
    here.run("device", "provision", "--server", "broker.test", "--ca", here.authority, "--out", folder / "broker")
    return here.run("backup", "--out", folder / "all.backup", "--ca", here.authority)


def collect_more(there: Installation, collector_url: str, site_url: str) -> None:
    """Let a collector go on where the backup ended."""
    with collecting(collector_url, there.url, "keeping-drill", topic_filter=f"jcm/v1/{SITE}/#"):
        publish(site_url, numbered(SITE, "inv-1", range(50)))
        wait_until(lambda: one(there.url, "select count(*) from message") == 99)
    forget_session(collector_url, "keeping-drill")


def main() -> None:
    """Print the drill."""
    began = time.monotonic()
    servers = LocalServers(local_directory() / "test", packages=local_directory() / "packages")
    servers.start()
    environment = servers.environment()
    databases = Databases(environment["JCM_MRV_DATABASE_URL"])
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)

        def tell(line: str) -> None:
            print(line.replace(f"{folder}/", "").rstrip(), flush=True)

        here = Installation(databases.new(migrated=True), servers.superuser_url(), folder / "here", tell)
        prepare(here)
        there = here.another()
        print("\n--- the machine is lost; a new database, no keys ---\n")
        there.run("restore", folder / "all.backup", "--ca", there.authority)
        there.run("evidence", "export", *DAYS, "--out", folder / "after.zip")
        public = folder / "public.pem"
        public.write_text(there.run("evidence", "keys").stdout)
        there.run("evidence", "verify", folder / "after.zip", "--key", public)
        for name in ("before.zip", "after.zip"):
            print(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}")
        assert (folder / "before.zip").read_bytes() == (folder / "after.zip").read_bytes()
        print("the same bundle, byte for byte\n")
        user, password = servers.site_credentials(SITE)
        mqtt = environment["JCM_MRV_MQTT_URL"]
        collect_more(there, mqtt, f"mqtt://{user}:{password}@{mqtt.rpartition('@')[2]}")
        there.run("status", "--recount")
        whole = (folder / "all.backup").read_bytes()
        at = len(whole) // 2
        (folder / "damaged.backup").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        another = here.another()
        another.run("restore", folder / "damaged.backup", "--without-keys", status=1)
        for one_of in (here, there):
            databases.drop(one_of.url)
    databases.close()
    print(f"the drill took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
