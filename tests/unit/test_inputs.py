"""What is read is cut into windows that lie end to end, whatever of the span a device was in its place."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mrv.inputs import windows

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
hours = st.integers(0, 24 * 800)


@given(start=hours, length=st.integers(1, 24 * 400), reach_from=hours, reach=st.integers(1, 24 * 800))
def test_windows_tile_what_is_read(start, length, reach_from, reach):
    start, reach_from = (EPOCH + timedelta(hours=n) for n in (start, reach_from))
    end, reach_to = start + timedelta(hours=length), reach_from + timedelta(hours=reach)
    found = windows(start, end, reach_from, reach_to)
    assert (found[0][0], found[-1][1]) == (reach_from, reach_to)
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert all(first < last for first, last in found)
    # Inside the span, none is longer than a month; what lies around it, few readings, goes with the outer ones.
    inside = [min(end, last) - max(start, first) for first, last in found]
    assert max(inside) <= timedelta(days=31)
