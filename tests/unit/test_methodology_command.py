"""`jcm-mrv methodology`: what it says, and that a wrong catalogue fails."""

import json
import shutil
import sys

import pytest
from click.testing import CliRunner

from deploy import cli
from deploy.commands.apply import read
from devices.errors import DeclarationError
from mrv import catalogue


def run(*arguments):
    done = CliRunner().invoke(cli.cli, ["methodology", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["jcm-mrv", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


@pytest.fixture
def another_catalogue(tmp_path, monkeypatch):
    """A copy of the catalogue that a test may spoil."""
    copy = tmp_path / "methodologies"
    shutil.copytree(catalogue.DIRECTORY, copy)
    monkeypatch.setattr(catalogue, "DIRECTORY", copy)
    catalogue.all_methodologies.cache_clear()
    yield copy
    monkeypatch.undo()
    catalogue.all_methodologies.cache_clear()


def test_list_has_a_line_for_every_version():
    lines = run("list").splitlines()
    listed = json.loads(run("list", "--json"))
    assert len(lines) == len(listed) + 1 == len(catalogue.all_methodologies()) + 1
    assert any(line.startswith("MN_AM003  2.0") and "  EG V, PE V, EF V  " in line for line in lines)
    assert {one["id"] for one in listed if not one["computed"]} == {
        "ID_AM002", "ID_AM004", "MM_AM001", "MV_AM002", "TH_AM005",
    }  # fmt: skip


def test_show_gives_formula_parameters_sources_examples_and_what_is_unconfirmed():
    said = run("show", "th_am001", "1.0")
    for words in (
        "RE_p = Σ_i (EG_i,p × EF_RE,i)",
        "PE_p = 0",
        "ER_p = RE_p − PE_p",
        "EG_i,p [MWh/p] monitored or as registered (V)",
        "https://www.jcm.go.jp/th-jp/methodologies/39",
        "the factor that the project registered; else the default by `connection`",
        "grid: 0.319 tCO2/MWh (M)",
        "eg_mwh 6325.0, capacity_kw 5000, hours 8760",
        "→ eg_mwh 6325.000000, re_tco2 2017.675000, pe_tco2 0, er_tco2 2017",
        "was it written in kWh?",
        "EF_RE,i for captive, 0.533 tCO2/MWh (M): not yet confirmed",
    ):
        assert words in said


def test_show_without_a_version_gives_every_version():
    assert [one["version"] for one in json.loads(run("show", "TH_AM001", "--json"))] == ["1.0", "2.0", "3.0"]
    assert run("show", "TH_AM001").count("\nformula\n") == 3


def test_show_of_what_is_not_carried_whole_says_so():
    said = run("show", "MM_AM001")
    assert "scope = the reference emissions of the electricity alone" in said
    assert "no period is computed: its project emissions were not read" in said
    # No emission reductions are shown where the project emissions are not known.
    assert "re_tco2 1680.000000" in said
    assert "er_tco2" not in said
    assert "not read" in run("show", "MV_AM002")


def test_show_of_an_unknown_one_names_the_known(monkeypatch, capsys):
    assert main(monkeypatch, "methodology", "show", "MY_AM001") == 1
    assert capsys.readouterr().err.startswith(
        "jcm-mrv: methodology MY_AM001 is not in the catalogue, which has BD_AM002"
    )
    assert main(monkeypatch, "methodology", "show", "TH_AM001", "9.9") == 1
    assert "is known in version 1.0, 2.0, 3.0, not in 9.9" in capsys.readouterr().err


def test_check_counts_what_holds():
    counted = json.loads(run("check", "--json"))
    assert counted["methodologies"] == len(catalogue.all_methodologies())
    assert f"{counted['examples']} worked examples come out" in run("check")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "mn_am003_v2.0.toml",
            'value = "0.797"',
            'value = "0.0797"',
            "MN_AM003 2.0 has a mixed factor of 0.533, not the",
        ),
        ("th_am001_v1.0.toml", "er_tco2 = 2017", "er_tco2 = 2018", "ER_p is 2017, the example says 2018"),
        (
            "th_am005_v3.0.toml",
            'cop_reference = "5.7"',
            'cop_reference = "0"',
            "is refused: COP 6.1 and 0: give numbers",
        ),
    ],
)
def test_check_fails_with_the_first_that_is_wrong(another_catalogue, monkeypatch, capsys, file, old, new, said):
    path = another_catalogue / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert main(monkeypatch, "methodology", "check") == 1
    assert said in capsys.readouterr().err


def test_apply_refuses_what_lacks_the_registers_that_are_counted(tmp_path):
    file = tmp_path / "p.toml"
    file.write_text(
        """
[project]
id = "P1"
title = "Heat recovery"
host_country = "MMR"
methodology = "MM_AM005"
methodology_version = "1.0"
crediting_period = { from = 2021-01-01, to = 2030-12-31 }
[[site]]
id = "s"
name = "Site"
time_zone = "Asia/Yangon"
[[pv_system]]
id = "wh-1"
site = "s"
capacity_kw = 4000
connection = "grid"
credited_by = ["m-1"]
[[device]]
id = "m-1"
site = "s"
kind = "meter"
register = { point = "TotWhExp", bits = 64 }
installed = 2021-01-01
""",
        encoding="utf-8",
    )
    with pytest.raises(DeclarationError) as refused:
        read(file)
    assert "no default factor of MM_AM005 1.0 for grid was read" in str(refused.value)
    assert "system wh-1: MM_AM005 1.0 needs the register of what is auxiliary" in str(refused.value)
