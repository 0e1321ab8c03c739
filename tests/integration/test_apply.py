"""`apply` against the real database: a plan, one transaction, nothing lost, nothing twice."""

import hashlib
import json
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from deploy.commands.apply import apply
from devices.declarations import ProjectDeclaration, canonical_json
from devices.errors import DeclarationError
from sql.errors import DatabaseUnavailableError, SchemaError

PROJECT = """
[project]
id = "P1"
title = "One"
host_country = "THA"
methodology = "TH_AM001"
methodology_version = "1.0"
crediting_period = { from = 2020-05-01, to = 2030-04-30 }
participants = [{ name = "Plant Co., Ltd.", country = "THA" }]

[[site]]
id = "s1"
name = "Site"
time_zone = "Asia/Bangkok"

[[pv_system]]
id = "pv-1"
site = "s1"
capacity_kw = 1000.5
connection = "grid"
credited_by = ["m-1"]
emission_factor = { value = "0.319", unit = "tCO2/MWh", source = "PDD" }

[[device]]
id = "m-1"
site = "s1"
pv_system = "pv-1"
kind = "meter"
register = { point = "TotWhExp", bits = 32 }
installed = 2020-01-01
[[device.calibration]]
performed = 2019-12-20
valid_until = 2021-12-20
error_percent = "0.1"
"""

METER_2 = """
[[device]]
id = "m-2"
site = "s1"
pv_system = "pv-1"
kind = "meter"
register = { point = "TotWhExp", bits = 32 }
opening_register_wh = 17
installed = 2021-06-01
"""


class Command:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *texts: str, options: tuple[str, ...] = ()) -> Result:
        files = [self.folder / f"{index}.toml" for index in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
        return CliRunner().invoke(apply, [*map(str, files), *options])

    def says(self, *texts: str, options: tuple[str, ...] = ()) -> str:
        result = self(*texts, options=options)
        assert result.exit_code == 0, result.exception
        return result.output


@pytest.fixture
def command(tmp_path: Path, database: str, broker: object, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("JCM_MRV_DATABASE_URL", database)
    monkeypatch.setenv("JCM_MRV_MQTT_URL", broker.collector_url)  # type: ignore[attr-defined]
    return Command(tmp_path)


def rows(database: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database, options="-c timezone=UTC") as connection:
        return connection.execute(query).fetchall()


def test_a_declaration_is_stored_as_it_stands(command: Command, database: str) -> None:
    said = command.says(PROJECT)
    assert "P1: is now revision 1" in said
    assert "+ device s1/m-1" in said
    assert "4 added, 0 changed, 0 unchanged, 0 kept" in said
    assert rows(database, "select id, time_zone from site") == [("s1", "Asia/Bangkok")]
    assert rows(database, "select capacity_w::text, emission_factor_tco2_per_mwh::text from pv_system") == [
        ("1000500.0", "0.319")
    ]
    assert rows(
        database, "select id, register_bits, installed_at::text from device join device_install using (device_id)"
    ) == [("m-1", 32, "2019-12-31 17:00:00+00")]
    assert rows(database, "select error_percent::text from calibration") == [("0.1",)]
    assert rows(database, "select action, subject, detail->>'revision' from audit_event") == [("apply", "P1", "1")]


def test_the_stored_content_is_the_canonical_text(command: Command, database: str) -> None:
    command.says(PROJECT)
    [(content, sha256)] = rows(database, "select content::text, encode(sha256, 'hex') from declaration")
    text = canonical_json(ProjectDeclaration.model_validate_json(str(content)))
    assert hashlib.sha256(text.encode()).hexdigest() == sha256


def test_the_second_time_nothing_changes(command: Command, database: str) -> None:
    command.says(PROJECT)
    before = rows(database, "select xmin from device union all select xmin from site")
    assert "P1: nothing to change (4 entries as declared, revision 1)" in command.says(PROJECT)
    assert rows(database, "select xmin from device union all select xmin from site") == before
    assert rows(database, "select count(*) from declaration") == [(1,)]
    assert rows(database, "select count(*) from audit_event") == [(1,)]


def test_another_order_and_spelling_is_no_change(command: Command) -> None:
    command.says(PROJECT)
    text = PROJECT.replace('"0.319"', "0.3190").replace("installed = 2020-01-01", "installed = 2019-12-31T17:00:00Z")
    assert "nothing to change" in command.says(text)


def test_a_dry_run_says_what_would_change_and_changes_nothing(command: Command, database: str) -> None:
    assert "P1: would become revision 1" in command.says(PROJECT, options=("--dry-run",))
    assert rows(database, "select count(*) from project") == [(0,)]


def test_a_change_is_shown_from_old_to_new_and_both_are_kept(command: Command, database: str) -> None:
    command.says(PROJECT)
    said = command.says(PROJECT.replace('"0.319"', '"0.45"').replace('name = "Site"', 'name = "Roof"'))
    assert "~ pv_system pv-1: emission_factor.value: 0.319 → 0.45" in said
    assert "~ site s1: name: Site → Roof" in said
    assert "0 added, 2 changed, 2 unchanged, 0 kept" in said
    assert rows(
        database, "select revision, content #>> '{pv_system,0,emission_factor,value}' from declaration order by 1"
    ) == [(1, "0.319"), (2, "0.45")]


def test_what_is_not_in_the_file_any_more_stays(command: Command, database: str) -> None:
    command.says(PROJECT + METER_2)
    without_calibration = PROJECT[: PROJECT.index("[[device.calibration]]")]
    said = command.says(without_calibration)
    assert "nothing to change" in said
    assert "calibration s1/m-1 2019-12-20" in said
    assert "device s1/m-2" in said
    assert rows(database, "select count(*) from device") == [(2,)]
    [(devices,)] = rows(database, "select jsonb_array_length(content->'device') from declaration")
    assert devices == 2


def test_a_replacement_joins_the_place(command: Command, database: str) -> None:
    command.says(PROJECT)
    removed = (
        "installed = 2020-01-01\n"
        "removed = { at = 2021-06-01T03:00:00Z, closing_register_wh = 998877 }\n"
        'replaced_by = "m-2"'
    )
    said = command.says(PROJECT.replace("installed = 2020-01-01", removed) + METER_2)
    assert "~ device s1/m-1: replaced_by: not given → m-2" in said
    assert "~ device s1/m-1: removed.closing_register_wh: not given → 998877" in said
    assert rows(
        database,
        "select id, installed_at::text, opening_register_wh, removed_at::text, closing_register_wh, replaced_by"
        " from device join device_install using (device_id) order by id",
    ) == [
        ("m-1", "2019-12-31 17:00:00+00", None, "2021-06-01 03:00:00+00", 998877, "m-2"),
        # Declared for the same day: it is in the place from the removal on, not from that day's midnight.
        ("m-2", "2021-06-01 03:00:00+00", 17, None, None, None),
    ]


def test_a_corrected_installation_is_one_installation(command: Command, database: str) -> None:
    command.says(PROJECT)
    command.says(PROJECT.replace("installed = 2020-01-01", "installed = 2020-02-01"))
    assert rows(database, "select installed_at::text from device_install") == [("2020-01-31 17:00:00+00",)]


def test_a_file_that_contradicts_what_is_kept_is_refused(command: Command, database: str) -> None:
    command.says(PROJECT + METER_2)
    other = PROJECT.replace('"pv-1"', '"pv-2"')
    result = command(other)
    assert isinstance(result.exception, DeclarationError)
    assert "counts once" in str(result.exception)
    assert rows(database, "select count(*) from declaration") == [(1,)]


def test_a_site_cannot_go_to_another_project(command: Command) -> None:
    command.says(PROJECT)
    result = command(PROJECT.replace('id = "P1"', 'id = "P2"'))
    assert isinstance(result.exception, DeclarationError)
    assert 'site "s1": id: belongs to project "P1"' in str(result.exception)


def test_one_wrong_file_and_nothing_is_applied(command: Command, database: str) -> None:
    wrong = PROJECT.replace('id = "P1"', 'id = "P2"').replace('"s1"', '"s2"').replace("title", "titel")
    result = command(PROJECT, wrong)
    assert isinstance(result.exception, DeclarationError)
    assert "project.titel: unknown key" in str(result.exception)
    assert rows(database, "select count(*) from project") == [(0,)]


def test_several_projects_in_one_call(command: Command, database: str) -> None:
    command.says(PROJECT, PROJECT.replace('id = "P1"', 'id = "P2"').replace('"s1"', '"s2"'))
    assert rows(database, "select id from project order by id") == [("P1",), ("P2",)]
    result = command(PROJECT, PROJECT)
    assert "stands in" in str(result.exception)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"TH_AM001"', '"TH_AM999"', "project.methodology: methodology TH_AM999 is not in the catalogue"),
        ('_version = "1.0"', '_version = "9.0"', "not in 9.0"),
    ],
)
def test_a_methodology_that_nobody_knows(command: Command, old: str, new: str, said: str) -> None:
    result = command(PROJECT.replace(old, new))
    assert isinstance(result.exception, DeclarationError)
    assert said in str(result.exception)


def test_a_script_reads_the_plan(command: Command) -> None:
    command.says(PROJECT)
    plan = json.loads(command.says(PROJECT.replace('"0.319"', '"0.45"'), options=("--json", "--dry-run")))
    assert plan["dry_run"] is True
    assert plan["projects"][0]["changes"] == [
        {
            "action": "change",
            "table": "pv_system",
            "name": "pv-1",
            "key": "emission_factor.value",
            "old": "0.319",
            "new": "0.45",
        }
    ]


def test_without_a_schema_it_says_what_to_run(
    tmp_path: Path, empty_database: str, broker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("create extension if not exists timescaledb")
    monkeypatch.setenv("JCM_MRV_DATABASE_URL", empty_database)
    monkeypatch.setenv("JCM_MRV_MQTT_URL", broker.collector_url)  # type: ignore[attr-defined]
    result = Command(tmp_path)(PROJECT)
    assert isinstance(result.exception, SchemaError)
    assert "jcm-mrv migrate" in str(result.exception)


def test_without_a_database_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCM_MRV_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/nothing")
    monkeypatch.setenv("JCM_MRV_MQTT_URL", "mqtt://127.0.0.1:1")
    result = Command(tmp_path)(PROJECT)
    assert isinstance(result.exception, DatabaseUnavailableError)
    assert "secret" not in str(result.exception)
