"""Monitoring periods on a real database: drafts, revisions, late data, crashes, calendars."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Barrier, Thread

import psycopg
import pytest

from deploy.registry import apply
from devices.declaration_file import load as load_declaration
from mrv import inputs, periods, revisions
from mrv.errors import CatalogueError, PeriodError, RecomputeError, WrongUseError
from mrv.result import PeriodResult
from sql.connection import Role, connect

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 10)
DAYS = (FIRST, LAST)


def freeze(plant, first=FIRST, last=LAST, version="1"):
    return periods.freeze(plant.connection, plant.project, first, last, code_version=version)


def draft(plant, first=FIRST, last=LAST, version="1"):
    return periods.draft(plant.connection, plant.project, first, last, code_version=version)


def recompute(plant, number=None):
    return periods.recompute(plant.connection, plant.project, FIRST, LAST, number)


def test_a_draft_is_the_register_s_difference_times_the_factor(plant):
    plant.insert(plant.days(FIRST, LAST))
    result = draft(plant)
    assert str(result.systems[0].eg_mwh) == "0.240000"
    assert result.systems[0].re_tco2 == Decimal("0.076560")
    assert (result.er_tco2, result.revision, result.received_until) == (0, 0, None)
    assert result.coverage == Decimal("1.0000")
    assert result.rules["register.normal@1"] == 240
    assert result.inputs_digest.startswith("sha256:")
    assert any("0.319 tCO2/MWh, is a default not confirmed" in note for note in result.notes)
    assert PeriodResult.from_json(json.loads(json.dumps(result.as_json()))) == result


def test_energy_that_crosses_into_or_out_of_the_period_is_not_credited(plant):
    # Half past each hour: one interval crosses FROM's midnight, another TO's.
    rows = [(ts + timedelta(minutes=30), wh) for ts, wh in plant.days(date(2021, 2, 27), date(2021, 3, 12))]
    plant.insert(rows)
    assert draft(plant).systems[0].eg_mwh == Decimal("0.239000")


def test_freeze_then_the_same_data_again_is_nothing_new(plant):
    rows = plant.days(FIRST, LAST)
    plant.insert(rows)
    frozen = freeze(plant)
    assert (frozen.new, frozen.revision.number, frozen.revision.result.revision) == (True, 1, 1)
    assert plant.insert(rows) == 0
    again = freeze(plant, version="2")
    assert (again.new, again.revision.number) == (False, 1)
    assert again.revision.result_text == frozen.revision.result_text
    assert recompute(plant).result_text == frozen.revision.result_text
    assert revisions.arrived_since(plant.connection, frozen.revision) == 0


def test_late_data_makes_a_second_revision_and_leaves_the_first(plant):
    rows = plant.days(FIRST, LAST)
    plant.insert(rows[:-48])
    one = freeze(plant).revision
    plant.insert(rows)
    assert revisions.arrived_since(plant.connection, one) == 47  # the reading at the last midnight is the next day's
    two = freeze(plant)
    assert (two.new, two.revision.number) == (True, 2)
    assert two.revision.result.systems[0].eg_mwh - one.result.systems[0].eg_mwh == Decimal("0.048000")
    assert two.revision.received_until > one.received_until
    assert recompute(plant, 1).result_text == one.result_text
    assert recompute(plant, 2).result_text == two.revision.result_text
    listed = revisions.list_periods(plant.connection, plant.project)
    assert [(line.revision, line.er_tco2) for line in listed] == [(1, 0), (2, 0)]


def test_a_changed_declaration_makes_a_new_revision_too(plant):
    plant.insert(plant.days(FIRST, LAST))
    one = freeze(plant).revision
    registered = 'credited_by = ["*"]\nemission_factor = { value = "0.4", unit = "tCO2/MWh", source = "PDD" }'
    plant.apply(plant.toml.replace('credited_by = ["*"]', registered))
    two = freeze(plant).revision
    assert (one.result.systems[0].factor.value, two.result.systems[0].factor.value) == (
        Decimal("0.319"),
        Decimal("0.4"),
    )
    assert any("differs from the default" in note for note in two.result.notes)
    assert recompute(plant, 1).result_text == one.result_text


def test_a_crash_between_cut_off_and_result_is_completed_with_the_same_cut_off(plant, monkeypatch):
    rows = plant.days(FIRST, LAST)
    plant.insert(rows[:-48])

    with monkeypatch.context() as patch:
        patch.setattr(periods, "_complete", lambda *_: (_ for _ in ()).throw(ConnectionError("killed")))
        with pytest.raises(ConnectionError):
            freeze(plant)
    left = revisions.revisions(plant.connection, plant.project, *DAYS)
    assert [(entry.number, entry.result_text) for entry in left] == [(1, None)]
    with pytest.raises(PeriodError, match="revision 1 was left unfinished; freeze the period again"):
        assert left[0].result
    plant.insert(rows)  # too late for the cut-off that was drawn

    completed = freeze(plant)
    assert (completed.completed, completed.revision.number) == (True, 1)
    assert completed.revision.received_until == left[0].received_until
    assert completed.revision.result.systems[0].eg_mwh == Decimal("0.192000")
    assert recompute(plant).result_text == completed.revision.result_text
    assert freeze(plant).revision.number == 2


def test_another_frozen_period_that_shares_a_day_is_refused(plant):
    plant.insert(plant.days(FIRST, LAST))
    freeze(plant)
    with pytest.raises(PeriodError, match=r"shares days with 2021-03-01 to 2021-03-10.* credited twice"):
        freeze(plant, date(2021, 3, 10), date(2021, 3, 20))
    assert freeze(plant, date(2021, 3, 11), date(2021, 3, 20)).new


def test_what_is_stored_cannot_be_changed_and_tampering_is_named(plant):
    plant.insert(plant.days(FIRST, LAST))
    freeze(plant)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="frozen"):
        plant.connection.execute("update period_revision set result = '{}'")
    plant.owner.execute("update reading set energy_exported_wh = energy_exported_wh + 5 where ts = '2021-03-05T00:00Z'")
    with pytest.raises(RecomputeError, match=r"does not recompute: inputs_digest was \"sha256:"):
        recompute(plant)


def test_wrong_days(plant):
    with pytest.raises(WrongUseError, match="FROM 2021-03-10 lies after TO 2021-03-01"):
        draft(plant, LAST, FIRST)
    with pytest.raises(
        PeriodError, match="2018-12-31 lies before the crediting period of P1, 2019-01-01 to 2029-12-31"
    ):
        draft(plant, date(2018, 12, 31), LAST)
    with pytest.raises(PeriodError, match="2030-01-01 lies after the crediting period"):
        freeze(plant, FIRST, date(2030, 1, 1))
    with pytest.raises(PeriodError, match="there is no project NONE; there is P1"):
        periods.draft(plant.connection, "NONE", FIRST, LAST, code_version="1")
    with pytest.raises(PeriodError, match="was never frozen"):
        recompute(plant)


def test_a_period_that_is_not_over_is_computed_and_not_frozen(plant):
    today = datetime.now(UTC).date()
    plant.insert(plant.days(today - timedelta(days=3), today - timedelta(days=2)))
    with pytest.raises(PeriodError, match="is not over before"):
        freeze(plant, today - timedelta(days=3), today + timedelta(days=3))
    result = draft(plant, today - timedelta(days=3), today + timedelta(days=3))
    assert result.systems[0].eg_mwh == Decimal("0.048000")
    assert any("the period is not over before" in note for note in result.notes)
    missed = [note for note in result.notes if note.startswith("no reading on")]
    assert all((today + timedelta(days=1)).isoformat() not in note for note in missed)


def test_days_without_a_reading_are_named(plants):
    plant = plants(inverters=2)
    rows = plant.days(FIRST, LAST)
    missing = {date(2021, 3, 4), date(2021, 3, 5), date(2021, 3, 8)}
    kept = [(ts, wh) for ts, wh in rows if (ts + timedelta(hours=7)).date() not in missing]
    plant.insert(kept, "inv-1")
    plant.insert(kept, "inv-2")
    result = draft(plant)
    assert "no reading on 3 days (2021-03-04 to 2021-03-05, 2021-03-08): s-P1/inv-1, s-P1/inv-2" in result.notes
    assert result.systems[0].eg_mwh == Decimal("0.480000")  # the register bridges them
    assert result.coverage < Decimal("0.71")


def test_a_year_is_split_at_the_site_s_new_year_and_a_leap_day_counts(plants):
    plant = plants(project="P2", zone="Pacific/Auckland")
    first, last = date(2019, 12, 30), date(2020, 3, 2)
    plant.insert([(ts + timedelta(minutes=30), wh) for ts, wh in plant.days(date(2019, 12, 29), date(2020, 3, 3))])
    result = draft(plant, first, last)
    assert [(v.year, v.first_day, v.last_day) for v in result.vintages] == [
        (2019, first, date(2019, 12, 31)),
        (2020, date(2020, 1, 1), last),
    ]
    # Each year loses the one interval that crosses into it: 2 days, then 62 days with 29 February.
    assert [v.eg_mwh for v in result.vintages] == [Decimal("0.047000"), Decimal("1.487000")]


def test_days_of_a_zone_that_changes_its_clocks(plants):
    plant = plants(project="P3", zone="Europe/Berlin")
    plant.insert(plant.days(date(2021, 3, 27), date(2021, 3, 29)))
    assert draft(plant, date(2021, 3, 28), date(2021, 3, 28)).systems[0].eg_mwh == Decimal("0.023000")


def test_a_replaced_meter_joins_at_its_declared_registers(plants):
    plant = plants()
    swap = datetime(2021, 3, 5, 5, tzinfo=UTC)
    plant.toml = plant.toml.replace(
        "installed = 2019-01-01",
        'installed = 2019-01-01\nreplaced_by = "b"\n'
        "removed = { at = 2021-03-05T05:00:00Z, closing_register_wh = 500_000 }",
    ) + (
        '\n[[device]]\nid = "b"\nsite = "s-P1"\npv_system = "pv-1"\nkind = "inverter"\nrated_power_w = 100_000\n'
        'register = { point = "TotWhExp", bits = 32 }\ninstalled = 2021-03-05T05:00:00Z\nopening_register_wh = 70\n'
    )
    plant.apply(plant.toml)
    rows = plant.days(FIRST, LAST, start_wh=392_500)
    before = [(ts, wh) for ts, wh in rows if ts < swap]
    plant.insert([*before, (swap + timedelta(hours=1), 999_999)])  # what it says after its removal does not count
    plant.insert([(ts, 70 + 1000 * ((ts - swap) / timedelta(hours=1))) for ts, _ in rows if ts > swap], "b")
    result = draft(plant)
    energies = {device.id: device.energy_wh for device in result.systems[0].devices}
    assert energies["inv-1"] == Decimal(500_000 - 392_500)
    assert energies["b"] == Decimal(1000) * int((rows[-1][0] - swap) / timedelta(hours=1))
    assert result.rules["register.replacement@1"] == 2


def test_a_reading_received_after_the_cut_off_does_not_count(plant):
    plant.insert(plant.days(FIRST, LAST))
    frozen = freeze(plant).revision
    plant.insert([(ts + timedelta(minutes=20), wh + 300) for ts, wh in plant.days(FIRST, LAST)[:-1]])
    assert recompute(plant).result_text == frozen.result_text
    assert freeze(plant).revision.number == 2


def test_energy_by_day_is_kept(plant):
    plant.insert(plant.days(FIRST, LAST))
    freeze(plant)
    rows = plant.owner.execute(
        "select day, within_wh, carried_wh, samples, coverage from energy_day order by day"
    ).fetchall()
    assert len(rows) == 10
    assert rows[0] == (FIRST, Decimal(24_000), Decimal(0), 24, Decimal(1))


def test_emission_results_and_the_audit_event_are_written_once(plant):
    plant.insert(plant.days(FIRST, LAST))
    freeze(plant)
    freeze(plant)
    rows = plant.owner.execute(
        "select revision, year, pv_system_id, eg_mwh, ef_tco2_per_mwh, re_tco2 from emission_result"
    )
    assert rows.fetchall() == [(1, 2021, "pv-1", Decimal("0.240000"), Decimal("0.319"), Decimal("0.076560"))]
    events = plant.owner.execute("select subject, detail ->> 'er_tco2' from audit_event where action = 'period.frozen'")
    assert events.fetchall() == [("P1 2021-03-01 2021-03-10", "0")]


def test_a_freeze_waits_for_the_batch_that_is_being_written(plant):
    rows = plant.days(FIRST, LAST)
    plant.insert(rows[:-1])
    (number,) = plant.owner.execute("select device_id from device").fetchone()
    frozen = []
    with psycopg.connect(plant.url) as collector:
        collector.execute("select pg_advisory_xact_lock_shared(hashtext('jcm-mrv batch'))")
        collector.execute(
            "insert into reading (device_id, ts, received_at, message_id, element, energy_exported_wh) "
            "values (%s, %s, clock_timestamp(), 1, 0, %s)",
            [number, *rows[-1]],
        )
        thread = Thread(target=lambda: frozen.append(freeze(plant).revision))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        collector.commit()
        thread.join(60)
    assert frozen[0].result.systems[0].eg_mwh == Decimal("0.240000")


def test_two_who_freeze_at_once_make_one_revision(plant):
    plant.insert(plant.days(FIRST, LAST))
    start, frozen = Barrier(2, timeout=60), []

    def work():
        with connect(plant.url, Role.MRV) as connection:
            start.wait()
            frozen.append(periods.freeze(connection, plant.project, *DAYS, code_version="1").revision)

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [revision.number for revision in frozen] == [1, 1]
    assert frozen[0].result_text == frozen[1].result_text
    assert len(revisions.revisions(plant.connection, plant.project, *DAYS)) == 1


def test_of_two_who_freeze_days_that_overlap_one_is_refused(plant):
    plant.insert(plant.days(FIRST, date(2021, 3, 20)))
    start, said = Barrier(2, timeout=60), []

    def work(first, last):
        with connect(plant.url, Role.MRV) as connection:
            start.wait()
            try:
                periods.freeze(connection, plant.project, first, last, code_version="1")
                said.append("frozen")
            except PeriodError as error:
                said.append("refused" if "credited twice" in str(error) else str(error))

    threads = [Thread(target=work, args=days) for days in ((FIRST, LAST), (date(2021, 3, 10), date(2021, 3, 19)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(said) == ["frozen", "refused"]


def test_nothing_is_read_from_before_the_installation_or_after_the_removal(plant):
    removal = datetime(2021, 3, 10, 19, tzinfo=UTC)  # two hours into the day after the period
    plant.toml = plant.toml.replace(
        "installed = 2019-01-01", "installed = 2021-02-28T22:00:00+07:00\nremoved = { at = 2021-03-10T19:00:00Z }"
    )
    plant.apply(plant.toml)
    rows = plant.days(date(2021, 2, 20), date(2021, 3, 20))
    plant.insert(rows)
    (credited,) = periods.current_basis(plant.connection, plant.project).credited()
    stored = inputs.StoredReadings(plant.connection, plant.project)
    start, end = plant.days(FIRST, LAST)[0][0], plant.days(FIRST, LAST)[-1][0]
    series = stored.read(credited, start, end)
    assert series.t_us[0] == int((start - timedelta(hours=2)).timestamp()) * 1_000_000
    assert series.t_us[-1] == int((removal - timedelta(hours=1)).timestamp()) * 1_000_000
    assert len(stored.read(credited, removal, removal + timedelta(days=2)).t_us) == 0
    assert len(stored.read(credited, start - timedelta(days=3), start - timedelta(hours=2)).t_us) == 0


def test_a_methodology_that_counts_something_else_or_has_no_factor_is_refused(plant):
    plant.apply(plant.toml.replace('"TH_AM001"', '"VN_AM007"'))
    with pytest.raises(PeriodError, match=r"VN_AM007 1.0 counts what was consumed or sold, and inverter inv-1 counts"):
        draft(plant)
    plant.apply(plant.toml.replace('methodology_version = "1.0"', 'methodology_version = "3.0"'))
    with pytest.raises(CatalogueError, match=r"system pv-1: no default factor of TH_AM001 3.0 for grid"):
        draft(plant)


def test_the_inputs_are_digested_as_documented(plant):
    """An independent reading of the docstring of `mrv.inputs`."""
    import hashlib
    import struct

    rows = plant.days(FIRST, LAST)
    plant.insert(rows, power_w=12.5)
    frozen = freeze(plant).revision
    texts = plant.owner.execute("select declarations, methodology from period_revision").fetchone()
    micros = [int(ts.timestamp()) * 1_000_000 for ts, _ in rows]
    query = "select (extract(epoch from received_at) * 1000000)::bigint from reading order by ts"
    received = [us for (us,) in plant.owner.execute(query)]
    parts = [
        b"jcm-mrv inputs 2",
        texts[0].encode(),
        texts[1].encode(),
        b"2021-03-01/2021-03-10",
        b"meters-1",
        b"pv-1\ns-P1\ninv-1\nTotWhExp",
        struct.pack(f"<{len(rows)}q", *micros),
        struct.pack(f"<{len(rows)}q", *(int(wh * 1000) for _, wh in rows)),
        struct.pack(f"<{len(rows)}d", *(12.5 for _ in rows)),
        struct.pack(f"<{len(rows)}q", *received),
        *(b"", b""),  # no reading was timed by its arrival, none was contradicted
        b"s-P1",
        *([b""] * 7),  # no message of the site was received in those days
    ]
    data = b"".join(struct.pack("<q", len(part)) + part for part in parts)
    assert frozen.inputs_digest == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_readings_around_the_period_are_read_as_far_as_the_rules_need(plant):
    rows = plant.days(date(2021, 2, 1), date(2021, 3, 31))
    plant.insert([*rows[:100], *rows[600:]])
    (credited,) = periods.current_basis(plant.connection, plant.project).credited()
    stored = inputs.StoredReadings(plant.connection, plant.project)
    start, end = rows[500][0], rows[700][0]
    series = stored.read(credited, start, end)
    # 24 hours before the last reading before the span, however far away; 24 hours beyond the first one after it.
    assert series.t_us[0] == int(rows[75][0].timestamp()) * 1_000_000
    assert series.t_us[-1] == int(rows[724][0].timestamp()) * 1_000_000


def test_the_reader_may_look_and_not_freeze(plant):
    plant.insert(plant.days(FIRST, LAST))
    freeze(plant)
    with connect(plant.url, Role.READER) as reader:
        assert revisions.find_revision(reader, plant.project, *DAYS).number == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            periods.freeze(reader, plant.project, date(2021, 4, 1), date(2021, 4, 2), code_version="1")


@pytest.mark.recordings
def test_plant_1_gives_last_minus_first_of_its_22_registers(database, recordings):
    import pandas as pd

    frame = pd.read_csv(recordings / "plant_1_generation.csv")
    frame["ts"] = pd.to_datetime(frame.DATE_TIME, format="%d-%m-%Y %H:%M").dt.tz_localize("Asia/Kolkata")
    declared = load_declaration(recordings.parent / "contract" / "plant_1.toml")
    with connect(database, Role.OWNER) as owner, connect(database, Role.MRV) as mrv:
        apply(owner, [("plant_1.toml", declared)])
        ids = dict(owner.execute("select id, device_id from device").fetchall())
        with (
            owner.cursor() as cursor,
            cursor.copy(
                "copy reading (device_id, ts, received_at, message_id, element, energy_exported_wh, power_w) from stdin"
            ) as copy,
        ):
            for row in frame.drop_duplicates(["SOURCE_KEY", "ts"]).itertuples():
                wh, watts = row.TOTAL_YIELD * 1000, row.AC_POWER * 1000
                copy.write_row((ids[row.SOURCE_KEY], row.ts.to_pydatetime(), row.ts.to_pydatetime(), 1, 0, wh, watts))
        result = periods.draft(mrv, "DEMO-P1", date(2020, 5, 15), date(2020, 6, 17), code_version="1")
    assert abs(result.systems[0].eg_mwh / Decimal("5381.113") - 1) < Decimal("0.0005")
    assert result.er_tco2 == 1716
    assert len(result.systems[0].devices) == 22
