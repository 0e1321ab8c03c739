"""One sky, whether a month is asked for or a day of it."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrv.quality.sky import STEP_US, sky_over

DAY_US = 86_400_000_000


@settings(max_examples=25, deadline=None)
@given(
    latitude=st.floats(-60, 60),
    longitude=st.floats(-180, 180),
    first_us=st.integers(1_600_000_000_000_000, 1_800_000_000_000_000),
    span_us=st.integers(0, DAY_US),
)
# At midnight UTC, where a day begins, the sun sets on the first and rises on the second.
@example(latitude=0.0, longitude=-90.0, first_us=19_000 * DAY_US + STEP_US, span_us=DAY_US // 3)
@example(latitude=0.0, longitude=90.0, first_us=19_000 * DAY_US - DAY_US // 3, span_us=DAY_US // 3 - STEP_US)
def test_a_day_has_the_sky_of_its_month(latitude: float, longitude: float, first_us: int, span_us: int) -> None:
    last_us = first_us + span_us
    day = sky_over(latitude, longitude, first_us, last_us)
    month = sky_over(latitude, longitude, first_us - 2 * DAY_US, last_us + 2 * DAY_US)
    assert day.t_us[0] <= first_us - STEP_US
    assert last_us + STEP_US <= day.t_us[-1]
    assert len(day.t_us) < 1000 < len(month.t_us)
    t_us = np.linspace(first_us, last_us, 100, dtype=np.int64)
    grid = day.t_us[(day.t_us >= first_us - STEP_US) & (day.t_us <= last_us + STEP_US)]
    of_day, of_month = (np.isin(sky.t_us, grid) for sky in (day, month))
    assert (day.elevation_deg[of_day] == month.elevation_deg[of_month]).all()
    assert (day.share[of_day] == month.share[of_month]).all()
    assert (day.is_night(t_us) == month.is_night(t_us)).all()
    # Summed up from another beginning: a microsecond of eight hours.
    assert np.abs(day.full_load_us(t_us[:-1], t_us[1:]) - month.full_load_us(t_us[:-1], t_us[1:])).max() < 1
