"""The JSON report: the command line's contract, and nothing but the result in it."""

import json
from dataclasses import replace

import pytest

from mrv.reports import FORMATS, render
from mrv.result import PeriodResult


def test_says_what_the_contract_says(th014, declaration):
    content = render(th014, declaration, "json")
    report = json.loads(content)
    assert content.endswith(b"}\n")
    assert "ไทย" in content.decode()
    assert report["project"] == "TH014"
    assert (report["methodology"]["id"], report["methodology"]["version"]) == ("TH_AM001", "1.0")
    assert report["period"] == {"from": "2021-01-01", "to": "2021-12-31"}
    assert report["revision"] == 1
    (system,) = report["systems"]
    assert (system["id"], system["eg_mwh"]) == ("pv-1", "6325.000000")
    assert (system["ef_tco2_per_mwh"], system["re_tco2"]) == ("0.319", "2017.675000")
    (vintage,) = report["vintages"]
    assert {key: vintage[key] for key in ("year", "eg_mwh", "re_tco2", "pe_tco2", "er_tco2")} == {
        "year": 2021, "eg_mwh": "6325.000000", "re_tco2": "2017.675000", "pe_tco2": "0", "er_tco2": 2017,
    }  # fmt: skip
    assert report["er_tco2"] == 2017
    assert report["quality"] == {
        "coverage": 0.9981,
        "rules": {"register.gap@1": 2, "register.normal@1": 105120, "register.reset@1": 0},
    }
    assert report["inputs_digest"].startswith("sha256:")
    assert report["code_version"] == "0.1.0"


@pytest.mark.parametrize("report_format", FORMATS)
def test_equal_results_give_the_same_bytes_at_another_time_and_place(
    report_format, two_years, declaration, monkeypatch, tmp_path
):
    first = render(two_years, declaration, report_format)
    monkeypatch.setenv("TZ", "Pacific/Apia")
    monkeypatch.setenv("LC_ALL", "th_TH.UTF-8")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.chdir(tmp_path)
    # What is stored with a revision is the JSON; a report written from it is the report that was written at first.
    stored = PeriodResult.from_json(json.loads(render(two_years, declaration, "json")))
    rules = dict(reversed(list(two_years.rules.items())))
    assert render(stored, declaration, report_format) == first
    assert render(replace(two_years, rules=rules), declaration, report_format) == first


@pytest.mark.parametrize("report_format", FORMATS)
def test_another_result_gives_other_bytes(report_format, two_years, declaration):
    other = replace(two_years, inputs_digest="sha256:" + "1" * 64)
    assert render(other, declaration, report_format) != render(two_years, declaration, report_format)


@pytest.mark.parametrize("report_format", FORMATS)
def test_a_draft_without_systems_can_be_reported(report_format, build, declaration):
    empty = build(
        [], declaration.project.crediting_period.first_day, declaration.project.crediting_period.first_day,
        revision=0, received_until=None, rules={},
    )  # fmt: skip
    assert render(empty, declaration, report_format)
