"""Every family at once: what holds for all profiles, and every vector of each."""

import json
import random
from datetime import timedelta
from itertools import islice, permutations

import pytest

from devices import units
from devices.declarations import Device
from devices.decoding import catalogue, vectors
from devices.decoding.profile import Profile, Vector, kind_of, point_of
from devices.native import Reason
from devices.points import REGISTER_LIMIT_WH
from tests.catalogue.mutations import (
    NOTHINGS,
    changed,
    decode,
    energies,
    is_sparkplug,
    messages_of,
    places,
    registers,
    sentinels,
)

CATALOGUE = catalogue.built_in()
NATIVE = "native"
PROFILES = [pytest.param(profile, id=name) for name, profile in CATALOGUE.items()]
VECTORS = [
    pytest.param(profile, vector, id=f"{name}: {vector.about}")
    for name, profile in CATALOGUE.items()
    for vector in profile.vectors
]
every_profile = pytest.mark.parametrize("profile", PROFILES)
every_vector = pytest.mark.parametrize(("profile", "vector"), VECTORS)
LATER = timedelta(hours=1)


@every_vector
def test_a_vector_gives_exactly_its_readings(profile: Profile, vector: Vector) -> None:
    outcome = vectors.run(profile, vector)
    found = [(reading.ts, reading.values | dict(reading.extra)) for reading in outcome.readings]
    assert found == [(expected.ts, dict(expected.points)) for expected in vector.readings]
    assert outcome.rejections == list(vector.rejections)
    assert outcome.notes == set(vector.notes)


@every_profile
def test_a_profile_says_what_a_user_must_know(profile: Profile) -> None:
    assert profile.title != profile.name
    assert len(profile.about.split()) >= 15
    assert profile.references
    assert all(key.about for key in profile.address.values())


@every_profile
def test_a_profile_has_vectors_and_its_support_is_what_they_show(profile: Profile) -> None:
    assert profile.vectors
    assert any(vector.readings for vector in profile.vectors), "no vector gives a reading"
    if profile.support == "samples":
        assert any(vector.verbatim for vector in profile.vectors), "samples, but none is verbatim"


@every_profile
def test_every_trap_has_a_vector(profile: Profile) -> None:
    covered = {vector.trap for vector in profile.vectors}
    assert [trap.id for trap in profile.traps if trap.id not in covered] == []
    assert profile.traps or profile.name == NATIVE


@every_profile
def test_every_output_is_a_known_point_whose_unit_is_said_and_never_guessed(profile: Profile) -> None:
    for field in profile.fields:
        point = point_of(field.point)
        assert field.unit is not None or point.unit == "1", field.point
        units.converter(point, field.unit)
        assert field.kind in {None, kind_of(point)}


@every_profile
def test_every_field_is_in_a_vector(profile: Profile) -> None:
    """A field that no vector gives may be misspelt; energies at the least are shown."""
    shown = {name for vector in profile.vectors for expected in vector.readings for name in expected.points}
    mapped = {field.point for field in profile.fields if field.point in {"TotWhExp", "TotWhImp", "DayWh", "IntervalWh"}}
    if not is_sparkplug(profile):
        assert mapped <= shown


@every_profile
def test_a_device_of_a_family_without_fields_must_say_what_is_read(profile: Profile) -> None:
    declared = {
        "id": "d", "site": "s", "kind": "meter", "profile": profile.name, "installed": "2026-01-01T00:00:00Z",
        "address": dict(profile.vectors[0].address),
    }  # fmt: skip
    _, problems = catalogue.complete(Device.model_validate_json(json.dumps(declared)), CATALOGUE)
    own = bool(profile.fields) or profile.name == NATIVE
    assert [problem.startswith("fields:") for problem in problems] == ([] if own else [True])


def with_registers() -> list[object]:
    return [
        pytest.param(profile, vector, id=f"{profile.name}: {vector.about}")
        for profile in CATALOGUE.values()
        for vector in profile.vectors
        if any({"TotWhExp", "TotWhImp"} & expected.points.keys() for expected in vector.readings)
    ]


@every_profile
def test_every_family_of_registers_shows_one(profile: Profile) -> None:
    assert any(registers(vectors.run(profile, vector)) for vector in profile.vectors)


@pytest.mark.parametrize(("profile", "vector"), with_registers())
def test_nothing_for_a_number_is_never_a_register(profile: Profile, vector: Vector) -> None:
    """0, null, nan, the family's own sentinels: none becomes a reading, nor does another number take its place."""
    messages = messages_of(vector)
    found = list(energies(profile, vector))
    # A name that stands twice with one value is nobody's once one of the two is changed.
    assert found or vector.trap == "name-twice", "no number of the vector is its register"
    own = sentinels(profile, vector)
    for place, most in found:
        for text in [*NOTHINGS, *own, *(f'"{one}"' for one in own)]:
            after = registers(decode(profile, vector, changed(profile, messages, place, text)))
            for _, name, value in after:
                if profile.name == NATIVE and value == 0:
                    continue  # Its 0 is a reading that the register rules set aside: mrv.register_rules.Rule.ZERO.
                assert 0 < value <= REGISTER_LIMIT_WH, (text, name)
                # One of two tariffs that is 0 leaves the other.
                assert value <= most[name], (text, name)


@every_vector
def test_what_the_broker_had_kept_is_no_reading_without_a_time_of_its_own(profile: Profile, vector: Vector) -> None:
    """Whatever stands there for the time: a reading's time never depends on when a kept message came."""
    messages = [message._replace(retained=True) for message in messages_of(vector)]
    if profile.name == NATIVE:
        return  # Its payload always has a time, or is refused.
    tried = [messages]
    tried += [
        changed(profile, messages, place, text)
        for place in places(profile, messages)
        for text in ("0", "0.0", "null", '""', '" "', "")
    ]
    for some in tried:
        now = decode(profile, vector, some)
        later = decode(profile, vector, [message._replace(at=message.at + LATER) for message in some])
        times = {reading.ts for reading in now.readings}
        assert times <= {reading.ts for reading in later.readings}


@every_vector
def test_a_repetition_adds_no_energy(profile: Profile, vector: Vector) -> None:
    messages = messages_of(vector)
    before = registers(decode(profile, vector, messages))
    most = {name: max(value for _, other, value in before if other == name) for _, name, _ in before}
    twice = [again for message in messages for again in (message, message._replace(redelivered=True))]
    after = registers(decode(profile, vector, twice))
    if any(source.join_s for source in profile.sources):
        # A repeated part ends a frame, so the same values may stand at another moment of the same cycle.
        assert {value for _, _, value in after} <= {value for _, _, value in before}
    else:
        assert set(after) <= set(before)
    replayed = registers(decode(profile, vector, [*messages, *messages_of(vector, later=LATER)]))
    assert all(value <= most.get(name, 0.0) for _, name, value in replayed)


@every_profile
def test_noise_is_no_reading_and_raises_nothing(profile: Profile) -> None:
    source = random.Random(profile.name)
    for vector in profile.vectors:
        for message in messages_of(vector):
            for _ in range(20):
                noise = source.randbytes(source.randrange(8, 200))
                assert decode(profile, vector, [message._replace(payload=noise)]).readings == []
            for _ in range(60):
                flipped = bytearray(message.payload or b"0")
                flipped[source.randrange(len(flipped))] ^= 1 << source.randrange(8)
                cut = message.payload[: source.randrange(len(message.payload) + 1)]
                for payload in (bytes(flipped), cut):
                    reasons = decode(profile, vector, [message._replace(payload=payload)]).rejections
                    assert all(reason == reason.lower() for reason in reasons)


def cycles() -> list[object]:
    """Vectors of families that are joined, with one cycle: no topic comes twice."""
    return [
        pytest.param(profile, vector, id=f"{profile.name}: {vector.about}")
        for profile in CATALOGUE.values()
        for vector in profile.vectors
        if any(source.join_s for source in profile.sources)
        and len({message.topic for message in vector.messages}) == len(vector.messages) > 1
    ]


@pytest.mark.parametrize(("profile", "vector"), cycles())
def test_the_order_within_a_cycle_changes_nothing(profile: Profile, vector: Vector) -> None:
    messages = [message._replace(at=vector.arrived_at) for message in messages_of(vector)]
    expected = outcome_of(profile, vector, messages)
    for order in islice(permutations(messages), 200):
        assert outcome_of(profile, vector, list(order)) == expected


def outcome_of(profile: Profile, vector: Vector, messages: list) -> tuple[object, ...]:
    outcome = decode(profile, vector, messages)
    readings = [(reading.ts, reading.values, dict(reading.extra)) for reading in outcome.readings]
    return readings, outcome.rejections, outcome.notes


def test_reasons_of_vectors_are_known() -> None:
    known = {str(reason) for reason in Reason} | {"device_unknown", "topic_unknown", "topic_ambiguous"}
    for profile in CATALOGUE.values():
        for vector in profile.vectors:
            assert {one for one in vector.rejections if not one.startswith("sparkplug_")} <= known
