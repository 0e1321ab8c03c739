"""(e) Telegraf beside the collector: the same messages, the same broker, the same database server.

`mqtt_consumer` with QoS 1 and a persistent session into `outputs.postgresql`, which together acknowledge after the
write: the settings under which Telegraf promises the most. Its table has the unique key of ours. It keeps no payload,
no account, no reason for what it drops.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.bench import load
from tests.bench.drains import backlog, collector, drain, median
from tests.bench.figures import Figure, Sheet, say
from tests.bench.lab import Lab, committed

DEVICES = 1000
# A message that is lost never comes, so the wait for it ends when nothing came for so long.
_SETTLED_S = 15.0
_TABLE = """
create table telegraf_reading (
    time timestamptz not null, topic text not null,
    "W" float8, "TotWhExp" float8, "Hz" float8, "PhVphA" float8, "A" float8
);
select create_hypertable('telegraf_reading', by_range('time', interval '7 days'), create_default_indexes => false);
create unique index on telegraf_reading (topic, time);
"""


def executable() -> str | None:
    """Telegraf, named by `BENCH_TELEGRAF` or on the path."""
    return os.environ.get("BENCH_TELEGRAF") or shutil.which("telegraf")


def measure(lab: Lab, sheet: Sheet, *, count: int, rounds: int) -> None:
    """(e), or a line that says why not."""
    telegraf = executable()
    if telegraf is None:
        sheet.add(Figure("e_telegraf", None, "msg/s", facts={"skipped": "telegraf is not on PATH"}))
        return
    version = subprocess.run([telegraf, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    theirs, ours = [], []
    for number in range(rounds):
        say(f"(e) round {number + 1} of {rounds}: Telegraf {version}, collector")
        theirs.append(_rate(lab, telegraf, count))
        ours.append(drain(lab, load.singles(count, DEVICES), devices=DEVICES).messages_s)
    facts = {"messages": count, "rounds": rounds}
    each = [round(one) for one in theirs]
    sheet.add(Figure("e_telegraf", median(theirs), "msg/s", facts=facts | {"version": version, "all": each}))
    ratio = statistics.median(one / of for one, of in zip(ours, theirs, strict=True))
    each = [round(one) for one in ours]
    sheet.add(Figure("e_drain", median(ours), "msg/s", ratio, "e_telegraf", "> 1", ratio > 1, facts | {"all": each}))
    for fault, lose in (("duplicate", _with_duplicate), ("restart", _with_restart)):
        say(f"(e) {fault}: Telegraf, collector")
        for name, running in (("telegraf", _telegraf(telegraf)), ("collector", _collector)):
            # What a restart costs depends on what was under way in that moment.
            runs = [lose(lab, running) for _ in range(rounds if fault == "restart" else 1)]
            lost, published = (sum(numbers) for numbers in zip(*runs, strict=True))
            goal = ("0", lost == 0) if name == "collector" else ("", None)
            sheet.add(Figure(f"e_lost_{fault}_{name}", lost, "readings", None, "", *goal, {"published": published}))


Running = Callable[[Lab, str, str], Iterator[Callable[[psycopg.Connection], int]]]
"""Runs a consumer on a database under a client id and gives how to count what it has stored."""


def _rate(lab: Lab, telegraf: str, count: int) -> float:
    client_id = f"telegraf-{uuid.uuid4().hex[:8]}"
    with lab.database(DEVICES) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_TABLE)
        backlog(lab, client_id, "3.1.1", load.singles(count, DEVICES))
        with psycopg.connect(url, autocommit=True) as connection, _started(lab, telegraf, url, client_id) as log:
            while "Connected [" not in log.read_text():
                time.sleep(0.002)
            begun = time.monotonic()
            while _count(connection, "telegraf_reading") < count:
                time.sleep(0.02)
            seconds = time.monotonic() - begun
        load.forget(lab.collector_url, client_id)
    return count / seconds


def _with_duplicate(lab: Lab, running: Running, count: int = 20_000) -> tuple[int, int]:
    """One reading comes twice, as every device that did not see its PUBACK sends it."""
    messages = list(load.singles(count, DEVICES))
    messages.insert(count // 2 + 300, messages[count // 2])
    return _lost(lab, running, messages, lambda _: None), count


def _with_restart(lab: Lab, running: Running, count: int = 60_000) -> tuple[int, int]:
    """The database is restarted when a part of the backlog is stored."""

    def restart(stored: Callable[[], int]) -> None:
        while stored() < count / 5:
            time.sleep(0.02)
        lab.restart_postgres()

    return _lost(lab, running, list(load.singles(count, DEVICES)), restart), count


def _lost(lab: Lab, running: Running, messages: list, fault: Callable[[Callable[[], int]], None]) -> int:
    """How many of the different readings were acknowledged and are not stored."""
    client_id = f"faulty-{uuid.uuid4().hex[:8]}"
    different = len(set(messages))
    with lab.database(DEVICES) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_TABLE)
        backlog(lab, client_id, "3.1.1", messages)
        with contextmanager(running)(lab, url, client_id) as count:

            def stored() -> int:
                try:
                    with psycopg.connect(url, autocommit=True) as connection:
                        return count(connection)
                except psycopg.OperationalError:
                    return -1

            fault(stored)
            seen, since = -1, time.monotonic()
            while seen < different and time.monotonic() - since < _SETTLED_S:
                time.sleep(0.2)
                now = stored()
                if now != seen:
                    seen, since = now, time.monotonic()
        load.forget(lab.collector_url, client_id)
    return different - seen


def _telegraf(telegraf: str) -> Running:
    def running(lab: Lab, url: str, client_id: str) -> Iterator[Callable[[psycopg.Connection], int]]:
        with _started(lab, telegraf, url, client_id):
            yield lambda connection: _count(connection, "telegraf_reading")

    return running


def _collector(lab: Lab, url: str, client_id: str) -> Iterator[Callable[[psycopg.Connection], int]]:
    with collector(lab, url, client_id) as process:
        process.start()
        yield lambda connection: _count(connection, "reading")
        # What the account says must be what is there.
        with psycopg.connect(url, autocommit=True) as connection:
            assert committed(connection)[0] == _count(connection, "message")


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(f"select count(*) from {table}").fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def _started(lab: Lab, telegraf: str, url: str, client_id: str) -> Iterator[Path]:
    broker = urlsplit(lab.collector_url)
    with tempfile.TemporaryDirectory(prefix="jcm-mrv-bench-") as folder:
        configuration, log = Path(folder, "telegraf.conf"), Path(folder, "telegraf.log")
        configuration.write_text(f"""
[agent]
  flush_interval = "1s"
  # As many as the collector commits at once; a full batch is written at once.
  metric_batch_size = 1000
  metric_buffer_limit = 100000
  omit_hostname = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://{broker.hostname}:{broker.port}"]
  username = "{broker.username}"
  password = "{broker.password}"
  client_id = "{client_id}"
  topics = ["jcm/v1/#"]
  qos = 1
  persistent_session = true
  max_undelivered_messages = 4000
  name_override = "telegraf_reading"
  data_format = "json_v2"
  [[inputs.mqtt_consumer.json_v2]]
    timestamp_path = "ts"
    timestamp_format = "2006-01-02T15:04:05Z07:00"
    [[inputs.mqtt_consumer.json_v2.object]]
      path = "points"
[[outputs.postgresql]]
  connection = "{url}"
  timestamp_column_type = "timestamp with time zone"
""")
        with log.open("ab") as out:
            process = subprocess.Popen([telegraf, "--config", str(configuration)], stdout=out, stderr=out)
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
