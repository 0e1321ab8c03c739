"""Every worked example of the catalogue comes out, every rule of its data holds, and the page says what it carries."""

from decimal import Decimal
from pathlib import Path

import pytest

from deploy.methodology_page import render
from mrv.catalogue import DIRECTORY, Mark, all_methodologies, find
from mrv.errors import CatalogueError
from mrv.methodology_rules import RULES, check
from mrv.methodology_text import unconfirmed
from mrv.worked_examples import compute, problem

ALL = list(all_methodologies().values())
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("methodology", "example"),
    [(m, example) for m in ALL for example in m.examples],
    ids=lambda x: f"{x.id} {x.version}" if hasattr(x, "version") else x.name,
)
def test_every_worked_example_comes_out(methodology, example):
    assert problem(methodology, example) is None


@pytest.mark.parametrize("name", RULES)
def test_every_rule_holds_for_every_version(name):
    assert [(m.id, m.version, wrong) for m in ALL for wrong in RULES[name][1](m)] == []


def test_no_file_is_left_out():
    assert {f"{m.id.lower()}_v{m.version}.toml" for m in ALL} == {path.name for path in DIRECTORY.glob("*.toml")}


def test_the_page_is_what_the_catalogue_says():
    assert (DOCS / "methodologies.md").read_text(encoding="utf-8") == render(), "run `make docs`"


def test_every_solar_methodology_of_a_real_project_is_carried():
    """The versions that the 147 listed projects apply."""
    used = {
        "TH_AM001": ["1.0", "2.0", "3.0"], "VN_AM007": ["1.0"], "ID_AM013": ["1.0"], "ID_AM017": ["1.0"],
        "KH_AM002": ["1.0"], "PH_AM002": ["1.0"], "LA_AM002": ["1.0"], "MN_AM003": ["2.0", "3.0"], "MN_AM004": ["1.0"],
        "MV_AM001": ["1.0"], "MV_AM002": ["1.0"], "PW_AM001": ["1.0"], "BD_AM002": ["1.0"], "KE_AM002": ["1.0"],
        "CR_AM001": ["1.0"], "CL_AM001": ["1.0", "2.0"],
    }  # fmt: skip
    carried = {(m.id, m.version) for m in ALL}
    assert {(name, version) for name, versions in used.items() for version in versions} <= carried


def test_the_battery_methodology_has_the_grids_of_indonesia_and_confirms_none_of_them():
    grids, battery = find("ID_AM013", "1.0"), find("ID_AM017", "1.0")
    assert [(f.connection, f.grids, f.value) for f in grids.factors] == [
        (f.connection, f.grids, f.value) for f in battery.factors
    ]
    assert {factor.mark for factor in battery.factors} == {Mark.UNCONFIRMED}


def test_the_published_unit_error_is_refused():
    chiller = find("ID_AM002", "2.0")
    published = next(example for example in chiller.examples if example.eg_mwh == Decimal(42_826_880))
    from mrv.errors import ImplausibleError

    with pytest.raises(ImplausibleError, match=r"42,826,880 MWh is more than .* was it written in kWh\?"):
        compute(chiller, published)


def changed(methodology, **fields):
    return {(methodology.id, methodology.version): methodology.model_copy(update=fields)}


def first_factor(methodology, **fields):
    return (methodology.factors[0].model_copy(update=fields), *methodology.factors[1:])


MN = find("MN_AM003", "2.0")
TH = find("TH_AM001", "1.0")
VN = find("VN_AM007", "1.0")
BD = find("BD_AM002", "1.0")
EX = MN.examples[0]


@pytest.mark.parametrize(
    ("catalogue", "said"),
    [
        (changed(MN, version="2.1"), "MN_AM003 2.1 is not in a file of its name"),
        (changed(MN, host_country="THA"), "names THA as its host country"),
        (changed(MN, factors=first_factor(MN, value=Decimal("0.4"))), "not the lower of 0.4 and 0.533"),
        (changed(MN, factors=MN.factors[1:]), "a mixed factor of 0.533 and no grid factor"),
        (changed(TH, factors=first_factor(TH, mark=Mark.VERBATIM)), "marks the factor for grid as read verbatim"),
        (changed(BD, factors=first_factor(BD, source="")), "does not say that it was not read"),
        (changed(MN, factors=(*MN.factors, MN.factors[0])), "has 2 factors for grid"),
        (changed(MN, examples=()), "has no worked example"),
        (changed(VN, examples=VN.examples[:1]), "has no worked example of what it counts"),
        (changed(MN, parameters=MN.parameters[:1]), "does not state it"),
        (changed(MN, not_computed="why"), "does not say what is carried of it"),
        (changed(MN, examples=(EX.model_copy(update={"er_tco2": 8948}),)), "ER_p is 8947, the example says 8948"),
        (changed(MN, examples=(EX, EX.model_copy(update={"refused": "x"}))), "must be refused"),
        (
            changed(MN, examples=(EX, EX.model_copy(update={"capacity_kw": Decimal(1)}))),
            "is refused: EG_i,p: 11,226 MWh",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_breaks_a_rule_or_an_example_is_named(catalogue, said):
    with pytest.raises(CatalogueError, match=said):
        check(catalogue)


def test_what_was_not_read_is_listed_and_what_was_is_not():
    assert unconfirmed(MN) == []
    assert any("0.319 tCO2/MWh (M)" in line for line in unconfirmed(TH))
    assert any("its value was not read" in line for line in unconfirmed(BD))
    assert any("no default was read" in line for line in unconfirmed(find("TH_AM001", "3.0")))
