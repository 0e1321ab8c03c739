"""One hand-made series for each rule, and the real ones that taught it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import inf, nan

import numpy as np
import pytest

from mrv.errors import MrvError, RegisterSpecError, SeriesError
from mrv.register_rules import INVALID_MWH, DeclaredRegister, RegisterSpec, Rule, to_mwh
from mrv.registers import DECLARED, Intervals, intervals

START = datetime(2026, 6, 1, 6, 0, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
QUARTER = 900.0
# 100 kW: 30,000 Wh in a quarter of an hour, margin included, and 1 Wh of resolution.
SPEC = RegisterSpec(Decimal(100_000))
# 5 kW, and the levels of short series are believed after two readings.
SMALL = RegisterSpec(Decimal(5_000), confirm_samples=2, confirm_for=timedelta(minutes=15))


def run(
    register_wh: Sequence[float],
    spec: RegisterSpec = SPEC,
    *,
    seconds: float | Sequence[float] = QUARTER,
    power_w: list[float] | None = None,
    opening: DeclaredRegister | None = None,
    closing: DeclaredRegister | None = None,
) -> Intervals:
    n = len(register_wh)
    after = [i * seconds for i in range(n)] if isinstance(seconds, float) else seconds
    t_us = np.array([START_US + round(s * 1_000_000) for s in after], dtype=np.int64)
    power = None if power_w is None else np.array(power_w, dtype=np.float64)
    register = to_mwh(np.array(register_wh, dtype=np.float64))
    return intervals(t_us, register, spec, power_w=power, opening=opening, closing=closing)


def decided(found: Intervals) -> dict[str, int]:
    """Counts of the rules that decided something, by their short names."""
    return {rule_id.split(".")[1].split("@")[0]: n for rule_id, n in found.counts().items() if n}


def test_normal_steps_add_up_exactly() -> None:
    found = run([1000.001, 1010.002, 1010.002, 1030.004])
    assert found.total_wh == Decimal("30.003")
    assert found.energy_mwh.tolist() == [10_001, 0, 20_002]
    assert decided(found) == {"opening": 1, "normal": 3}


def test_gap_is_bridged_by_the_register_and_flagged() -> None:
    found = run([1000, 1010, 60_000, 60_010], seconds=[0, 900, 18_900, 19_800])
    assert found.total_wh == 59_010
    assert found.rule.tolist() == [Rule.NORMAL.code, Rule.GAP.code, Rule.NORMAL.code]


def test_dip_is_set_aside_and_the_energy_kept_once() -> None:
    found = run([50_000, 50_010, 46_000, 50_030])
    assert found.total_wh == 30
    assert found.dropped_rule.tolist() == [Rule.DIP.code]
    assert found.dropped_source.tolist() == [2]


def test_two_dips_in_a_row_are_both_set_aside() -> None:
    found = run([500_000, 500_010, 460_000, 430_000, 500_030])
    assert found.total_wh == 30
    assert decided(found) == {"opening": 1, "normal": 2, "dip": 2}


def test_spike_that_comes_back_is_set_aside() -> None:
    found = run([50_000, 50_010, 950_000, 50_030, 50_040])
    assert found.total_wh == 40
    assert decided(found) == {"opening": 1, "normal": 3, "spike": 1}


def test_spike_that_the_device_could_have_made_is_taken_back() -> None:
    # After five days without readings 300,000 Wh are possible; that it falls again within minutes says they were not.
    day = 86_400.0
    t = [0, 5 * day, *(5 * day + 900 * i for i in range(1, 200))]
    found = run([100_000, 400_000, *(172_000 + i for i in range(1, 200))], seconds=t)
    assert found.total_wh == 172_199 - 100_000
    assert decided(found)["spike"] == 1
    assert "reset" not in decided(found)


def test_spike_that_the_device_could_have_made_is_taken_back_at_the_end_of_the_data_too() -> None:
    day = 86_400.0
    found = run([100_000, 400_000, 172_000], seconds=[0, 5 * day, 5 * day + 900])
    assert found.total_wh == 72_000


def test_zero_is_no_reading() -> None:
    found = run([0, 1000, 0, 1020, 0])
    assert found.total_wh == 20
    assert decided(found) == {"opening": 1, "normal": 1, "zero": 3}


def test_zero_is_a_reading_where_it_is_declared_one() -> None:
    found = run([0, 10, 20], RegisterSpec(Decimal(5_000), zero_is_reading=True))
    assert found.total_wh == 20


def test_rollover_at_the_declared_width() -> None:
    spec = RegisterSpec(Decimal(5_000), width_wh=Decimal(65_536), confirm_samples=2, confirm_for=timedelta(minutes=15))
    found = run([65_000, 65_500, 100, 600], spec)
    assert found.total_wh == 500 + 136 + 500
    assert found.rule.tolist() == [Rule.NORMAL.code, Rule.ROLLOVER.code, Rule.NORMAL.code]


def test_rollover_of_acc32_at_4_294_967_295() -> None:
    spec = RegisterSpec.of_bits(32, Decimal(1_000_000))
    register = [4_294_966_295, 4_294_967_295, *(1000 + 1000 * i for i in range(100))]
    found = run(register, spec)
    # 4294967295 → 1000 is 1,001 Wh: the zero between them is passed, not lost.
    assert found.total_wh == 1000 + 1001 + 99_000
    assert decided(found)["rollover"] == 1


def test_fall_of_a_register_that_declares_no_width_is_no_rollover() -> None:
    assert run([65_500, 100, 600], SMALL).total_wh == 500


def test_fall_that_would_need_more_than_the_device_can_make_is_no_rollover() -> None:
    spec = RegisterSpec(Decimal(5_000), width_wh=Decimal(65_536), confirm_samples=2, confirm_for=timedelta(minutes=15))
    found = run([40_000, 100, 600], spec)
    assert found.total_wh == 500
    assert decided(found)["reset"] == 1


def test_fall_after_weeks_of_silence_is_no_rollover() -> None:
    spec = RegisterSpec(Decimal(5_000), width_wh=Decimal(65_536), confirm_samples=2, confirm_for=timedelta(minutes=15))
    found = run([60_000, 100, 600], spec, seconds=[0, 30 * 86_400, 30 * 86_400 + 900])
    assert found.total_wh == 500
    assert decided(found)["reset"] == 1


def test_dip_near_the_width_is_no_rollover() -> None:
    spec = RegisterSpec(Decimal(5_000), width_wh=Decimal(65_536))
    found = run([65_400, 65_500, 3, 65_510], spec)
    assert found.total_wh == 110


def test_reset_confirmed_by_what_follows_credits_nothing_across_it() -> None:
    # luuuis/hass_wibeee#191: 439534 Wh → 718 Wh on a restart, and it stayed there.
    register = [439_500, 439_534, *(718 + 2 * i for i in range(97))]
    found = run(register, RegisterSpec(Decimal(5_000)))
    assert found.total_wh == 34 + 192
    assert found.rule[1] == Rule.RESET.code
    assert found.energy_mwh[1] == 0
    assert decided(found) == {"opening": 1, "normal": 97, "reset": 1}


def test_reset_one_reading_short_of_confirmation_stays_unresolved() -> None:
    found = run([439_500, 439_534, *(718 + 2 * i for i in range(96))], RegisterSpec(Decimal(5_000)))
    assert found.total_wh == 34
    assert decided(found) == {"opening": 1, "normal": 1, "unresolved": 96}


@pytest.mark.parametrize(("readings_after", "credited"), [(2, 0), (3, 20)])
def test_reset_of_a_register_read_daily_needs_three_readings(readings_after: int, credited: int) -> None:
    register = [1_000_000, *(100 + 10 * i for i in range(readings_after))]
    assert run(register, seconds=[86_400.0 * i for i in range(len(register))]).total_wh == credited


def test_reset_with_dips_after_it_is_still_confirmed() -> None:
    low = [718 + 2 * i for i in range(400)]
    for at in range(10, 400, 30):
        low[at] = 200
    found = run([439_500, 439_534, *low], RegisterSpec(Decimal(5_000)))
    assert found.total_wh == 34 + 798
    assert decided(found)["reset"] == 1
    assert decided(found)["dip"] == 13


def test_refoss_zero_for_seconds_is_no_reset() -> None:
    # 3.737 kWh → unavailable → 0.000 → 3.746 kWh within 3.4 s; 9 Wh in 3.4 s are 9.5 kW.
    spec = RegisterSpec(Decimal(10_000))
    found = run([3737, nan, 0, 3746], spec, seconds=[0, 1.1, 2.2, 3.4])
    assert found.total_wh == 9
    assert decided(found) == {"opening": 1, "normal": 1, "zero": 1, "invalid": 1}


def test_zigbee2mqtt_false_low_values_after_a_restart() -> None:
    found = run([978_438, 7439, 1150, 478_439, 978_440], RegisterSpec(Decimal(3_500)), seconds=10.0)
    assert found.total_wh == 2
    assert decided(found) == {"opening": 1, "normal": 1, "dip": 3}


def test_zigbee2mqtt_false_low_values_that_do_not_recover_credit_nothing() -> None:
    found = run([978_438, 7439, 1150, 478_439], RegisterSpec(Decimal(3_500)), seconds=10.0)
    assert found.total_wh == 0
    assert decided(found) == {"opening": 1, "unresolved": 3}


def test_minus_a_million_as_the_first_sample_of_the_morning() -> None:
    found = run([6_994_000, -1_000_000_000, 6_994_010, 6_994_020])
    assert found.total_wh == 20
    assert decided(found)["invalid"] == 1


def test_torn_16_bit_read_adds_6553_6_kwh_for_one_sample() -> None:
    found = run([1_000_000, 1_000_010, 7_553_620, 1_000_030])
    assert found.total_wh == 30
    assert decided(found)["spike"] == 1


def test_torn_16_bit_read_that_stays_is_no_energy_however_long_it_stays() -> None:
    # 6553.6 kWh are more than 120 kW make in 15 min, but not more than they make in 55 h.
    found = run([1_000_000, *(7_553_600 + i for i in range(400))])
    assert found.total_wh == 399
    assert decided(found) == {"opening": 1, "normal": 399, "step_above_maximum": 1}


def test_goodwe_micro_decrease_is_no_event() -> None:
    # goodwe-sems#212: 42255.67 → 42255.63 kWh.
    spec = RegisterSpec(Decimal(100_000), micro_decrease_wh=Decimal(50))
    found = run([42_255_600, 42_255_670, 42_255_630, 42_255_630, 42_255_700], spec)
    assert found.total_wh == 100
    assert decided(found) == {"opening": 1, "normal": 2, "micro_decrease": 2}


def test_micro_decrease_that_stays_for_days_credits_nothing_twice() -> None:
    for micro in ("0", "50"):
        spec = RegisterSpec(Decimal(100_000), micro_decrease_wh=Decimal(micro))
        found = run([42_255_600, 42_255_670, *[42_255_630] * 300, 42_255_700], spec)
        assert found.total_wh == 100, micro


def test_int32_maximum_as_sentinel() -> None:
    spec = RegisterSpec.of_bits(32, Decimal(100_000))
    found = run([1000, 2_147_483_647, 1020], spec)
    assert found.total_wh == 20
    assert decided(found)["spike"] == 1


def test_int32_maximum_as_first_sample_does_not_open_the_register() -> None:
    spec = RegisterSpec.of_bits(32, Decimal(100_000))
    found = run([2_147_483_647, *(1000 + i for i in range(100))], spec)
    assert found.total_wh == 99


def test_low_first_sample_does_not_turn_the_true_level_into_energy() -> None:
    # Plant 2's exporter averages missing minutes in as zero: 14/15 of the register, then the register.
    register = [2_429_011_000.0 * 14 / 15, *(2_429_011_000.0 + i for i in range(100))]
    found = run(register, RegisterSpec(Decimal(1_500_000)))
    assert found.total_wh == 99
    assert decided(found)["step_above_maximum"] == 1


def test_step_above_the_maximum_credits_nothing_across_it() -> None:
    found = run([1000, 9000, 9010, 9020], SMALL)
    assert found.total_wh == 20
    assert found.rule[0] == Rule.STEP_ABOVE_MAXIMUM.code


@pytest.mark.parametrize(("step", "credited"), [(30_001.0, 30_001), (30_001.001, 0)])
def test_step_of_exactly_the_maximum_and_one_resolution_is_the_last_one_believed(step: float, credited: int) -> None:
    assert run([1000, 1000 + step]).total_wh == credited


def test_late_reading_is_credited_if_both_steps_together_are_possible() -> None:
    # Plant 1, inverter 1IF53ai7Xc0U56Y, 2020-06-03 13:30, 13:45, 14:00, 14:15 [kWh].
    register = [6_329_717_250, 6_329_874_000, 6_330_385_000, 6_330_510_714]
    found = run(register, RegisterSpec(Decimal(1_500_000)))
    assert found.total_wh == 793_464
    assert decided(found) == {"opening": 1, "normal": 2, "late": 1}


def test_late_reading_is_not_believed_beyond_what_both_steps_could_make() -> None:
    found = run([1000, 31_000, 31_000 + 30_100, 61_110], SPEC)
    assert found.total_wh == 30_000


def test_duplicate_of_an_instant_is_set_aside_the_first_stands() -> None:
    found = run([1000, 1010, 1500, 1020], seconds=[0, 900, 900, 1800])
    assert found.total_wh == 20
    assert found.dropped_source.tolist() == [2]
    assert decided(found)["duplicate"] == 1


def test_frozen_register_is_flagged_while_power_is_made() -> None:
    register = [1000.0, *[1010.0] * 20, 1020.0]
    found = run(register, power_w=[40_000.0] * 22)
    assert decided(found) == {"opening": 1, "normal": 2, "frozen": 19}
    assert found.total_wh == 20


def test_still_register_at_night_is_not_frozen() -> None:
    register = [1000.0, *[1010.0] * 20, 1020.0]
    assert "frozen" not in decided(run(register, power_w=[1500.0, 1600.0, *[0.0] * 20]))
    assert "frozen" not in decided(run(register))


def test_catch_up_after_a_frozen_register_is_credited_as_far_as_power_explains_it() -> None:
    register = [1000.0, *[1010.0] * 20, 190_000.0]
    found = run(register, power_w=[40_000.0] * 22)
    assert found.total_wh == 189_000
    assert decided(found) == {"opening": 1, "normal": 1, "catch_up": 1, "frozen": 19}
    # One interval over the whole standstill.
    assert found.t0_us[1] == START_US + 900_000_000


def test_catch_up_without_power_is_no_energy() -> None:
    register = [1000.0, *[1010.0] * 20, 190_000.0]
    assert run(register).total_wh == 10
    assert run(register, power_w=[nan] * 22).total_wh == 10


def test_catch_up_beyond_what_power_explains_is_no_energy() -> None:
    register = [1000.0, *[1010.0] * 20, 300_000.0]
    assert run(register, power_w=[40_000.0] * 22).total_wh == 10


def test_replacement_joins_at_the_declared_registers() -> None:
    opening = DeclaredRegister(START + timedelta(minutes=20), Decimal("995.5"))
    closing = DeclaredRegister(START + timedelta(minutes=70), Decimal("1033.25"))
    found = run([400, 500, 1000, 1010, 1020, 5, 6], opening=opening, closing=closing)
    assert found.total_wh == Decimal("37.75")
    assert found.source.tolist() == [DECLARED, 2, 3, 4, DECLARED]
    assert decided(found) == {"replacement": 2, "normal": 2, "outside": 4}


def test_replacement_whose_closing_register_contradicts_the_readings_credits_the_lower() -> None:
    closing = DeclaredRegister(START + timedelta(minutes=50), Decimal(1015))
    assert run([1000, 1010, 1020, 1030], closing=closing).total_wh == 15


def test_replacement_whose_closing_register_is_impossible_is_not_joined() -> None:
    closing = DeclaredRegister(START + timedelta(minutes=50), Decimal(9_000_000))
    assert run([1000, 1010, 1020, 1030], closing=closing).total_wh == 30


def test_replacement_closing_confirms_a_reset_that_the_readings_alone_could_not() -> None:
    closing = DeclaredRegister(START + timedelta(minutes=50), Decimal(30))
    found = run([1_000_000, 1_000_010, 10, 20], closing=closing)
    assert found.total_wh == 30
    assert decided(found) == {"opening": 1, "normal": 2, "reset": 1, "replacement": 1}


def test_replacement_registers_stand_against_readings_of_the_same_instant() -> None:
    opening = DeclaredRegister(START, Decimal(1001))
    closing = DeclaredRegister(START + timedelta(minutes=30), Decimal(1019))
    found = run([1000, 1010, 1020], opening=opening, closing=closing)
    assert found.total_wh == 18
    assert decided(found) == {"replacement": 2, "outside": 2}


def test_replacement_without_any_reading_between_is_still_energy() -> None:
    opening = DeclaredRegister(START, Decimal(0))
    closing = DeclaredRegister(START + timedelta(hours=1), Decimal(100))
    assert run([], opening=opening, closing=closing).total_wh == 100


def test_counts_name_every_rule_with_its_version() -> None:
    counts = run([1000, 1010]).counts()
    assert set(counts) == {rule.id for rule in Rule}
    assert counts["register.normal@1"] == 1
    assert counts["register.reset@1"] == 0


def test_rules_have_distinct_codes_ids_and_reasons() -> None:
    assert len({r.code for r in Rule}) == len({r.id for r in Rule}) == len({r.reason for r in Rule}) == len(Rule)


@pytest.mark.parametrize("register", [[], [1000.0], [0.0], [nan]])
def test_series_too_short_for_an_interval_has_no_energy(register: list[float]) -> None:
    found = run(register)
    assert found.total_mwh == 0
    assert len(found.t_us) + len(found.dropped_t_us) == len(register)


def test_to_mwh_rounds_to_the_nearest_and_marks_what_is_no_number() -> None:
    values = np.array([0.0014, 0.0016, 1e9, nan, inf, -inf, 1e300, -2.5])
    assert to_mwh(values).tolist() == [1, 2, 10**12, INVALID_MWH, INVALID_MWH, INVALID_MWH, INVALID_MWH, -2500]


def test_errors_are_one_line_and_say_what_to_do() -> None:
    t = np.array([2, 1], dtype=np.int64)
    with pytest.raises(SeriesError, match="reading 1 lies before reading 0 in time: sort the readings"):
        intervals(t, t, SPEC)
    with pytest.raises(SeriesError, match="2 instants but 1 registers"):
        intervals(t, t[:1], SPEC)
    with pytest.raises(SeriesError, match="give a one-dimensional int64 array"):
        intervals(t, t.astype(np.float64), SPEC)
    with pytest.raises(SeriesError, match="one power per instant"):
        intervals(t[:1], t[:1], SPEC, power_w=np.array([1.0, 2.0]))
    late = DeclaredRegister(START + timedelta(hours=1), Decimal(1))
    with pytest.raises(SeriesError, match="lies before the opening"):
        run([1], opening=late, closing=DeclaredRegister(START, Decimal(2)))
    with pytest.raises(SeriesError, match="cannot be"):
        run([1], opening=DeclaredRegister(START, Decimal(-1)))
    assert issubclass(SeriesError, MrvError)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maximum_power_w": Decimal(0)}, "maximum_power_w is 0"),
        ({"maximum_power_w": Decimal("NaN")}, "maximum_power_w is NaN"),
        ({"margin": Decimal("0.9")}, "margin is 0.9"),
        ({"width_wh": Decimal(0)}, "width_wh is 0"),
        ({"width_wh": Decimal(2) ** 64}, "above 2\\^53"),
        ({"micro_decrease_wh": Decimal(-1)}, "micro_decrease_wh is -1"),
        ({"confirm_samples": 0}, "confirm_samples is 0"),
        ({"gap_after": timedelta(-1)}, "gap_after is -1 day"),
    ],
)
def test_register_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(RegisterSpecError, match=message):
        RegisterSpec(**{"maximum_power_w": Decimal(1000), **change})  # type: ignore[arg-type]


def test_register_of_bits() -> None:
    assert RegisterSpec.of_bits(32, Decimal(1)).width_wh == 4_294_967_296
    assert RegisterSpec.of_bits(16, Decimal(1), Decimal(100)).width_wh == 6_553_600
    assert RegisterSpec.of_bits(64, Decimal(1)).width_wh is None
    with pytest.raises(RegisterSpecError, match="of 0 bits"):
        RegisterSpec.of_bits(0, Decimal(1))
