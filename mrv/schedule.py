"""What is computed without anybody asking: the energy of each local day that is over, and each year's report.

Nothing depends on a tick being on time. Each one looks through what was received since the last, opens the days that it
changed, and does what is open and over; after a week of downtime the first tick finds a week of work. The readings
decide, not the clock: a late reading opens its day again.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import psycopg
import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from devices.declarations import ProjectDeclaration
from mrv import jobs
from mrv.basis import Credited, registers_of
from mrv.calendar import MICROSECOND, day_bounds, zone
from mrv.computation import device_days
from mrv.errors import ClaimLostError, MrvError
from mrv.evidence.errors import EvidenceError
from mrv.evidence.keys import SigningKey
from mrv.evidence.sealing import seal_due
from mrv.inputs import StoredReadings
from mrv.jobs import Claim, Connect, Job
from mrv.periods import draft, end_of
from mrv.quality.registers import is_solar
from mrv.store import add_audit_event, now_of, snapshot, store_days
from sql.errors import StoreError
from sql.named import load

ENERGY_DAY = "energy_day"
PERIOD_REPORT = "period_report"
SEAL = "seal"
HEARTBEAT_LIMIT = timedelta(minutes=5)

_QUERIES = load("mrv")
log = structlog.get_logger("mrv.schedule")
_DAY = timedelta(days=1)
# From the stamp on a reading until a computation surely sees it; no batch takes a minute to be committed.
_ON_ITS_WAY = timedelta(minutes=5)


class _StoppedError(Exception):
    """The process is ending; the work goes back."""


@dataclass(frozen=True)
class _Plants:
    """What is declared now, by site and by project."""

    declarations: dict[str, ProjectDeclaration]
    project_of: dict[str, str]
    zone_of: dict[str, str]
    site_of: dict[int, str]
    registers: dict[str, list[Credited]]
    """By site."""

    def day_at(self, site: str, at: datetime) -> date:
        """Return a site's local day at an instant."""
        return at.astimezone(zone(self.zone_of[site])).date()


class Schedule:
    """One replica of the schedule.

    Parameters
    ----------
    connect
        Opens a connection with the role of the MRV module; each tick has its own.
    name
        What claims are made under, different for each replica.
    code_version
        The version of this code, as results carry it.
    heartbeat_limit
        Age of a heartbeat from which another replica's claim is taken over.
    jobs_per_tick
        Most jobs that one tick does, so that a catch-up of years does not hold up today.
    sealing_key
        Signs the seals of the days that are over (`mrv.evidence`); None: nothing is sealed here.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        name: str,
        code_version: str,
        heartbeat_limit: timedelta = HEARTBEAT_LIMIT,
        jobs_per_tick: int = 200,
        sealing_key: SigningKey | None = None,
    ) -> None:
        self._connect = connect
        self._name = name
        self._code_version = code_version
        self._limit = heartbeat_limit
        self._jobs_per_tick = jobs_per_tick
        self._sealing_key = sealing_key
        self._stopping = threading.Event()
        self.beat = time.monotonic()
        """When it last went on, by the monotonic clock: a tick, a device, a job."""

    def stop(self) -> None:
        """Let the tick under way end after the device it is at; its job goes back."""
        self._stopping.set()

    def tick(self) -> int:
        """Do what is due, up to the bound; return how many jobs this replica finished.

        Raises
        ------
        StoreError, psycopg.Error
            The database is away. Nothing is lost: the next tick finds the same work.
        """
        finished = 0
        self.beat = time.monotonic()
        with self._connect() as connection:
            plants = _declared(connection)
            self._look_through(connection, plants)
            for job in self._due(connection, plants):
                if not self._goes_on() or finished >= self._jobs_per_tick:
                    break
                held = jobs.claim(connection, job, by=self._name, limit=self._limit)
                if held is not None:
                    finished += self._do(connection, plants, held)
            if self._sealing_key is not None and not self._stopping.is_set():
                finished += self._seal(connection, self._sealing_key)
        return finished

    def _seal(self, connection: psycopg.Connection, key: SigningKey) -> bool:
        """Seal the days that are over, once a day; whatever a run leaves, the next one finds."""
        today = now_of(connection).replace(hour=0, minute=0, second=0, microsecond=0)
        held = jobs.claim(connection, Job(SEAL, "", today), by=self._name, limit=self._limit)
        if held is None:
            return False
        try:
            with jobs.heartbeat(self._connect, held, self._limit):
                done = seal_due(connection, key, code_version=self._code_version, go_on=self._goes_on)
            jobs.finish(connection, held)
        except ClaimLostError as error:
            log.warning("job_given_up", job=SEAL, error=str(error))
            return False
        except EvidenceError as error:
            jobs.fail(connection, held, str(error))
            log.warning("job_failed", job=SEAL, error=str(error))
            return False
        log.info("job_finished", job=SEAL, days=done.days, seals=done.seals, messages=done.messages)
        return True

    def run_until_done(self) -> int:
        """Tick until nothing is due; return how many jobs this replica finished."""
        total = 0
        while not self._stopping.is_set() and (finished := self.tick()):
            total += finished
        return total

    def _look_through(self, connection: psycopg.Connection, plants: _Plants) -> None:
        """Open the days that readings were received for since the last look, with those their intervals reach."""
        with connection.transaction():
            connection.execute(_QUERIES["freeze_patience"])
            # The lock makes the cut-off exact, as in a freeze: nothing received before it is still to be committed.
            connection.execute(_QUERIES["freeze_lock"])
            cut_off = now_of(connection)
        with connection.transaction():
            row = connection.execute(_QUERIES["watermark"], {"by": self._name}).fetchone()
            given = {"after": None if row is None else row[0], "cut_off": cut_off}
            received = connection.execute(_QUERIES["received_between"], given).fetchall()
            if received:
                touched = _touched(plants, received)
                by_site: dict[str, set[date]] = {}
                for device, days in touched.items():
                    by_site.setdefault(plants.site_of[device], set()).update(days)
                for site, day in self._reached(connection, plants, touched, cut_off):
                    by_site[site].add(day)
                for site, days in sorted(by_site.items()):
                    starts = [day_bounds(day, plants.zone_of[site])[0] for day in sorted(days)]
                    opened = [plants.day_at(site, at) for at in jobs.open_jobs(connection, ENERGY_DAY, site, starts)]
                    if opened:
                        log.info("days_opened", site=site, days=len(opened), first=str(opened[0]), last=str(opened[-1]))
            connection.execute(_QUERIES["move_watermark"], {"cut_off": cut_off})

    def _reached(
        self, connection: psycopg.Connection, plants: _Plants, touched: dict[int, set[date]], now: datetime
    ) -> Iterable[tuple[str, date]]:
        """List the days that lie at the other end of intervals of touched days, by site.

        A day that still lasts gets readings at every look. Only its first one makes an interval with the day before,
        so that one is not opened for the others; it is computed with the lasting day when that is over.
        """
        spans = _spans(plants, touched)
        around = {
            "devices": [device for device, _, _ in spans],
            "starts": [start for _, start, _ in spans],
            "ends": [end for _, _, end in spans],
        }
        reached: set[tuple[str, date]] = set()
        before_lasting: dict[tuple[str, datetime], datetime] = {}
        for device, ts, start, received_at in connection.execute(_QUERIES["neighbours"], around):
            site = plants.site_of[device]
            day = plants.day_at(site, ts)
            if received_at is None or _is_over(plants, site, start, now):
                reached.add((site, day))
            else:
                key = site, day_bounds(day, plants.zone_of[site])[0]
                before_lasting[key] = max(received_at, before_lasting.get(key, received_at))
        claims = jobs.last_claims(connection, ENERGY_DAY, before_lasting.keys())
        for key, received_at in before_lasting.items():
            began = claims.get(key)
            if began is None or began <= received_at + _ON_ITS_WAY:
                reached.add((key[0], plants.day_at(*key)))
        return reached

    def _due(self, connection: psycopg.Connection, plants: _Plants) -> Iterable[Job]:
        """List the open days that are over; then, for what they leave complete, the reports."""
        now = now_of(connection)
        rows = connection.execute(_QUERIES["unfinished_jobs"], {"job": ENERGY_DAY, "limit": self._limit}).fetchall()
        open_days = [(site, start) for site, start, _ in rows if _is_over(plants, site, start, now)]
        claimable = {(site, start) for site, start, free in rows if free}
        yield from (Job(ENERGY_DAY, site, start) for site, start in open_days if (site, start) in claimable)
        done = {scope for (scope,) in connection.execute(_QUERIES["finished_jobs"], {"job": PERIOD_REPORT})}
        # Asked again: the days above may have been finished between, here or by another replica.
        rows = connection.execute(_QUERIES["unfinished_jobs"], {"job": ENERGY_DAY, "limit": self._limit}).fetchall()
        waiting = [(site, start) for site, start, _ in rows if _is_over(plants, site, start, now)]
        for project, first, last in _reports(connection, plants):
            declaration = plants.declarations[project]
            scope, until = f"{project} {first} {last}", end_of(declaration, last)
            begin = min(day_bounds(first, site.time_zone)[0] for site in declaration.sites)
            unsettled = any(plants.project_of[site] == project and begin <= at < until for site, at in waiting)
            if until <= now and scope not in done and not unsettled:
                yield Job(PERIOD_REPORT, scope, begin)

    def _do(self, connection: psycopg.Connection, plants: _Plants, held: Claim) -> bool:
        job_log = log.bind(
            job=held.job.job, scope=held.job.scope, start=held.job.start.isoformat(), attempt=held.attempt
        )
        job_log.debug("job_claimed")
        try:
            with jobs.heartbeat(self._connect, held, self._limit):
                if held.job.job == ENERGY_DAY:
                    said = self._energy_day(connection, plants, held)
                else:
                    said = self._period_report(connection, held)
        except ClaimLostError as error:
            job_log.warning("job_given_up", error=str(error))
            return False
        except _StoppedError:
            jobs.release(connection, held)
            job_log.info("job_given_back")
            return False
        except (MrvError, psycopg.DataError, ValueError, LookupError) as error:
            # One project's fault must not cost its neighbours; this job is tried again after the heartbeat limit.
            jobs.fail(connection, held, str(error))
            job_log.warning("job_failed", error=str(error))
            return False
        job_log.info("job_finished", **said)
        return True

    def _energy_day(self, connection: psycopg.Connection, plants: _Plants, held: Claim) -> dict[str, object]:
        site = held.job.scope
        day = plants.day_at(site, held.job.start)
        as_of, kept = now_of(connection), []
        project = plants.declarations[plants.project_of[site]].project
        solar = is_solar(project.methodology, project.methodology_version)
        # With the day before, computed while this one lasted: rules look past midnight, a dip late in a day recovers in
        # the next one. Readings that came when a day was over opened the one before themselves.
        is_new = as_of - day_bounds(day, plants.zone_of[site])[1] < 2 * _DAY
        first = day - _DAY if is_new else day
        with snapshot(connection):
            readings = StoredReadings(connection, plants.project_of[site])
            for credited in plants.registers.get(site, []):
                self._check()
                days, _ = device_days(credited, readings.read, first, day, solar=solar)
                kept.append((readings.number(credited), days))
        energies = [row.energy for _, days in kept for row in days if row.energy.day == day]
        energy_mwh = sum(energy.within_mwh + energy.carried_mwh for energy in energies)
        with connection.transaction():
            for number, days in kept:
                store_days(connection, number, days, as_of)
            jobs.finish(connection, held)
        return {"day": str(day), "devices": len(kept), "energy_wh": energy_mwh / 1000}

    def _period_report(self, connection: psycopg.Connection, held: Claim) -> dict[str, object]:
        project, first, last = held.job.scope.rsplit(" ", 2)
        result = draft(
            connection,
            project,
            date.fromisoformat(first),
            date.fromisoformat(last),
            code_version=self._code_version,
            progress=lambda *_: self._check(),
        )
        detail = {
            "er_tco2": result.er_tco2,
            "vintages": {str(vintage.year): vintage.er_tco2 for vintage in result.vintages},
            "eg_mwh": str(sum(vintage.eg_mwh for vintage in result.vintages)),
            "inputs_digest": result.inputs_digest,
        }
        with connection.transaction():
            add_audit_event(connection, "period.computed", held.job.scope, detail)
            jobs.finish(connection, held)
        return {"er_tco2": result.er_tco2}

    def _goes_on(self) -> bool:
        self.beat = time.monotonic()
        return not self._stopping.is_set()

    def _check(self) -> None:
        if not self._goes_on():
            raise _StoppedError


class Ticker:
    """Ticks a schedule at an interval, in a thread of its own.

    APScheduler keeps the time and nothing else: in memory, in UTC, one tick at a time, missed ones made one.
    """

    def __init__(self, schedule: Schedule, interval: timedelta) -> None:
        self._schedule = schedule
        self._interval_s = interval.total_seconds()
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._scheduler.add_job(
            self._tick,
            "interval",
            seconds=interval.total_seconds(),
            next_run_time=datetime.now(UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    def start(self) -> None:
        """Begin; the first tick comes at once."""
        self._scheduler.start()

    def stop(self) -> None:
        """End; waits until the tick under way has given its work back."""
        self._schedule.stop()
        self._scheduler.shutdown(wait=True)

    def stuck_for(self) -> float:
        """Say for how many seconds the schedule has not gone on although a tick was due or under way."""
        return max(time.monotonic() - self._schedule.beat - self._interval_s, 0.0)

    def _tick(self) -> None:
        try:
            self._schedule.tick()
        except (StoreError, psycopg.Error) as error:
            log.warning("tick_failed", error=str(error).strip().splitlines()[:1])


def _declared(connection: psycopg.Connection) -> _Plants:
    declarations: dict[str, ProjectDeclaration] = {}
    for (project,) in connection.execute(_QUERIES["projects"]).fetchall():
        row = connection.execute(_QUERIES["declaration"], {"project": project}).fetchone()
        if row is not None:
            declarations[project] = ProjectDeclaration.model_validate_json(row[0])
    project_of: dict[str, str] = {}
    zone_of: dict[str, str] = {}
    site_of: dict[int, str] = {}
    registers: dict[str, list[Credited]] = {}
    for project, declaration in declarations.items():
        for site in declaration.sites:
            project_of[site.id], zone_of[site.id] = project, site.time_zone
        for credited in registers_of(declaration):
            registers.setdefault(credited.site.id, []).append(credited)
        devices = connection.execute(_QUERIES["devices"], {"project": project})
        site_of.update({number: site for site, _, number in devices})
    return _Plants(declarations, project_of, zone_of, site_of, registers)


def _touched(plants: _Plants, received: Iterable[tuple[int, datetime, datetime]]) -> dict[int, set[date]]:
    """Tell the local days from the first and last readings of hours.

    Where a zone is half an hour off, an hour may lie in two days; a reading at midnight also ends an interval of the
    day before.
    """
    touched: dict[int, set[date]] = {}
    for device, first, last in received:
        if device in plants.site_of:
            ends = (first - MICROSECOND, last)
            touched.setdefault(device, set()).update(plants.day_at(plants.site_of[device], at) for at in ends)
    return touched


def _spans(plants: _Plants, touched: dict[int, set[date]]) -> list[tuple[int, datetime, datetime]]:
    """Join neighbouring days of a device to spans of time."""
    spans = []
    for device, days in touched.items():
        zone_name = plants.zone_of[plants.site_of[device]]
        for first in sorted(days):
            if first - _DAY in days:
                continue
            last = first
            while last + _DAY in days:
                last += _DAY
            spans.append((device, day_bounds(first, zone_name)[0], day_bounds(last, zone_name)[1]))
    return spans


def _is_over(plants: _Plants, site: str, start: datetime, now: datetime) -> bool:
    if site not in plants.zone_of:
        return False
    return day_bounds(plants.day_at(site, start), plants.zone_of[site])[1] <= now


def _reports(connection: psycopg.Connection, plants: _Plants) -> Iterable[tuple[str, date, date]]:
    """List each calendar year with energy, within the crediting period, and each period opened and not frozen."""
    found = set()
    for project, year in connection.execute(_QUERIES["energy_years"]).fetchall():
        crediting = plants.declarations[project].project.crediting_period
        if crediting.first_day.year <= year <= crediting.last_day.year:
            first, last = date(year, 1, 1), date(year, 12, 31)
            found.add((project, max(first, crediting.first_day), min(last, crediting.last_day)))
    found.update(connection.execute(_QUERIES["unfrozen_periods"]).fetchall())
    return sorted(found)
