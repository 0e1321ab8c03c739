"""(b) Gateways that send arrays: readings a second, beside a raw COPY of the very same rows.

The raw COPY is given finished tuples of Python and nothing else to do: no MQTT, no JSON, no kept payload, no
staging, no account; it commits as many rows at once as the collector, whose batch ends with 2 MiB of payload.
"""

import time
from datetime import UTC, datetime

import psycopg

from devices.topics import Topic
from ingest import batch, rows
from ingest.inbox import Received
from sql.named import load as load_queries
from tests.bench import load
from tests.bench.drains import drain, median
from tests.bench.figures import Figure, Sheet, say
from tests.bench.lab import Lab, place

SIZE = 60
DEVICES = 1000
_ROWS_A_COMMIT = 15_000


def measure(lab: Lab, sheet: Sheet, *, count: int, rounds: int) -> None:
    """(b), round after round."""
    table = _rows(count)
    ours, raw = [], []
    for number in range(rounds):
        say(f"(b) round {number + 1} of {rounds}: raw COPY, collector")
        raw.append(_raw(lab, table))
        done = drain(lab, load.arrays(count, DEVICES, SIZE), devices=DEVICES)
        ours.append(done.readings_s)
    facts = {"readings": count * SIZE, "rounds": rounds}
    sheet.add(Figure("b_raw_copy", median(raw), "readings/s", facts=facts | {"all": [round(one) for one in raw]}))
    rate, ratio = median(ours), median(one / of for one, of in zip(ours, raw, strict=True))
    facts |= {"all": [round(one) for one in ours], "array": SIZE}
    sheet.add(Figure("b_readings", rate, "readings/s", None, "", "≥ 50,000", rate >= 50_000, facts))
    sheet.add(Figure("b_readings_of_raw", rate, "readings/s", ratio, "b_raw_copy", "≥ 0.50", ratio >= 0.5, facts))


def _rows(count: int) -> list[tuple]:
    """What the collector makes of the messages, made by its own code."""
    registry = batch.Registry()
    devices = {Topic(*place(number)): number + 1 for number in range(DEVICES)}
    registry.learn({topic.site for topic in devices}, devices.items())
    now = datetime.now(UTC)
    received = (
        Received(1, 1, topic, payload, 1, False, False, now.timestamp())
        for topic, payload in load.arrays(count, DEVICES, SIZE)
    )
    return rows.readings(batch.plan(received, registry), range(count), now)


def _raw(lab: Lab, table: list[tuple]) -> float:
    step = _ROWS_A_COMMIT
    with lab.database(DEVICES) as url, psycopg.connect(url) as connection:
        begun = time.monotonic()
        for first in range(0, len(table), step):
            with connection.cursor().copy(load_queries("ingest")["copy_reading"]) as copy:
                copy.set_types(rows.READING_TYPES)
                for row in table[first : first + step]:
                    copy.write_row(row)
            connection.commit()
        return len(table) / (time.monotonic() - begun)
