"""The schedule on a real database: each piece of work once, whatever the replicas, their deaths and delays."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mrv import jobs
from mrv.errors import ClaimLostError
from mrv.jobs import Job
from mrv.schedule import Schedule, Ticker
from sql.connection import Role, connect

ROOT = Path(__file__).resolve().parents[2]
LIMIT = timedelta(seconds=1)
FIRST, LAST = date(2021, 3, 1), date(2021, 3, 10)


def replica(plant, name="r1", limit=LIMIT, **more) -> Schedule:
    def open_connection():
        return connect(plant.url, Role.MRV)

    return Schedule(open_connection, name=name, code_version="1", heartbeat_limit=limit, **more)


def energy(plant) -> dict[date, tuple[Decimal, Decimal]]:
    rows = plant.owner.execute("select day, within_wh, carried_wh from energy_day order by day")
    return {day: (within, carried) for day, within, carried in rows}


def runs(plant, job):
    return plant.owner.execute(
        "select scope, period_start, claimed_by, attempts, finished_at is not null from job_run where job = %s "
        "order by period_start, scope",
        [job],
    ).fetchall()


def events(plant):
    return [row[0] for row in plant.owner.execute("select subject from audit_event where action = 'period.computed'")]


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.05)


def test_every_local_day_that_is_over_is_computed_once(plant):
    plant.insert(plant.days(FIRST, LAST))
    # Ten days, the two that share a midnight with them, and the year's report.
    assert replica(plant).run_until_done() == 13
    days = energy(plant)
    assert list(days)[:10] == [FIRST + timedelta(days=n) for n in range(10)]
    assert set(days.values()) == {(Decimal(24_000), Decimal(0)), (Decimal(0), Decimal(0))}
    before = plant.owner.execute("select * from energy_day order by day").fetchall()
    assert replica(plant).run_until_done() == 0
    assert plant.owner.execute("select * from energy_day order by day").fetchall() == before


def test_today_is_left_open(plant):
    now = datetime.now(UTC).replace(microsecond=0)
    plant.insert([(now - timedelta(minutes=n), 10_000.0 - n) for n in range(3)])
    replica(plant).run_until_done()
    (today,) = [day for day in runs(plant, "energy_day") if day[1] > now - timedelta(days=1)][-1:]
    assert (today[3], today[4]) == (0, False)


def test_a_late_reading_opens_its_day_and_the_day_its_interval_reaches(plant):
    rows = [(ts + timedelta(minutes=30), wh) for ts, wh in plant.days(FIRST, LAST)]
    plant.insert([*rows[:72], *rows[120:]])  # two days are missing
    replica(plant).run_until_done()
    assert energy(plant)[date(2021, 3, 6)] == (Decimal(23_000), Decimal(49_000))
    plant.insert([rows[100]])  # on the fifth day
    assert replica(plant).run_until_done() == 3  # its day, and the days of the readings before and after it
    after = energy(plant)
    assert after[date(2021, 3, 5)] == (Decimal(0), Decimal(29_000))
    assert after[date(2021, 3, 6)] == (Decimal(23_000), Decimal(20_000))
    plant.insert(rows[100:101])
    assert replica(plant).run_until_done() == 0


def test_three_replicas_do_each_job_once(plants):
    plant = plants(inverters=2)
    for device in ("inv-1", "inv-2"):
        plant.insert(plant.days(date(2020, 12, 1), date(2021, 1, 31)), device)
    done, start = {}, threading.Barrier(3, timeout=60)

    def work(name):
        schedule = replica(plant, name, limit=timedelta(minutes=5))
        start.wait()
        done[name] = schedule.run_until_done()

    threads = [threading.Thread(target=work, args=(f"r{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    replica(plant, limit=timedelta(minutes=5)).run_until_done()
    days = runs(plant, "energy_day")
    assert len(days) == 64
    assert {(attempts, finished) for _, _, _, attempts, finished in days} == {(1, True)}
    assert len({by for _, _, by, _, _ in days}) > 1
    assert sorted(events(plant)) == ["P1 2020-01-01 2020-12-31", "P1 2021-01-01 2021-12-31"]


HOLD = """
import sys, time
from datetime import datetime, timedelta
from mrv import jobs
from sql.connection import Role, connect
connection = connect(sys.argv[1], Role.MRV)
job = jobs.Job("energy_day", sys.argv[2], datetime.fromisoformat(sys.argv[3]))
held = jobs.claim(connection, job, by="doomed", limit=timedelta(seconds=1))
with jobs.heartbeat(lambda: connect(sys.argv[1], Role.MRV), held, timedelta(seconds=1)):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_work_of_a_killed_replica_is_taken_over_after_the_limit(plant):
    plant.insert(plant.days(FIRST, LAST))
    start = plant.days(FIRST, FIRST)[0][0]
    replica(plant, jobs_per_tick=0).tick()  # finds the days, does none
    doomed = subprocess.Popen(
        [sys.executable, "-c", HOLD, plant.url, plant.site, start.isoformat()], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert doomed.stdout.readline() == b"held\n"
        # Longer than the limit: its heartbeat keeps the claim alive.
        held = "select heartbeat_at - claimed_at > '3 s' from job_run where claimed_by = 'doomed'"
        wait_until(lambda: plant.owner.execute(held).fetchone()[0])
        assert (
            replica(plant, limit=timedelta(seconds=3)).run_until_done() == 11
        )  # all other days; the report waits for the one that is held
        assert FIRST not in energy(plant)
        assert events(plant) == []
    finally:
        doomed.send_signal(signal.SIGKILL)
        doomed.wait()
        doomed.stdout.close()
    assert replica(plant, limit=timedelta(minutes=5)).run_until_done() == 0  # not before the limit
    plant.owner.execute("update job_run set heartbeat_at = heartbeat_at - interval '1 s' where claimed_by = 'doomed'")
    assert replica(plant, "heir").run_until_done() == 2
    (first,) = [run for run in runs(plant, "energy_day") if run[1] == start]
    assert (first[2], first[4]) == ("heir", True)
    assert energy(plant)[FIRST] == (Decimal(24_000), Decimal(0))
    assert events(plant) == ["P1 2021-01-01 2021-12-31"]


def test_who_lost_a_claim_cannot_finish(plant):
    job = Job("energy_day", plant.site, datetime(2021, 3, 1, tzinfo=UTC))
    one = jobs.claim(plant.connection, job, by="one", limit=timedelta(0))
    two = jobs.claim(plant.connection, job, by="two", limit=timedelta(0))
    assert one is not None
    assert two is not None
    with pytest.raises(ClaimLostError, match=r"was taken over or opened again"):
        jobs.finish(plant.connection, one)
    jobs.finish(plant.connection, two)
    assert jobs.claim(plant.connection, job, by="three", limit=timedelta(0)) is None


def test_a_day_opened_again_while_it_is_computed_is_computed_again(plant):
    job = Job("energy_day", plant.site, datetime(2021, 3, 1, tzinfo=UTC))
    held = jobs.claim(plant.connection, job, by="one", limit=LIMIT)
    jobs.open_jobs(plant.connection, "energy_day", plant.site, [job.start])
    with pytest.raises(ClaimLostError):
        jobs.finish(plant.connection, held)
    assert jobs.claim(plant.connection, job, by="two", limit=LIMIT) is not None


def test_the_report_of_a_year_counts_its_tonnes(plant):
    plant.insert(plant.days(date(2021, 1, 1), date(2021, 12, 31), hourly_wh=100_000.0))
    plant.owner.execute(
        "insert into period (project_id, first_day, last_day) values ('P1', '2021-03-01', '2021-03-31')"
    )
    replica(plant).run_until_done()
    said = plant.owner.execute("select subject, detail from audit_event where action = 'period.computed' order by id")
    first, second = said.fetchall()
    assert first[0] == "P1 2021-01-01 2021-12-31"
    assert (first[1]["er_tco2"], first[1]["eg_mwh"], first[1]["vintages"]) == (279, "876.000000", {"2021": 279})
    assert second[0] == "P1 2021-03-01 2021-03-31"
    assert second[1]["er_tco2"] == 23


def test_one_project_s_fault_does_not_cost_its_neighbours(plants):
    good, bad = plants(), plants(project="P2")
    for plant in (good, bad):
        plant.insert(plant.days(FIRST, LAST))
    bad.apply(bad.toml.replace('methodology_version = "1.0"', 'methodology_version = "3.0"'))
    replica(good).run_until_done()
    assert events(good) == ["P1 2021-01-01 2021-12-31"]
    assert len([row for row in runs(bad, "energy_day") if row[0] == "s-P2" and row[4]]) == 12
    failure = good.owner.execute("select failure from job_run where job = 'period_report' and finished_at is null")
    assert "no default factor of TH_AM001 3.0" in failure.fetchone()[0]


def test_a_tick_is_bounded(plant):
    plant.insert(plant.days(FIRST, LAST))
    schedule = replica(plant, jobs_per_tick=4)
    assert [schedule.tick() for _ in range(4)] == [4, 4, 4, 1]


def test_a_day_half_an_hour_off_utc(plants):
    plant = plants(project="P9", zone="Asia/Kolkata")
    plant.insert([(ts + timedelta(minutes=30), wh) for ts, wh in plant.days(FIRST, LAST)[:-1]])
    replica(plant).run_until_done()
    days = energy(plant)
    assert days[FIRST] == (Decimal(23_000), Decimal(0))
    assert days[LAST] == (Decimal(23_000), Decimal(1000))


def test_a_stopped_replica_gives_its_work_back(plant, monkeypatch):
    plant.insert(plant.days(FIRST, LAST))
    schedule = replica(plant, limit=timedelta(minutes=5))
    claim = jobs.claim

    def stop_after_claiming(*given, **more):
        held = claim(*given, **more)
        schedule.stop()
        return held

    monkeypatch.setattr(jobs, "claim", stop_after_claiming)
    assert schedule.tick() == 0
    monkeypatch.setattr(jobs, "claim", claim)
    assert replica(plant, "r2", limit=timedelta(minutes=5)).run_until_done() == 13


def test_the_ticker_ticks_and_ends(plant):
    plant.insert(plant.days(FIRST, LAST))
    ticker = Ticker(replica(plant), timedelta(seconds=1))
    ticker.start()
    try:
        wait_until(lambda: len(events(plant)) == 1)
    finally:
        ticker.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_runs_until_it_is_told_to_end(plant, number):
    plant.insert(plant.days(FIRST, LAST))
    environment = {
        **os.environ,
        "JCM_MRV_DATABASE_URL": plant.url,
        "JCM_MRV_MQTT_URL": "mqtt://nobody:nothing@localhost:1",
        "JCM_MRV_SCHEDULE_INTERVAL_S": "1",
        "JCM_MRV_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "deploy.cli", "schedule"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: len(events(plant)) == 1)
            process.send_signal(number)
            log = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 0
    assert '"event": "job_finished"' in log
    assert "Traceback" not in log
    once = subprocess.run([*command, "--once"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (once.returncode, once.stdout) == (0, "nothing was due\n")


def day_runs(plant) -> dict[date, tuple[int, bool]]:
    """Attempts of each day, and whether it is done."""
    zone = ZoneInfo(plant.zone)
    return {
        start.astimezone(zone).date(): (attempts, done) for _, start, _, attempts, done in runs(plant, "energy_day")
    }


@pytest.fixture
def at_noon(plants):
    """A plant where it is about noon, and the midnight at which its day began."""
    offset = 12 - datetime.now(UTC).hour
    plant = plants(zone=f"Etc/GMT{-offset:+d}")
    today = datetime.now(ZoneInfo(plant.zone)).date()
    return plant, datetime.combine(today, datetime.min.time(), ZoneInfo(plant.zone))


def test_readings_of_a_day_that_lasts_open_the_day_before_only_while_its_first_one_is_new(at_noon):
    plant, midnight = at_noon
    today, yesterday = midnight.date(), midnight.date() - timedelta(days=1)
    plant.insert([(midnight - timedelta(hours=n), 10_000.0 - n) for n in range(1, 5)])
    replica(plant).run_until_done()
    # An attempt is one more each time it is opened, and claimed.
    assert day_runs(plant) == {yesterday: (1, True)}

    def attempts_after(begin: datetime, wh: float) -> int:
        plant.insert([(begin, wh)])
        replica(plant).run_until_done()
        found = day_runs(plant)
        assert found == {yesterday: (found[yesterday][0], True), today: (0, False)}
        return found[yesterday][0]

    # The interval over midnight; and what is as new as that, which might not have been seen.
    assert attempts_after(midnight + timedelta(seconds=1), 10_000.0) == 3
    assert attempts_after(midnight + timedelta(seconds=2), 10_001.0) == 5
    plant.owner.execute("update reading set received_at = received_at - interval '1 hour'")
    assert attempts_after(midnight + timedelta(seconds=3), 10_002.0) == 5
    # A gap that is filled makes another interval over midnight.
    assert attempts_after(midnight + timedelta(milliseconds=1), 10_000.0) == 7


def test_a_day_that_is_over_is_computed_with_the_one_before_whose_dip_it_ends(at_noon):
    plant, midnight = at_noon
    begun = midnight - timedelta(days=2)
    plant.insert([(begun + timedelta(hours=n), 10_000.0 + n) for n in range(23)])
    plant.insert([(begun + timedelta(hours=23), 5_000.0), (begun + timedelta(hours=25), 10_025.0)])
    replica(plant).run_until_done()
    after = energy(plant)
    assert replica(plant).run_until_done() == 0
    # As if the first had been computed before the second came.
    plant.owner.execute(
        "update energy_day set within_wh = 0, computed_at = %s where day = %s", [midnight, begun.date()]
    )
    plant.owner.execute(
        "update job_run set finished_at = null, heartbeat_at = '-infinity' where period_start = %s",
        [begun + timedelta(days=1)],
    )
    assert replica(plant).run_until_done() == 1
    assert energy(plant) == after
    assert after[begun.date()][0] == Decimal(22)


def test_work_that_waits_is_not_opened_again(plant):
    job = Job("energy_day", plant.site, datetime(2021, 3, 1, tzinfo=UTC))
    assert jobs.open_jobs(plant.connection, job.job, job.scope, [job.start]) == [job.start]
    assert jobs.open_jobs(plant.connection, job.job, job.scope, [job.start]) == []
    held = jobs.claim(plant.connection, job, by="one", limit=LIMIT)
    assert jobs.open_jobs(plant.connection, job.job, job.scope, [job.start]) == [job.start]
    with pytest.raises(ClaimLostError):
        jobs.finish(plant.connection, held)
