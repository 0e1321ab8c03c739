"""How the parts stand that readings pass: collectors and their windows, the broker, the database, the schedule."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic, TypeVar

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from devices.errors import DevicesError
from devices.listener import listen
from devices.mqtt_url import BrokerAddress
from sql.named import load

_PATIENCE_S = 1.0
_LISTEN_S = 0.6
_SYS_MOST = 200

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class CollectorStatus:
    """What a collector says of itself at its health address."""

    address: str
    reachable: bool
    said: str
    """What failed, else nothing."""
    broker_connected: bool = False
    database_connected: bool = False
    standby: bool = False
    window: int = 0
    """Receive Maximum [messages]."""
    unacknowledged: int = 0
    """Messages in flight; at the window the broker sends no more."""
    received: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class CollectorRow:
    """What a collector committed, by its client id."""

    name: str
    messages: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """The database's own word."""

    postgresql: str
    timescaledb: str
    edition: str
    bytes: int
    connections: int
    most_connections: int
    started: datetime
    schema: int
    migrated: datetime
    last_sealed_day: date | None
    open_jobs: int
    failed_jobs: int
    last_job: datetime | None
    answered_ms: float
    """How long these answers took."""


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What a broker says under `$SYS`."""

    reachable: bool
    said: str
    version: str = ""
    uptime: str = ""
    clients_connected: str = ""
    messages_stored: str = ""
    bytes_stored: str = ""
    dropped: str = ""


def collector_status(address: str) -> CollectorStatus:
    """Ask a collector at its health address, as http://127.0.0.1:9464."""
    try:
        answer = httpx.get(f"{address.rstrip('/')}/metrics", timeout=_PATIENCE_S)
        answer.raise_for_status()
        return _from_metrics(address, answer.text)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return CollectorStatus(address, reachable=False, said=str(error) or type(error).__name__)


def _from_metrics(address: str, text: str) -> CollectorStatus:
    values: dict[str, float] = {}
    version = ""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
            version = sample.labels.get("version", version)
    return CollectorStatus(
        address,
        reachable=True,
        said="",
        broker_connected=bool(values.get("jcm_mrv_broker_connected")),
        database_connected=bool(values.get("jcm_mrv_database_connected")),
        standby=bool(values.get("jcm_mrv_standby")),
        window=int(values.get("jcm_mrv_window_messages", 0)),
        unacknowledged=int(values.get("jcm_mrv_unacknowledged_messages", 0)),
        received=int(values.get("jcm_mrv_messages_received_total", 0)),
        version=version,
    )


def collector_statuses(addresses: Iterable[str]) -> list[CollectorStatus]:
    """Ask all of them at once."""
    asked = list(addresses)
    if not asked:
        return []
    with ThreadPoolExecutor(min(8, len(asked))) as pool:
        return list(pool.map(collector_status, asked))


def collector_rows(connection: psycopg.Connection) -> list[CollectorRow]:
    """Read what each collector committed, the latest first."""
    return [CollectorRow(*row) for row in connection.execute(load("operator")["collectors"])]


def database_status(connection: psycopg.Connection) -> DatabaseStatus:
    """Ask the database about itself."""
    queries = load("operator")
    begun = time.perf_counter()
    server, size, used, most, started, extension, licence = _row(connection, queries["server"])
    schema, migrated = _row(connection, queries["schema"])
    (sealed,) = _row(connection, queries["seals"])
    open_jobs, last_job, failed = _row(connection, queries["jobs"])
    return DatabaseStatus(
        postgresql=server,
        timescaledb=extension or "",
        edition="Community" if licence == "timescale" else "Apache-2",
        bytes=size,
        connections=used,
        most_connections=most,
        started=started,
        schema=schema,
        migrated=migrated,
        last_sealed_day=sealed,
        open_jobs=open_jobs,
        failed_jobs=failed,
        last_job=last_job,
        answered_ms=(time.perf_counter() - begun) * 1000,
    )


def _row(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 - aggregates and selects without from have one row
    return tuple(row)


def broker_status(address: BrokerAddress) -> BrokerStatus:
    """Ask the broker about itself: what it keeps under `$SYS` comes as soon as it is subscribed to."""
    try:
        heard = listen(address, "$SYS/broker/#", seconds=_LISTEN_S, most=_SYS_MOST)
    except DevicesError as error:
        return BrokerStatus(reachable=False, said=str(error))
    said = {one.topic.removeprefix("$SYS/broker/"): one.payload.decode("utf-8", "replace") for one in heard}
    return BrokerStatus(
        reachable=True,
        said="" if said else "it tells nothing under $SYS, or this login may not read it",
        version=said.get("version", ""),
        uptime=said.get("uptime", ""),
        clients_connected=said.get("clients/connected", ""),
        messages_stored=said.get("store/messages/count", said.get("messages/stored", "")),
        bytes_stored=said.get("store/messages/bytes", ""),
        dropped=said.get("publish/messages/dropped", ""),
    )


class Recent(Generic[Found]):
    """Keeps an answer for some seconds, so that those who reload a page do not load what it asks."""

    def __init__(self, ask: Callable[[], Found], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = threading.Lock()
        self._kept: tuple[float, Found] | None = None

    def __call__(self) -> Found:
        """Return the answer of a moment ago, or ask."""
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] > self._seconds:
                self._kept = (time.monotonic(), self._ask())
            return self._kept[1]
