"""Every family at once: what holds for all profiles, and every vector of each."""

import pytest

from devices.decoding import catalogue, vectors
from devices.decoding.profile import Profile, Vector

CATALOGUE = catalogue.built_in()
VECTORS = [
    pytest.param(profile, vector, id=f"{name}: {vector.about}")
    for name, profile in CATALOGUE.items()
    for vector in profile.vectors
]


@pytest.mark.parametrize(("profile", "vector"), VECTORS)
def test_a_vector_gives_exactly_its_readings(profile: Profile, vector: Vector) -> None:
    outcome = vectors.run(profile, vector)
    found = [(reading.ts, reading.values | dict(reading.extra)) for reading in outcome.readings]
    assert found == [(expected.ts, dict(expected.points)) for expected in vector.readings]
    assert outcome.rejections == list(vector.rejections)
    assert outcome.notes == set(vector.notes)
