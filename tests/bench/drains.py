"""(a) Draining a backlog: the collector beside a bare paho loop; (f) the same over TLS; (g) with ever more devices.

A backlog is published while nobody is connected, so the broker has queued all of it. The clock of both starts with
the CONNACK, which leaves out the start of the interpreter. The bare loop's stops when its last acknowledgement is
handed to paho; the collector's when the database shows the last message as committed, looked at every 20 ms.
"""

import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from tests.bench import load
from tests.bench.figures import Figure, Sheet, say
from tests.bench.lab import Lab, committed
from tests.harness import CollectorProcess

VERSIONS = ("3.1.1", "5")
_LOOK_S = 0.02


@dataclass
class Drain:
    """What draining one backlog took."""

    messages_s: float
    readings_s: float
    cpu_s: float
    """Of the collector's process."""


@contextmanager
def collector(
    lab: Lab, url: str, client_id: str, version: str = "3.1.1", *, tls: bool = False, module: str = ""
) -> Iterator[CollectorProcess]:
    """A collector process that has not been started."""
    given = {"JCM_MRV_MQTT_VERSION": version} | ({"JCM_MRV_MQTT_CA_FILE": str(lab.ca_file)} if tls else {})
    process = CollectorProcess(lab.tls_url if tls else lab.collector_url, url, client_id, given)
    if module:
        process.module = (module,)
    try:
        yield process
    finally:
        process.close()


def backlog(lab: Lab, client_id: str, version: str, messages: load.Payloads) -> int:
    load.subscribe(lab.collector_url, client_id, five=version == "5")
    return load.publish(lab.publisher_url, messages)


def drain(lab: Lab, messages: load.Payloads, *, devices: int, version: str = "3.1.1", tls: bool = False) -> Drain:
    """Let a collector drain a backlog, and make sure that all of it is stored."""
    client_id = f"bench-{uuid.uuid4().hex[:8]}"
    with lab.database(devices) as url, collector(lab, url, client_id, version, tls=tls) as process:
        count = backlog(lab, client_id, version, messages)
        with psycopg.connect(url, autocommit=True) as connection:
            process.start()
            done = (0, 0)
            while done[0] < count:
                time.sleep(_LOOK_S)
                done = committed(connection)
            seconds = time.time() - connected_at(process)
            cpu_s = cpu_seconds(process)
            bad = connection.execute("select count(*) from quarantine").fetchone()
            stored = connection.execute("select count(*) from reading").fetchone()
        assert bad == (0,), bad
        assert stored == (done[1],), (stored, done)
        process.send()
        assert process.wait() == 0
        load.forget(lab.collector_url, client_id)
    return Drain(count / seconds, done[1] / seconds, cpu_s)


def connected_at(process: CollectorProcess) -> float:
    line = next(line for line in process.lines() if line["event"] == "broker_connected")
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def cpu_seconds(process: CollectorProcess) -> float:
    assert process.process is not None
    fields = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def bare(lab: Lab, messages: load.Payloads, *, version: str) -> float:
    """Let bare paho drain a backlog: messages a second."""
    client_id = f"bare-{uuid.uuid4().hex[:8]}"
    count = backlog(lab, client_id, version, messages)
    command = [sys.executable, "-m", "tests.bench.bare", lab.collector_url, client_id, version, str(count)]
    seconds = float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)
    load.forget(lab.collector_url, client_id)
    return count / seconds


def median(numbers: Iterable[float]) -> float:
    return statistics.median(numbers)


def against_bare(lab: Lab, sheet: Sheet, *, count: int, rounds: int) -> float:
    """(a) and (f): both versions and TLS against bare paho, round after round; returns the rate of (a)."""
    devices = 1000
    rates: dict[str, list[Drain]] = {}
    bares: dict[str, list[float]] = {}
    for number in range(rounds):
        for version in VERSIONS:
            say(f"(a) round {number + 1} of {rounds}, MQTT {version}: bare, plain, TLS")
            bares.setdefault(version, []).append(bare(lab, load.singles(count, devices), version=version))
            for tls in (False, True):
                done = drain(lab, load.singles(count, devices), devices=devices, version=version, tls=tls)
                rates.setdefault(f"{version} tls" if tls else version, []).append(done)
    for version in VERSIONS:
        name, ours, secure, plain = version, rates[version], rates[f"{version} tls"], bares[version]
        facts = {"messages": count, "rounds": rounds, "devices": devices}
        sheet.add(Figure(f"a_bare_paho_{name}", median(plain), "msg/s", facts=facts | {"all": _all(plain)}))
        ratio = median(one.messages_s / of for one, of in zip(ours, plain, strict=True))
        sheet.add(
            Figure(
                f"a_drain_{name}",
                median(one.messages_s for one in ours),
                "msg/s",
                ratio,
                f"a_bare_paho_{name}",
                *(("≥ 0.80", ratio >= 0.8) if version == "3.1.1" else ()),
                facts=facts
                | {
                    "all": _all(one.messages_s for one in ours),
                    "cpu_us_per_message": round(1e6 * median(one.cpu_s for one in ours) / count, 1),
                },
            )
        )
        ratio = median(one.messages_s / of.messages_s for one, of in zip(secure, ours, strict=True))
        sheet.add(
            Figure(
                f"f_drain_tls_{name}",
                median(one.messages_s for one in secure),
                "msg/s",
                ratio,
                f"a_drain_{name}",
                "≥ 0.60",
                ratio >= 0.6,
                facts | {"all": _all(one.messages_s for one in secure)},
            )
        )
    return median(one.messages_s for one in rates["3.1.1"])


def with_devices(lab: Lab, sheet: Sheet, *, count: int, rounds: int, fleets: tuple[int, ...]) -> None:
    """(g): the same backlog from few and from many devices."""
    rates: dict[int, list[float]] = {devices: [] for devices in fleets}
    for number in range(rounds):
        for devices in fleets:
            say(f"(g) round {number + 1} of {rounds}, {devices} devices")
            rates[devices].append(drain(lab, load.singles(count, devices), devices=devices).messages_s)
    few = rates[fleets[0]]
    for devices in fleets:
        ratio = median(one / of for one, of in zip(rates[devices], few, strict=True))
        last = devices == fleets[-1]
        sheet.add(
            Figure(
                f"g_drain_{devices}_devices",
                median(rates[devices]),
                "msg/s",
                ratio,
                f"g_drain_{fleets[0]}_devices",
                "≥ 0.80" if last else "",
                ratio >= 0.8 if last else None,
                {"messages": count, "rounds": rounds, "all": _all(rates[devices])},
            )
        )


def _all(rates: Iterable[float]) -> list[int]:
    return [round(rate) for rate in rates]
