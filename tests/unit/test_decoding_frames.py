"""Joining one field a topic: nothing lost, nothing twice, and the same whatever the batches were."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from devices.decoding import catalogue, vectors
from devices.decoding.elements import Bound
from devices.decoding.frames import Frame, Part, add, is_over
from devices.decoding.judging import Judge, frame_key
from devices.decoding.memory import Memory
from devices.decoding.routes import Routes
from devices.decoding.vectors import Said
from devices.reading import Reading
from devices.topics import Topic

START = datetime(2026, 6, 1, 4, tzinfo=UTC)
JOIN_S = 10.0
parts = st.lists(st.tuples(st.sampled_from("abcde"), st.floats(0, 15)), max_size=60)


def arrivals(given_parts: list[tuple[str, float]]) -> list[tuple[Part, datetime]]:
    at, found = START, []
    for message, (name, after_s) in enumerate(given_parts, start=1):
        at += timedelta(seconds=after_s)
        found.append((Part(name, str(message), message), at))
    return found


def joined(came: list[tuple[Part, datetime]]) -> list[Frame]:
    ended: list[Frame] = []
    frame: Frame | None = None
    for part, at in came:
        before, frame = add(frame, part, at, JOIN_S)
        ended += [before] if before is not None else []
    return ended + ([frame] if frame is not None else [])


@given(parts)
def test_every_part_is_in_exactly_one_frame_and_in_order(given_parts: list[tuple[str, float]]) -> None:
    came = arrivals(given_parts)
    assert [part for frame in joined(came) for part in frame.parts] == [part for part, _ in came]


@given(parts)
def test_a_frame_has_each_name_once_and_lasts_no_longer_than_it_may(given_parts: list[tuple[str, float]]) -> None:
    came = arrivals(given_parts)
    at = {part.message: when for part, when in came}
    for frame in joined(came):
        names = [part.name for part in frame.parts]
        assert len(names) == len(set(names))
        assert frame.started_at == at[frame.parts[0].message]
        assert all(at[part.message] - frame.started_at < timedelta(seconds=JOIN_S) for part in frame.parts)


@given(parts)
def test_a_frame_ends_for_a_reason(given_parts: list[tuple[str, float]]) -> None:
    came = arrivals(given_parts)
    at = {part.message: when for part, when in came}
    frames = joined(came)
    for frame, following in itertools.pairwise(frames):
        first = following.parts[0]
        again = first.name in [part.name for part in frame.parts]
        assert again or is_over(frame, at[first.message], JOIN_S)


def test_a_frame_is_over_at_the_very_end_of_its_time() -> None:
    frame = Frame(START, (Part("a", "1", 1),))
    assert not is_over(frame, START + timedelta(seconds=9.999999), JOIN_S)
    assert is_over(frame, START + timedelta(seconds=10), JOIN_S)


def test_places_become_ids_once() -> None:
    frame = Frame(START, (Part("a", "1", 70, START), Part("b", "2", -1), Part("c", "3", -3)))
    later = START + timedelta(seconds=1)
    assert frame.with_ids([100, 101, 102], later).parts == (
        Part("a", "1", 70, START), Part("b", "2", 100, later), Part("c", "3", 102, later),
    )  # fmt: skip


OPENDTU = catalogue.built_in()["opendtu"]
TOPICS = ["status/last_update", "0/power", "0/yieldday", "0/yieldtotal", "0/voltage"]
said = st.lists(st.tuples(st.sampled_from(TOPICS), st.integers(0, 9), st.floats(0, 12)), max_size=40)


def bound() -> Bound:
    address = OPENDTU.parameters({"serial": "116482923311"})
    return Bound(Topic("site", "device"), 1, OPENDTU, address, {}, ZoneInfo("UTC"))


def messages(given_said: list[tuple[str, int, float]]) -> list[Said]:
    at, found = START, []
    for topic, value, after_s in given_said:
        at += timedelta(seconds=after_s, microseconds=1)
        text = f"{at.timestamp():.0f}" if topic == "status/last_update" else f"{100 + value}.5"
        found.append(Said(f"solar/116482923311/{topic}", text.encode(), retained=False, at=at))
    return found


def in_batches(came: list[Said], cuts: set[int]) -> list[Reading]:
    """As a collector does it: what is open after a batch is remembered, and looked at again when its time is over."""
    device = bound()
    routes, memory = Routes([device]), Memory()
    owners = {
        frame_key(device, source): (device, source) for source in device.profile.sources if source.join_s is not None
    }
    tolerance = timedelta(seconds=300)
    found: list[Reading] = []
    edges = sorted({0, *(cut for cut in cuts if cut < len(came)), len(came)})
    for start, end in itertools.pairwise(edges):
        judge = Judge(memory)
        judge.close_due(owners, came[start].at, tolerance)
        for place, message in enumerate(came[start:end]):
            route = routes.find(message.topic)
            assert route is not None
            judged = judge.message(route, message, place, arrived_at=message.at, latest=message.at + tolerance)
            found += [reading for _, _, reading in judged.readings]
        found += [reading for one in judge.aside.joined for _, _, reading in one.judged.readings]
        memory.settled(judge.aside.with_ids(list(range(start, end)), came[start].at))
    judge = Judge(memory)
    judge.close_due(owners, START + timedelta(days=1), tolerance)
    return found + [reading for one in judge.aside.joined for _, _, reading in one.judged.readings]


@given(said, st.sets(st.integers(1, 39)))
def test_batches_change_no_reading(given_said: list[tuple[str, int, float]], cuts: set[int]) -> None:
    came = messages(given_said)
    whole = vectors.decode([bound()], came).readings
    assert in_batches(came, cuts) == in_batches(came, set()) == whole
