"""`jcm-mrv serve` as it is run, on a database with the demo's real measurements, with somebody for each role."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg

from deploy.access import accounts, tokens
from deploy.access.principal import AccountRole, Scope
from deploy.alerts.config import parse as parse_alerts
from deploy.alerts.service import Alerting
from deploy.registry import apply
from devices import demo_site
from devices.declaration_file import parse
from mrv import periods
from mrv.evidence.keys import make_key
from mrv.evidence.sealing import seal_due
from mrv.verification import steps
from mrv.verification.steps import Author
from sql.connection import Role, connect
from tests.integration.conftest import Plant
from tests.integration.received import receive

DEMO, OTHER = demo_site.PROJECT, "OTHER"
FIRST, LAST = demo_site.period()
REPORT = f"/projects/{DEMO}/{FIRST}/{LAST}/r2"
ENTITY = "Demonstration Certification Body"
# A meter that was calibrated, and once too late, so that there is a time line to see.
_CALIBRATION = """
[[device.calibration]]
performed = 2021-12-20
valid_until = 2022-01-04
error_percent = "0.2"
laboratory = "Metering Laboratory"
certificate = "ML-2021-117"
"""
_LATE = datetime(2022, 1, 4, 18, tzinfo=UTC), datetime(2022, 1, 4, 20, tzinfo=UTC)
_PEOPLE = {
    "verifier": ("V. Auditor", ENTITY, AccountRole.VERIFIER, DEMO, (Scope.READ, Scope.EVIDENCE, Scope.VERIFY)),
    "participant": (
        "P. Engineer", "Demonstration Plant Co., Ltd.", AccountRole.PARTICIPANT, DEMO,
        (Scope.READ, Scope.EVIDENCE, Scope.VERIFY),
    ),
    "operator": ("O. Watch", "MRV service", AccountRole.OPERATOR, None, (Scope.READ, Scope.EVIDENCE, Scope.OPERATE)),
}  # fmt: skip
_ALERTS = """
[rules.site_silent]
for_s = 1
[rules.schedule_missed]
off = true
[rules.disk_filling]
off = true
"""


@dataclass(frozen=True)
class Product:
    """A running server, what it shows, and how to sign in."""

    url: str
    database: str
    tokens: dict[str, str]
    """By role."""
    live_site: str
    """A site of `OTHER` that nobody else's messages are about."""
    log: Path

    def declare_device(self, device: str) -> None:
        """Declare an inverter of the live site."""
        text = _live(self.live_site, "inv-1", device)
        with connect(self.database, Role.OWNER) as owner:
            apply(owner, [("live.toml", parse(text, Path("live.toml")))])


@contextmanager
def running(database: str, folder: Path) -> Iterator[Product]:
    """Fill a migrated database and serve it."""
    live_site = f"roof-{uuid.uuid4().hex[:8]}"
    _fill(database, folder, live_site)
    issued = _people(database)
    log = folder / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "serve", "--port", "0"],
            env={name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")}
            | {
                "JCM_MRV_DATABASE_URL": database,
                "JCM_MRV_EVIDENCE_KEY_FILE": str(folder / "key.pem"),
                "JCM_MRV_LOG_FORMAT": "json",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        product = Product(_started(process, log), database, issued, live_site, log)
        yield product
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _started(process: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + 60
    while True:
        for line in log.read_text().splitlines(keepends=True):
            if '"web_server_started"' in line and line.endswith("\n"):
                return str(json.loads(line)["served_at"])
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def _people(database: str) -> dict[str, str]:
    issued = {}
    with connect(database, Role.SERVICE) as connection:
        for name, (person, organisation, role, project, scopes) in _PEOPLE.items():
            accounts.add(connection, name, person, organisation)
            accounts.grant(connection, name, role, project)
            issued[name] = tokens.issue(connection, name, "browser", scopes, timedelta(days=1)).token
    return issued


def _fill(database: str, folder: Path, live_site: str) -> None:
    key = make_key(folder / "key.pem")
    declaration = demo_site.declaration().replace(
        'serial_number = "simulated-1"\ninstalled = 2022-01-01\n',
        f'serial_number = "simulated-1"\ninstalled = 2022-01-01\n{_CALIBRATION}',
    )
    with (
        closing(Plant(database, project=OTHER)) as other,
        connect(database, Role.OWNER) as owner,
        connect(database, Role.MRV) as mrv,
    ):
        apply(owner, [("demo.toml", parse(declaration, Path("demo.toml")))])
        other.apply(other.toml)
        apply(owner, [("live.toml", parse(_live(live_site, "inv-1"), Path("live.toml")))])
        late = _receive_demo(owner)
        other.insert(other.days(date(2021, 3, 1), date(2021, 3, 2), hourly_wh=100_000.0))
        seal_due(mrv, key, code_version="test")
        periods.freeze(mrv, DEMO, FIRST, LAST, code_version="test")
        periods.freeze(mrv, OTHER, date(2021, 3, 1), date(2021, 3, 2), code_version="test")
        receive(owner, late, datetime.now(UTC), first_id=50_000)
        _account(owner)
        _offer_again(owner)
        periods.freeze(mrv, DEMO, FIRST, LAST, code_version="test")
        with connect(database, Role.PARTICIPANT) as participant:
            state = steps.state_of(participant, DEMO, FIRST, LAST)
            steps.submit(participant, state, Author("P. Engineer", "Demonstration Plant Co., Ltd."))
    alerting = Alerting(lambda: connect(database, Role.MRV), parse_alerts(_ALERTS, Path("alerts.toml")))
    alerting.evaluate()
    time.sleep(1.05)
    alerting.evaluate()


def _receive_demo(owner: psycopg.Connection) -> list[tuple[str, bytes]]:
    """Write the demo's messages hour by hour as they were measured; return those that shall come late."""
    hours: dict[datetime, list[tuple[str, bytes]]] = {}
    late = []
    for topic, payload in demo_site.payloads():
        measured = datetime.fromisoformat(payload[7:27].decode())
        if "meter-rsf-ii" in topic and datetime(2022, 1, 4, 18, tzinfo=UTC) <= measured < datetime(
            2022, 1, 4, 20, tzinfo=UTC
        ):
            late.append((topic, payload))
        else:
            hours.setdefault(measured.replace(minute=0) + timedelta(hours=1), []).append((topic, payload))
    number = 1
    for at, messages in sorted(hours.items()):
        receive(owner, messages, at, first_id=number)
        number += len(messages)
    return late


def _account(owner: psycopg.Connection) -> None:
    """What the collector would have counted of them."""
    owner.execute(
        "insert into ingest_account (site_id, collector, first_received_at, last_received_at, messages_received,"
        " messages_stored, readings_received, readings_stored)"
        " select site_id, 'c1', min(received_at), max(received_at) filter (where received_at < '2023-01-01'), count(*),"
        " count(*), count(*), count(*) from message group by site_id"
    )


def _offer_again(owner: psycopg.Connection) -> None:
    """Another value for a device and time that has one."""
    owner.execute(
        "insert into reading_conflict (device_id, ts, received_at, message_id, element, stored, offered)"
        " select device_id, ts, now(), message_id, 0, '{\"power_w\": 100000}', '{\"power_w\": 99000}'"
        " from reading join device using (device_id)"
        " where device.id = 'meter-rsf-ii' and power_w > 100000 order by ts limit 1"
    )


def _live(site: str, *inverters: str) -> str:
    text = f"""
[project]
id = "LIVE"
title = "A roof that sends now"
host_country = "THA"
methodology = "TH_AM001"
methodology_version = "1.0"
crediting_period = {{ from = 2019-01-01, to = 2039-12-31 }}
participants = [{{ name = "A", country = "THA" }}, {{ name = "B", country = "JPN" }}]

[[site]]
id = "{site}"
name = "Roof"
time_zone = "Asia/Bangkok"

[[pv_system]]
id = "pv-roof"
site = "{site}"
capacity_kw = 200
connection = "grid"
credited_by = ["*"]
"""
    for inverter in inverters:
        text += f"""
[[device]]
id = "{inverter}"
site = "{site}"
pv_system = "pv-roof"
kind = "inverter"
rated_power_w = 100_000
register = {{ point = "TotWhExp", bits = 64 }}
installed = 2019-01-01
"""
    return text
