"""The catalogue: what is carried, from where, and which factor a system gets."""

from decimal import Decimal

import pytest

from mrv.catalogue import (
    Connection,
    Mark,
    Methodology,
    all_methodologies,
    factor_for,
    find,
)
from mrv.errors import CatalogueError
from mrv.result import Factor

ALL = list(all_methodologies().values())


@pytest.mark.parametrize(
    ("methodology", "connection", "region", "value", "confirmed"),
    [
        (("TH_AM001", "1.0"), "grid", None, "0.319", False),
        (("TH_AM001", "1.0"), "grid_and_captive", None, "0.319", False),
        (("TH_AM001", "1.0"), "captive", None, "0.533", False),
        (("MN_AM003", "2.0"), "grid", None, "0.797", True),
        (("MN_AM003", "2.0"), "grid_and_captive", None, "0.533", True),
        (("MN_AM003", "2.0"), "captive", None, "0.533", True),
        (("ID_AM013", "1.0"), "grid", "Jamali", "0.619", True),
        (("ID_AM013", "1.0"), "grid_and_captive", "Jamali", "0.533", True),
        (("ID_AM013", "1.0"), "grid_and_captive", "jawa-madura-bali", "0.533", True),
        (("ID_AM013", "1.0"), "grid_and_captive", "Sumatra", "0.458", True),
        (("ID_AM013", "1.0"), "captive", None, "0.533", False),
        (("MV_AM001", "1.0"), "grid", None, "0.533", False),
    ],
)
def test_the_connection_case_picks_the_factor(methodology, connection, region, value, confirmed):
    factor = factor_for(find(*methodology), connection, region)
    assert (factor.value, factor.confirmed) == (Decimal(value), confirmed)
    assert find(*methodology).id in factor.source


def test_a_registered_factor_goes_before_the_default():
    registered = Factor(Decimal("0.4000"), "PDD section C", confirmed=True)
    assert factor_for(find("TH_AM001", "1.0"), "grid", registered=registered) is registered
    assert factor_for(find("TH_AM001", "3.0"), "captive", registered=registered) is registered


@pytest.mark.parametrize(
    ("methodology", "connection", "region", "said"),
    [
        (("TH_AM001", "2.0"), "grid", None, "no default factor of TH_AM001 2.0 for grid was read"),
        (("TH_AM001", "3.0"), "captive", None, "declare the system's registered `emission_factor`"),
        (("MN_AM003", "3.0"), "grid", None, "no default factor of MN_AM003 3.0"),
        (("PH_AM002", "1.0"), "grid", None, "no default factor of PH_AM002 1.0"),
        (("VN_AM007", "1.0"), "captive", None, "no default factor of VN_AM007 1.0 for captive"),
        (("ID_AM013", "1.0"), "grid", None, "no `grid_region` is declared"),
        (("ID_AM013", "1.0"), "grid", "Java", "it has no grid 'Java'"),
        (("BD_AM002", "1.0"), "captive", None, "tells captive fuels apart .diesel, gas. and no `captive_fuel`"),
        (("BD_AM002", "1.0"), "grid_and_captive", None, "no default factor of BD_AM002 1.0 for grid_and_captive"),
        (("KH_AM002", "1.0"), "captive", None, "no default factor of KH_AM002 1.0 for captive"),
    ],
)
def test_a_factor_that_was_not_read_is_never_made_up(methodology, connection: Connection, region, said):
    with pytest.raises(CatalogueError, match=said):
        factor_for(find(*methodology), connection, region)


def test_unknown_methodologies_are_answered_with_the_known_ones():
    with pytest.raises(CatalogueError, match=r"TH_AM001 is known in version 1.0, 2.0, 3.0, not in 9.9"):
        find("TH_AM001", "9.9")
    with pytest.raises(CatalogueError, match=r"MY_AM001 is not in the catalogue, which has .*TH_AM001"):
        find("MY_AM001", "1.0")


def test_what_is_not_verbatim_is_never_called_confirmed():
    for methodology in ALL:
        for default in methodology.factors:
            grid = default.grids[0] if default.grids else None
            if default.value is None:
                with pytest.raises(CatalogueError, match="was read in its text"):
                    factor_for(methodology, default.connection, grid, fuel=default.fuel)
            else:
                assert factor_for(methodology, default.connection, grid).confirmed is (default.mark is Mark.VERBATIM)


def test_a_factor_without_its_unit_is_refused():
    data = find("MV_AM001", "1.0").model_dump(by_alias=True)
    data["factor"] = [{"connection": "grid", "value": "0.533", "mark": "D", "source": "x"}]
    with pytest.raises(ValueError, match="unit"):
        Methodology.model_validate(data)
