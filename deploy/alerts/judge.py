"""What fires on given facts: pure, but for the sun's path, which is computed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache

from deploy.alerts.config import AlertsFile
from deploy.alerts.facts import DeviceFacts, Facts, SiteFacts
from deploy.alerts.rules import (
    ClockSkew,
    DeviceSilent,
    QuarantineRising,
    RegisterAnomaly,
    Severity,
    SiteSilent,
)

NO_SITE = "no site"
"""The subject of what came and names no declared site."""
_READS = {"inverter", "meter"}


@dataclass(frozen=True, slots=True)
class Firing:
    """Something that a rule finds wrong."""

    rule: str
    subject: str
    severity: Severity
    since: datetime
    """Since when it has been so, as far as the data tells."""
    said: str
    project: str | None = None
    site: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """At most one alert of a key is open."""
        return self.rule, self.subject


@dataclass(frozen=True, slots=True)
class Judgement:
    """What fires; and what cannot be told now, such as the silence of a device at night, with why."""

    firing: Mapping[tuple[str, str], Firing]
    undecided: Mapping[tuple[str, str], str]


_Found = Iterator[Firing | tuple[str, str, str]]


def judge(facts: Facts, config: AlertsFile, now: datetime) -> Judgement:
    """Judge all rules.

    Parameters
    ----------
    facts
        As `gather` reads them.
    config
        Thresholds, and what differs at a site.
    now
        The instant to judge at, usually `facts.at`.
    """
    firing: dict[tuple[str, str], Firing] = {}
    undecided: dict[tuple[str, str], str] = {}
    # The sun is computed for those that are not heard, which are few.
    away = timedelta(seconds=config.rules.collector_away.after_s)
    expected = {
        site.site: _site_expected(site, facts, config, now)
        for site in facts.sites
        if _is_silent(site, config, now) or site.last_received is None or now - site.last_received > away
    }
    silent = {site.site for site in facts.sites if _is_silent(site, config, now)}
    for found in (
        *_sites(facts, config, now, expected),
        *_away(facts, config, now, expected),
        *_devices(facts, config, now, silent),
        *_anomalies(facts, config),
        *_quarantine(facts, config),
        *_identity(facts, config),
        *_clocks(facts, config),
        *_seals(facts, config, now),
        *_schedule(facts, config, now),
        *_disk(facts, config, now),
        *_certificates(facts, config, now),
    ):
        if isinstance(found, Firing):
            firing[found.key] = found
        else:
            rule, subject, why = found
            undecided[rule, subject] = why
    for of in (firing, undecided):
        for rule, subject in list(of):
            if config.thresholds(rule, subject).off:
                del of[rule, subject]
    return Judgement(firing, undecided)


def _fire(
    config: AlertsFile, rule: str, subject: str, since: datetime, said: str, of: SiteFacts | DeviceFacts | None = None
) -> Firing:
    project, site = (None, None) if of is None else (of.project, of.site)
    severity = config.thresholds(rule, subject).severity
    return Firing(rule, subject, severity, since, " ".join(said.split()), project, site)


def _is_silent(site: SiteFacts, config: AlertsFile, now: datetime) -> bool:
    after = timedelta(seconds=config.of(SiteSilent, "site_silent", site.site).after_s)
    return site.last_received is None or now - site.last_received > after


def _site_expected(site: SiteFacts, facts: Facts, config: AlertsFile, now: datetime) -> bool | None:
    """Tell whether a site should be heard now; None: nothing says so, and nothing says otherwise."""
    limits = config.of(SiteSilent, "site_silent", site.site)
    if sun_is_up(site, now - timedelta(seconds=limits.after_s), now, limits.sun_above_deg):
        return True
    habits = [device.habit for device in facts.devices if device.site == site.site]
    return True if True in habits else False if False in habits or site.latitude is not None else None


def _sites(facts: Facts, config: AlertsFile, now: datetime, expected: Mapping[str, bool | None]) -> _Found:
    for site in facts.sites:
        limits = config.of(SiteSilent, "site_silent", site.site)
        if site.last_received is None:
            if site.installed_at is None or now - site.installed_at <= timedelta(seconds=limits.never_after_s):
                yield "site_silent", site.site, "it was never heard, and is not installed for long"
            else:
                said = f"{site.site} was never heard since its installation on {_day(site.installed_at)}"
                yield _fire(config, "site_silent", site.site, site.installed_at, said, site)
        elif now - site.last_received > timedelta(seconds=limits.after_s):
            if expected[site.site]:
                said = f"no message from {site.site} for {_span(now - site.last_received)}"
                yield _fire(config, "site_silent", site.site, site.last_received, said, site)
            else:
                yield "site_silent", site.site, _why(site, expected[site.site])


def _away(facts: Facts, config: AlertsFile, now: datetime, expected: Mapping[str, bool | None]) -> _Found:
    limits = config.rules.collector_away
    heard = [site.last_received for site in facts.sites if site.last_received is not None]
    if not heard or now - max(heard) <= timedelta(seconds=limits.after_s):
        return
    meant = sum(1 for site in facts.sites if site.last_received is not None and expected[site.site])
    if meant >= limits.sites:
        said = f"no message from any of {len(heard)} sites for {_span(now - max(heard))}"
        yield _fire(config, "collector_away", "collector", max(heard), said)
    else:
        yield "collector_away", "collector", f"fewer than {limits.sites} sites are expected to send now"


def _devices(facts: Facts, config: AlertsFile, now: datetime, silent: set[str]) -> _Found:
    sites = {site.site: site for site in facts.sites}
    for device in facts.devices:
        limits = config.of(DeviceSilent, "device_silent", device.subject)
        site = sites.get(device.site)
        after = timedelta(seconds=limits.after_s)
        if device.last_received is not None and now - device.last_received <= after:
            continue
        if site is None or device.site in silent:
            yield "device_silent", device.subject, "nothing is heard of its site"
        elif device.last_received is None:
            never = timedelta(seconds=limits.never_after_s)
            if device.kind in _READS and device.installed_at is not None and now - device.installed_at > never:
                said = f"{device.subject} never gave a reading since its installation on {_day(device.installed_at)}"
                yield _fire(config, "device_silent", device.subject, device.installed_at, said, device)
            else:
                yield "device_silent", device.subject, "it never gave a reading, and need not have"
        elif device.habit or (device.kind != "gateway" and sun_is_up(site, now - after, now, limits.sun_above_deg)):
            said = f"no reading from {device.subject} for {_span(now - device.last_received)}"
            yield _fire(config, "device_silent", device.subject, device.last_received, said, device)
        else:
            yield "device_silent", device.subject, _why(site, device.habit)


def _why(site: SiteFacts, expected: bool | None) -> str:
    if expected is None and site.latitude is None:
        return "the site has no coordinates, and it has not sent for long enough to know its habits"
    return "it is not expected to send at this time of day"


def _anomalies(facts: Facts, config: AlertsFile) -> _Found:
    for device in facts.devices:
        limits = config.of(RegisterAnomaly, "register_anomaly", device.subject)
        if device.anomalies is None:
            if device.last_ts is not None:
                yield "register_anomaly", device.subject, "no day of the last week is computed"
            continue
        told: list[str] = []
        days = sorted(device.anomalies)[-limits.days :]
        for day in days:
            counts = {rule: n for rule, n in device.anomalies[day].items() if rule in limits.rules and n}
            if sum(counts.values()) >= limits.at_least:
                told.append(f"{day}: " + ", ".join(f"{_label(rule)} {n}" for rule, n in sorted(counts.items())))
        if told:
            first = datetime.fromisoformat(told[0].partition(":")[0]).replace(tzinfo=UTC)
            said = f"{device.subject} {'; '.join(told)}"
            yield _fire(config, "register_anomaly", device.subject, first, said, device)


def _quarantine(facts: Facts, config: AlertsFile) -> _Found:
    sites = {site.site: site for site in facts.sites}
    for site, (count, first) in facts.quarantined.items():
        limits = config.of(QuarantineRising, "quarantine_rising", site)
        window = timedelta(seconds=limits.window_s)
        if count >= limits.entries:
            where = f"from {site}" if site else "that name no declared site"
            said = f"{count:,} entries in quarantine in {_span(window)} of messages {where}"
            yield _fire(config, "quarantine_rising", site or NO_SITE, first, said, sites.get(site))


def _identity(facts: Facts, config: AlertsFile) -> _Found:
    sites = {site.site: site for site in facts.sites}
    for site, what in facts.unbalanced.items():
        said = f"the account of {site or NO_SITE} does not hold: {what}"
        yield _fire(config, "identity_broken", site or NO_SITE, facts.at, said, sites.get(site))


def _clocks(facts: Facts, config: AlertsFile) -> _Found:
    for device in facts.devices:
        limits = config.of(ClockSkew, "clock_skew", device.subject)
        skew_s = clock_skew_s(device)
        if skew_s is None:
            if device.last_ts is not None:
                yield "clock_skew", device.subject, "too few readings came lately"
        elif skew_s > limits.fast_s:
            said = f"the clock of {device.subject} is fast by {skew_s:.0f} s at least"
            yield _fire(config, "clock_skew", device.subject, facts.at, said, device)
        elif -skew_s > limits.slow_s:
            said = f"the clock of {device.subject} is slow by {-skew_s:.0f} s: all its readings come so late"
            yield _fire(config, "clock_skew", device.subject, facts.at, said, device)


def clock_skew_s(device: DeviceFacts) -> float | None:
    """Say by how much a device's clock is ahead [s]; below 0 behind, 0 where the lag does not tell; None: not known.

    A late reading says nothing of the clock, many that are all late by the same do; an early one cannot be otherwise.
    """
    least_s, most_s = device.lag_least_s, device.lag_most_s
    if least_s is None or most_s is None:
        return None
    if least_s < 0:
        return -least_s
    return -least_s if most_s - least_s <= 0.2 * least_s else 0.0


def _seals(facts: Facts, config: AlertsFile, now: datetime) -> _Found:
    if not facts.seals or facts.unsealed_from is None:
        return
    day = facts.unsealed_from.astimezone(UTC).date()
    over = datetime.combine(day + timedelta(days=1), time(), UTC)
    if now - over > timedelta(seconds=config.rules.seal_late.after_s):
        said = f"{day} is over for {_span(now - over)} and not sealed"
        yield _fire(config, "seal_late", "seal", over, said)


def _schedule(facts: Facts, config: AlertsFile, now: datetime) -> _Found:
    limits = config.rules.schedule_missed
    if facts.last_look is None:
        if facts.sites:
            yield _fire(config, "schedule_missed", "schedule", now, "the schedule never ran")
    elif now - facts.last_look > timedelta(seconds=limits.after_s):
        said = f"no replica of the schedule has looked for work for {_span(now - facts.last_look)}"
        yield _fire(config, "schedule_missed", "schedule", facts.last_look, said)
    sites = {site.site: site for site in facts.sites}
    for one in facts.overdue:
        days = "1 day is" if one.days == 1 else f"{one.days} days are"
        why = f": {one.failure}" if one.failure else ""
        said = f"{days} not computed at {one.site}, the first began on {_day(one.first)}{why}"
        subject = f"{one.job} {one.site}"
        yield _fire(config, "schedule_missed", subject, one.first + timedelta(days=1), said, sites.get(one.site))


def _disk(facts: Facts, config: AlertsFile, now: datetime) -> _Found:
    limits = config.rules.disk_filling
    if limits.database_limit_bytes is None:
        yield "disk_filling", "database", "no limit is set (rules.disk_filling.database_limit_bytes)"
    elif facts.database_bytes >= limits.database_share * limits.database_limit_bytes:
        share = facts.database_bytes / limits.database_limit_bytes
        said = f"the database has {_bytes(facts.database_bytes)}, {share:.0%} of {_bytes(limits.database_limit_bytes)}"
        yield _fire(config, "disk_filling", "database", now, said)
    volume = facts.volume
    if volume is None:
        yield "disk_filling", "volume", "this process sees no folder of it (rules.disk_filling.folder)"
    elif volume.free_bytes < limits.free_bytes or volume.free_bytes < limits.free_share * volume.total_bytes:
        said = f"the database's volume has {_bytes(volume.free_bytes)} free of {_bytes(volume.total_bytes)}"
        yield _fire(config, "disk_filling", "volume", now, said)


def _certificates(facts: Facts, config: AlertsFile, now: datetime) -> _Found:
    within = timedelta(seconds=config.rules.certificate_ending.within_s)
    # Of several by one name the first to end counts.
    for one in reversed(facts.certificates):
        if one.ends - now <= within:
            subject = f"{one.what} {one.name}".strip()
            yield _fire(config, "certificate_ending", subject, min(now, one.ends), one.said)


def sun_is_up(site: SiteFacts, since: datetime, until: datetime, above_deg: float) -> bool:
    """Tell whether the sun stood above an elevation at both ends of a time that is shorter than a night."""
    if site.latitude is None or site.longitude is None:
        return False
    ends = (_minute(since), _minute(until))
    return all(_elevation_deg(site.latitude, site.longitude, at) > above_deg for at in ends)


@lru_cache(maxsize=4096)
def _elevation_deg(latitude: float, longitude: float, at: datetime) -> float:
    import pandas as pd
    from pvlib import solarposition

    position = solarposition.get_solarposition(pd.DatetimeIndex([at]), latitude, longitude, method="nrel_numpy")
    return float(position["elevation"].iloc[0])


def _minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _label(rule: str) -> str:
    return rule.partition(".")[2].partition("@")[0]


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}"


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
