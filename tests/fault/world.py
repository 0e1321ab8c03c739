"""What a fault run needs: servers of its own, links that can be cut, gateways, collectors, and the final account."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from deploy.local import LocalServers
from deploy.local.processes import wait_until as wait_for
from deploy.local.state import PUBLISHER, State
from ingest import health
from sql.migrator import migrate
from tests.fault.gateways import START_MS, Plan, Progress
from tests.fault.link import Link
from tests.harness import CollectorProcess, declare, forget_session, one, rows, temporary_file, wait_until

DEVICE = "inv-1"
SITES = 40


class Servers:
    """A TimescaleDB and a Mosquitto of the fault suite's own, and the faults that can hit them."""

    def __init__(self, local: LocalServers) -> None:
        self.local = local
        environment = local.environment()
        self.admin = environment["JCM_MRV_DATABASE_URL"]
        self.mqtt = environment["JCM_MRV_MQTT_URL"]
        self.database_link = Link(lambda: ("127.0.0.1", self.state.postgres_port))
        self.broker_link = Link(lambda: ("127.0.0.1", self.state.mosquitto_port))
        self.queue = local.directory / "mosquitto" / "queue.db"

    @property
    def state(self) -> State:
        return self.local._known_state()

    @property
    def broker(self) -> str:
        return urlsplit(self.mqtt).netloc.rpartition("@")[2]

    def start(self) -> None:
        """What a supervisor does: start what was killed."""
        self.local.start()

    def close(self) -> None:
        self.database_link.close()
        self.broker_link.close()
        self.local.reset()

    def site_url(self, site: str) -> str:
        user, password = self.local.site_credentials(site)
        return f"mqtt://{user}:{password}@{self.broker}"

    def superuser(self) -> psycopg.Connection:
        parts = urlsplit(self.admin)
        return psycopg.connect(
            host="127.0.0.1", port=parts.port, user="postgres", password=self.state.superuser_password,
            dbname="postgres", autocommit=True,
        )  # fmt: skip

    def new_database(self, tablespace: str = "") -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.admin, autocommit=True) as connection:
            where = f"tablespace {tablespace}" if tablespace else ""
            connection.execute(f"create database {name} template template0 {where}")
        url = urlsplit(self.admin)._replace(path=f"/{name}").geturl()
        migrate(url, code_version="test")
        return url

    def linked_database(self, url: str) -> str:
        """The same database through the link."""
        parts = urlsplit(url)
        account = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{account}@127.0.0.1:{self.database_link.port}").geturl()

    @property
    def linked_mqtt(self) -> str:
        parts = urlsplit(self.mqtt)
        account = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{account}@127.0.0.1:{self.broker_link.port}").geturl()

    def kill_postgres(self) -> None:
        pid = self.local._servers()[0].pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def kill_mosquitto(self) -> float:
        """Kill the broker; give the moment."""
        pid = self.local._servers()[1].pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return time.monotonic()

    def stop_postgres(self) -> None:
        self.local._servers()[0].stop(self.state)

    def stop_mosquitto(self) -> None:
        self.local._servers()[1].stop()

    def lose_sessions(self) -> None:
        """Take away what the broker knows of its clients, while it is down."""
        for path in self.queue.parent.glob("queue.db*"):
            path.unlink()


class Load:
    """The gateways' process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._log = temporary_file("jcm-mrv-gateways-", ".log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fault.gateways"],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
        self._process.stdin.flush()

    def allow(self, readings: int) -> None:
        """Let so many be published in all."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % readings)
        self._process.stdin.flush()

    def progress(self) -> Progress:
        assert self._process.poll() is None, self._log.read_text()[-4000:]
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - 1000))
            lines = log.read().splitlines()
        # The last line may be half written.
        for line in reversed(lines):
            with suppress(ValueError, TypeError):
                return Progress(**json.loads(line))
        return Progress()

    def end(self) -> None:
        # Closes its input, which ends it, and waits; one that has ended has an open end here all the same.
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        finally:
            self._log.unlink(missing_ok=True)


@dataclass
class Result:
    """One line of the table: readings, but for `sent` and `repeated`, which are messages."""

    kind: str
    seed: int
    hits: int
    published: int
    acknowledged: int
    sent: int
    stored: int
    duplicate: int
    conflict: int
    quarantined: int
    lost: int
    seconds: float
    balanced: bool
    note: str = ""


class World:
    """One run: a database of its own, gateways, and one collector behind links that can be cut."""

    def __init__(
        self, servers: Servers, readings: int, seed: int, *, rate: float, careful: bool = True, url: str = "",
        settings: dict[str, str] | None = None, sites: int = SITES, first: float = 1.0,
    ) -> None:  # fmt: skip
        self.servers = servers
        # Without sessions of earlier runs: a snapshot may bring one back that was ended since, and to a gateway it is
        # somebody who subscribes.
        servers.stop_mosquitto()
        servers.lose_sessions()
        servers.start()
        self.seed = seed
        self.name = f"run-{uuid.uuid4().hex[:8]}"
        self.url = url or servers.new_database()
        self.sites = [f"fault-{number:02}" for number in range(sites)]
        for site in self.sites:
            declare(self.url, site, [DEVICE])
        self.collector = CollectorProcess(
            servers.linked_mqtt, servers.linked_database(self.url), f"collector-{self.name}", settings or {}
        )
        self.record = temporary_file("jcm-mrv-acknowledged-")
        state = servers.state
        self.plan = Plan(
            host="127.0.0.1", port=state.mosquitto_port, user=PUBLISHER, password=state.publisher_password,
            name=self.name, sites=self.sites, device=DEVICE, readings=readings, rate=rate, careful=careful, seed=seed,
            record=str(self.record), most=round(first * readings),
        )  # fmt: skip
        self.load: Load | None = None
        self.hits = 0
        self.began = time.monotonic()

    def start_collector(self) -> None:
        self.collector.start(connected=False)
        self.supervise()

    def supervise(self) -> None:
        """Start a collector that ended at its start until it runs, as a supervisor does."""
        deadline = time.monotonic() + 60
        while True:
            wait_until(lambda: "collector_started" in self.collector.events() or self.collector.ended())
            if not self.collector.ended():
                return
            assert time.monotonic() < deadline, self.collector.log.read_text()[-2000:]
            time.sleep(1)
            self.collector.start(connected=False)

    def begin(self) -> None:
        self.start_collector()
        self.load = Load(self.plan)

    def allow(self, part: float) -> None:
        """Let the gateways go on until this part of all readings is published, where `first` or this held them."""
        assert self.load is not None
        self.load.allow(round(part * self.plan.readings))

    def reach(self, part: float, timeout_s: float = 900) -> None:
        """Wait until this part of all readings was published."""
        wait_until(lambda: self.progress().published >= part * self.plan.readings, timeout_s, f"{part:.0%} published")

    def progress(self) -> Progress:
        assert self.load is not None
        return self.load.progress()

    def received(self) -> int:
        return one(self.url, "select coalesce(sum(readings_received), 0)::bigint from ingest_account")

    def stored(self) -> int:
        return one(self.url, "select coalesce(sum(readings_stored), 0)::bigint from ingest_account")

    def settle(self, timeout_s: float = 600) -> None:
        """Wait until the gateways have no more to say and nothing more arrives; nobody does anything meanwhile."""
        wait_until(lambda: self.progress().done, timeout_s, "all acknowledged to the gateways")
        deadline = time.monotonic() + timeout_s
        last, quiet_since = self.received(), time.monotonic()
        # A collector that comes back takes up to 10 s, a broker up to 5 s to write its queue.
        while time.monotonic() - quiet_since < (1.0 if self.stored() >= self.plan.readings else 45):
            assert time.monotonic() < deadline
            time.sleep(0.1)
            now = self.received()
            if now != last:
                last, quiet_since = now, time.monotonic()

    def account(self, kind: str, note: str = "") -> Result:
        """End the collector and count."""
        progress = self.progress()
        assert self.load is not None
        self.load.end()
        self.collector.send(signal.SIGTERM)
        assert self.collector.wait() == 0, self.collector.log.read_text()[-4000:]
        with psycopg.connect(self.url, autocommit=True) as connection:
            state = health.health(connection, recount=True)
        _, readings = state.total()
        # A row counts only when it is what the gateway sent for this number, and stands under the number's own time.
        right = one(
            self.url,
            "select count(distinct (device_id, seq)) from reading where ts = to_timestamp(%s / 1000.0 + seq)"
            " and energy_exported_wh = 1000 + seq and power_w = 100.5 and seq between 0 and %s",
            START_MS, self.plan.share - 1,
        )  # fmt: skip
        found = one(self.url, "select count(*) from reading")
        assert found == right == readings.stored
        return Result(
            kind, self.seed, self.hits, progress.published, progress.acknowledged, progress.sent, right,
            readings.duplicate, readings.conflict, readings.quarantined, progress.acknowledged - right,
            round(time.monotonic() - self.began, 1), state.balanced, note,
        )  # fmt: skip

    def lost(self) -> list[float]:
        """When each reading that is acknowledged and not stored was acknowledged (CLOCK_MONOTONIC)."""
        acknowledged = array("d")
        acknowledged.frombytes(self.record.read_bytes())
        times = []
        for number, site in enumerate(self.sites):
            there = {
                row[0]
                for row in rows(
                    self.url, "select seq from reading join device d using (device_id) where d.site_id = %s", site
                )
            }
            share = acknowledged[number * self.plan.share : (number + 1) * self.plan.share]
            times += [at for seq, at in enumerate(share) if at and seq not in there]
        return times

    def close(self) -> None:
        if self.load is not None:
            self.load.end()
        self.collector.close()
        self.servers.start()
        self.servers.broker_link.mend(reset=True)
        self.servers.database_link.mend(reset=True)
        forget_session(self.servers.mqtt, self.collector.client_id)
        self.record.unlink(missing_ok=True)


@contextmanager
def small_disk(servers: Servers, megabytes: int) -> Iterator[Path]:
    """A tmpfs that PostgreSQL can write to, as a tablespace `small`; needs root."""
    folder = servers.local.directory / "small"
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        owner = (servers.local.directory / "postgres").stat()
        inner = folder / "tablespace"
        inner.mkdir(mode=0o700)
        os.chown(folder, owner.st_uid, owner.st_gid)
        os.chown(inner, owner.st_uid, owner.st_gid)
        with servers.superuser() as connection:
            connection.execute(f"create tablespace small location '{inner}'")
            connection.execute("grant create on tablespace small to public")
        yield folder
    finally:
        servers.start()
        with servers.superuser() as connection:
            for (name,) in connection.execute(
                "select datname from pg_database d join pg_tablespace t on t.oid = d.dattablespace"
                " where spcname = 'small'"
            ).fetchall():
                connection.execute(f"drop database {name} with (force)")
            connection.execute("drop tablespace if exists small")
        wait_for(lambda: subprocess.run(["umount", folder], check=False, capture_output=True).returncode == 0, 60)
        shutil.rmtree(folder, ignore_errors=True)
