"""Messages in the database as a collector would have written them, at a time of the test's choosing.

`received_at` is the database's own clock, so a day that is over cannot be had through a collector.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import psycopg

from devices.decoding.bindings import Declared, bind
from devices.decoding.catalogue import built_in
from devices.decoding.judging import Judge
from devices.decoding.memory import Memory
from devices.topics import Topic
from ingest import rows
from ingest.batch import Outcome, Registry, plan
from ingest.inbox import Received
from sql.named import load

QUERIES = load("ingest")


def registry_of(owner: psycopg.Connection) -> Registry:
    registry = Registry()
    for site, device, number in owner.execute(QUERIES["declared"]):
        registry.learn([site], [(Topic(site, device), number)] if device else [])
    registry.learn_foreign(bind([Declared(*row) for row in owner.execute(QUERIES["foreign"])], built_in())[0])
    return registry


def receive(
    owner: psycopg.Connection,
    given: Sequence[tuple[str, bytes]],
    received_at: datetime,
    *,
    first_id: int,
    arrived: timedelta = timedelta(seconds=1),
    every: timedelta = timedelta(0),
    skip: int = 0,
) -> None:
    """Write one batch: topics and payloads, received at once, having arrived `every` so long.

    The first `skip` are judged only, to be remembered.
    """
    registry = registry_of(owner)
    messages = [
        Received(0, 0, topic, payload, 1, False, False, (received_at - arrived + number * every).timestamp())
        for number, (topic, payload) in enumerate(given)
    ]
    judge = Judge(Memory())
    planned = plan(messages, registry, judge)
    judge.close_all(registry.owners, timedelta(seconds=300))
    planned = planned[skip:]
    ids = range(first_id, first_id + len(planned))
    aside = judge.aside.with_ids(range(first_id - skip, first_id + len(planned)), received_at)
    outcomes = [Outcome.QUARANTINED if one.rejections else Outcome.STORED for one in planned]
    kept = rows.readings(planned, ids, received_at) + rows.joined(aside, received_at + timedelta(seconds=20))
    events = [] if skip else aside.events
    for statement, types, data in (
        ("copy_reading", rows.READING_TYPES, kept),
        ("copy_message", rows.MESSAGE_TYPES,
         rows.messages(planned, ids, outcomes, received_at=received_at, collector="c1")),
        ("copy_reading_part", rows.PART_TYPES, rows.parts(aside)),
        ("copy_device_event", rows.EVENT_TYPES,
         ((received_at, ids[one.place], one.site, one.subject, one.event, one.detail) for one in events)),
    ):  # fmt: skip
        with owner.cursor().copy(QUERIES[statement]) as copy:
            copy.set_types(types)
            for row in data:
                copy.write_row(row)
