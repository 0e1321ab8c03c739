"""The pure formulas: numbers by hand, and laws that keep them conservative."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrv import solar_pv
from mrv.errors import FormulaError, ImplausibleError
from mrv.formulas import electricity_factor
from mrv.formulas.cop_ratio import Chiller, totals
from mrv.formulas.counted import ALLOWED, NEEDED, SUBTRACTED, counted
from mrv.formulas.plausibility import check

energy = st.decimals(min_value=0, max_value=10**9, places=3)


def wh(**given_wh):
    return {name: Decimal(value) for name, value in given_wh.items()}


@pytest.mark.parametrize(
    ("monitored", "quantities", "eg"),
    [
        ("gross_output", wh(generated=7), 7),
        ("day_category", wh(generated=7), 7),
        ("consumed_or_sold", wh(generated=7), 7),
        ("consumed_or_sold", wh(generated=7, sold=3), 10),
        ("battery", wh(generated=7, charged=5, discharged=4), 6),
        ("battery", wh(generated=7, charged=5, discharged=9), 7),
        ("battery", wh(generated=7, charged=50, discharged=4), 0),
        ("net_output", wh(generated=7, auxiliary=2), 5),
        ("net_output", wh(generated=7, auxiliary=20), 0),
    ],
)
def test_what_is_counted(monitored, quantities, eg):
    assert counted(monitored, quantities) == eg


@pytest.mark.parametrize(
    ("monitored", "quantities", "said"),
    [
        ("battery", wh(generated=7, charged=5), "what the battery gave back is missing"),
        ("net_output", wh(generated=7), "the auxiliary consumption is missing"),
        ("gross_output", wh(generated=7, sold=1), "what was sold is given, and gross_output does not count it"),
        ("gross_output", wh(generated=-1), "the generation is -1, below zero"),
        ("project_consumption", wh(generated=1), "not counted from registers"),
    ],
)
def test_what_cannot_be_counted_is_refused(monitored, quantities, said):
    with pytest.raises(FormulaError, match=said):
        counted(monitored, quantities)


@given(st.sampled_from(sorted(NEEDED)), st.data())
def test_eg_is_never_negative_and_never_more_than_what_adds_to_it(monitored, data):
    quantities = {name: data.draw(energy, label=name) for name in sorted(ALLOWED[monitored])}
    eg = counted(monitored, quantities)
    assert 0 <= eg <= quantities["generated"] + quantities.get("sold", Decimal(0))


@given(st.sampled_from(sorted(NEEDED)), energy, st.data())
def test_more_of_what_is_subtracted_never_raises_eg(monitored, more, data):
    quantities = {name: data.draw(energy, label=name) for name in sorted(ALLOWED[monitored])}
    for name in SUBTRACTED & set(quantities):
        assert counted(monitored, {**quantities, name: quantities[name] + more}) <= counted(monitored, quantities)


def test_a_chiller_saves_what_the_ratio_of_its_cops_says():
    chiller = Chiller(Decimal("347.2"), Decimal("6.0"), Decimal("5.0"), Decimal("0.8"))
    assert (str(chiller.re_tco2), str(chiller.pe_tco2)) == ("333.312000", "277.760000")
    assert solar_pv.er_tco2(*totals([chiller, chiller])) == 111  # 2 × 55.552, floored once


def test_a_chiller_no_better_than_the_reference_saves_nothing():
    worse = Chiller(Decimal(100), Decimal("4.9"), Decimal("5.0"), Decimal("0.5"))
    assert solar_pv.er_tco2(*totals([worse])) == 0


cop = st.decimals(min_value="0.5", max_value=15, places=3)


@given(energy, cop, cop, st.decimals(min_value=0, max_value=2, places=4))
def test_no_rounding_of_a_chiller_raises_its_reductions(ec, project, reference, ef):
    chiller = Chiller(ec, project, reference, ef)
    # As fractions of COP_RE, exactly: RE·COP_RE ≤ EC × EF × COP_PJ, PE ≥ EC × EF.
    assert chiller.re_tco2 * reference <= ec * ef * project
    assert chiller.pe_tco2 >= ec * ef


@pytest.mark.parametrize(
    ("values", "said"),
    [(("-1", "5", "5", "0.5"), "give 0 or more"), (("1", "5", "0", "0.5"), "above 0"), (("1", "19", "5", "1"), "EER")],
)
def test_a_chiller_that_cannot_be_is_refused(values, said):
    with pytest.raises(FormulaError, match=said):
        Chiller(*map(Decimal, values))


def test_0_533_is_diesel_at_49_percent():
    assert round(electricity_factor.option_b(Decimal(49), Decimal("0.0726")), 3) == Decimal("0.533")


def test_the_factor_of_consumption_is_the_lower_of_grid_and_captive():
    # 1,000 kg of diesel at 43 MJ/kg and 74.1 kgCO2/GJ made 4 MWh.
    by_fuel = electricity_factor.option_c(Decimal(1000), Decimal("0.043"), Decimal("0.0741"), Decimal(4))
    assert by_fuel == Decimal("0.796575")
    assert electricity_factor.of_consumption(Decimal("0.5"), by_fuel) == Decimal("0.5")
    assert electricity_factor.of_consumption(None, by_fuel) == by_fuel
    assert electricity_factor.of_consumption(Decimal("0.9"), electricity_factor.OPTION_A_TCO2_PER_MWH) == Decimal("0.8")
    for wrong in (
        lambda: electricity_factor.of_consumption(None, None),
        lambda: electricity_factor.option_c(Decimal(1), Decimal(1), Decimal(1), Decimal(0)),
        lambda: electricity_factor.option_b(Decimal(149), Decimal(1)),
    ):
        with pytest.raises(FormulaError):
            wrong()


def test_kwh_in_a_mwh_cell_is_refused_with_the_question_whether_it_is_kwh():
    with pytest.raises(ImplausibleError) as refused:
        check(Decimal(42_826_880), Decimal(10_000), Decimal(8760), "EI_grid,p")
    assert str(refused.value) == (
        "EI_grid,p: 42,826,880 MWh is more than 10,000 kW can make in 8,760 hours (87,600 MWh); "
        "as kWh it would be 42,826.88 MWh: was it written in kWh?"
    )


def test_an_energy_that_cannot_be_in_kwh_either_is_refused_without_the_question():
    with pytest.raises(ImplausibleError, match="correct the capacity or the energy") as refused:
        check(Decimal(42_826_880), Decimal(1), Decimal(8760), "EG")
    assert "kWh" not in str(refused.value).replace("kW can", "")


@given(st.decimals(min_value="0.1", max_value=10**6, places=2), st.integers(1, 9000))
def test_all_that_the_capacity_can_make_is_believed_and_a_thousand_times_an_hour_of_it_is_not(capacity, hours):
    most = capacity * hours / 1000
    check(most, capacity, Decimal(hours), "EG")
    check(most * Decimal("1.2"), capacity, Decimal(hours), "EG")
    with pytest.raises(ImplausibleError):
        check(most * Decimal("1.2") + Decimal("0.000001"), capacity, Decimal(hours), "EG")
