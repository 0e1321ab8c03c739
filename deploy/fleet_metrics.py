"""What the database tells Prometheus of the whole fleet, judged as the alerts judge it; shown by `serve`.

Read at most once in some seconds, whoever asks and how often, so that scrapes cannot load the database.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day

import psycopg
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from deploy.alerts.config import AlertsFile
from deploy.alerts.facts import Facts
from deploy.alerts.judge import Judgement, clock_skew_s
from deploy.alerts.rules import RegisterAnomaly
from deploy.alerts.service import Alerting
from ingest.metrics import Family
from sql.errors import StoreError
from sql.named import load

_QUERIES = load("alerts")
CACHE_S = 15.0

FLEET_FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("jcm_mrv_fleet_up", "gauge", "1 while the database answers; 0, and nothing else, where it does not."),
        Family(
            "jcm_mrv_site_last_received_timestamp_seconds",
            "gauge",
            "When the newest message of a site came.",
            ("site",),
        ),
        Family(
            "jcm_mrv_site_silent",
            "gauge",
            "1 while site_silent is judged so; none where it cannot be told now, as by night.",
            ("site",),
        ),
        Family(
            "jcm_mrv_device_silent",
            "gauge",
            "1 while device_silent is judged so; none where it cannot be told now.",
            ("site", "device"),
        ),
        Family("jcm_mrv_collector_away", "gauge", "1 while nothing comes from any site; none where it cannot be told."),
        Family(
            "jcm_mrv_device_clock_offset_seconds",
            "gauge",
            "By how much a device's clock is ahead; none where too few readings came lately.",
            ("site", "device"),
        ),
        Family(
            "jcm_mrv_register_anomalies",
            "gauge",
            "How often a rule of register_anomaly decided on a device's latest computed days.",
            ("site", "device"),
        ),
        Family(
            "jcm_mrv_quarantine_open_entries",
            "gauge",
            "Entries in quarantine that nobody released.",
            ("site", "reason"),
        ),
        Family(
            "jcm_mrv_quarantine_new_entries",
            "gauge",
            "Entries that came into quarantine within the window of quarantine_rising, an hour.",
            ("site",),
        ),
        Family("jcm_mrv_account_balanced", "gauge", "1 while the account of a site holds.", ("site",)),
        Family("jcm_mrv_last_sealed_timestamp_seconds", "gauge", "The end of the newest sealed day."),
        Family(
            "jcm_mrv_unsealed_timestamp_seconds",
            "gauge",
            "The end of the oldest day with messages that is not sealed, which may lie ahead.",
        ),
        Family(
            "jcm_mrv_schedule_last_look_timestamp_seconds",
            "gauge",
            "When a replica of the schedule last looked for work, or was at work.",
        ),
        Family("jcm_mrv_overdue_days", "gauge", "Days of a site that are over for hours and not computed.", ("site",)),
        Family("jcm_mrv_database_bytes", "gauge", "The size of the database."),
        Family("jcm_mrv_database_limit_bytes", "gauge", "How large it may become, where that is set."),
        Family("jcm_mrv_volume_bytes", "gauge", "The size of its volume, where this process sees it."),
        Family("jcm_mrv_volume_free_bytes", "gauge", "What is free on it."),
        Family(
            "jcm_mrv_certificate_end_timestamp_seconds",
            "gauge",
            "When what certificate_ending told of ends; none for what lasts.",
            ("what", "name"),
        ),
        Family("jcm_mrv_alerts", "gauge", "Open alerts, as the schedule last judged.", ("rule", "severity", "state")),
        Family("jcm_mrv_notices_unsent", "gauge", "Notices that no target has taken yet.", ("target",)),
        Family(
            "jcm_mrv_notice_oldest_unsent_timestamp_seconds",
            "gauge",
            "When the oldest of them was written.",
            ("target",),
        ),
    )
}

_Values = Mapping[tuple[str, ...], float]


class FleetCollector(Collector):
    """A collector for a `prometheus_client` registry.

    Parameters
    ----------
    alerting
        Its connection (the reader's rights are enough), rules and place; see `deploy.alerts.composition.alerting`.
    cache_s
        For how long what was read is shown again.
    """

    def __init__(self, alerting: Alerting, *, cache_s: float = CACHE_S) -> None:
        self._alerting = alerting
        self._cache_s = cache_s
        self._lock = threading.Lock()
        self._metrics: list[Metric] = []
        self._read_at: float | None = None

    def describe(self) -> Iterable[Metric]:
        """Tell nothing before it is asked: the registry would read the database to know the names."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Read the database, or give what was read a moment ago."""
        with self._lock:
            if self._read_at is None or time.monotonic() - self._read_at >= self._cache_s:
                self._metrics = self._read()
                self._read_at = time.monotonic()
            return self._metrics

    def _read(self) -> list[Metric]:
        try:
            with self._alerting.connect() as connection:
                facts, judged = self._alerting.look(connection)
                values = values_of(facts, judged, self._alerting.config)
                values["jcm_mrv_quarantine_open_entries"] = {
                    (site, reason): count for site, reason, count in connection.execute(_QUERIES["quarantine_open"])
                }
                values["jcm_mrv_alerts"] = {
                    (rule, severity, state): count
                    for rule, severity, state, count in connection.execute(_QUERIES["open_counts"])
                }
                unsent = connection.execute(_QUERIES["unsent"]).fetchall()
        except (StoreError, psycopg.Error):
            return [_metric("jcm_mrv_fleet_up", {(): 0})]
        values["jcm_mrv_notices_unsent"] = {(target,): 0 for target in self._alerting.config.targets}
        values["jcm_mrv_notices_unsent"] |= {(target,): count for target, count, _ in unsent}
        values["jcm_mrv_notice_oldest_unsent_timestamp_seconds"] = {
            (target,): oldest.timestamp() for target, _, oldest in unsent
        }
        return [_metric(name, values[name]) for name in FLEET_FAMILIES if name in values]


def values_of(facts: Facts, judged: Judgement, config: AlertsFile) -> dict[str, dict[tuple[str, ...], float]]:
    """Tell the facts and what was judged on them by metric and labels; pure."""
    known = [site.site for site in facts.sites]
    end_of_sealed = None if facts.last_sealed is None else _end_of(facts.last_sealed)
    unsealed = facts.unsealed_from if facts.seals else None
    away = _judged(judged, "collector_away", "collector")
    found: dict[str, dict[tuple[str, ...], float]] = {
        "jcm_mrv_fleet_up": {(): 1},
        "jcm_mrv_site_last_received_timestamp_seconds": {
            (site.site,): site.last_received.timestamp() for site in facts.sites if site.last_received is not None
        },
        "jcm_mrv_site_silent": _told({(site,): _judged(judged, "site_silent", site) for site in known}),
        "jcm_mrv_device_silent": _told(
            {(one.site, one.device): _judged(judged, "device_silent", one.subject) for one in facts.devices}
        ),
        "jcm_mrv_collector_away": _told({(): away}),
        "jcm_mrv_device_clock_offset_seconds": _told(
            {(one.site, one.device): clock_skew_s(one) for one in facts.devices}
        ),
        "jcm_mrv_register_anomalies": {
            (one.site, one.device): sum(
                count
                for day in sorted(one.anomalies)[-limits.days :]
                for rule, count in one.anomalies[day].items()
                if rule in limits.rules
            )
            for one in facts.devices
            if one.anomalies is not None
            for limits in [config.of(RegisterAnomaly, "register_anomaly", one.subject)]
        },
        "jcm_mrv_quarantine_new_entries": {
            (site,): facts.quarantined[site].entries if site in facts.quarantined else 0 for site in ("", *known)
        },
        "jcm_mrv_account_balanced": {(site,): site not in facts.unbalanced for site in facts.accounts},
        "jcm_mrv_last_sealed_timestamp_seconds": _told({(): end_of_sealed}),
        "jcm_mrv_unsealed_timestamp_seconds": _told(
            {(): None if unsealed is None else _end_of(unsealed.astimezone(UTC).date())}
        ),
        "jcm_mrv_schedule_last_look_timestamp_seconds": _told(
            {(): None if facts.last_look is None else facts.last_look.timestamp()}
        ),
        "jcm_mrv_overdue_days": {**{(site,): 0 for site in known}, **{(one.site,): one.days for one in facts.overdue}},
        "jcm_mrv_database_bytes": {(): facts.database_bytes},
        "jcm_mrv_database_limit_bytes": _told({(): config.rules.disk_filling.database_limit_bytes}),
    }
    found["jcm_mrv_certificate_end_timestamp_seconds"] = {
        (one.what, one.name): one.ends.timestamp() for one in reversed(facts.certificates)
    }
    if facts.volume is not None:
        found["jcm_mrv_volume_bytes"] = {(): facts.volume.total_bytes}
        found["jcm_mrv_volume_free_bytes"] = {(): facts.volume.free_bytes}
    return found


def _judged(judged: Judgement, rule: str, subject: str) -> float | None:
    if (rule, subject) in judged.firing:
        return 1
    return None if (rule, subject) in judged.undecided else 0


def _told(values: Mapping[tuple[str, ...], float | None]) -> dict[tuple[str, ...], float]:
    return {labels: value for labels, value in values.items() if value is not None}


def _end_of(day: date) -> float:
    return datetime.combine(day, time_of_day(), UTC).timestamp() + timedelta(days=1).total_seconds()


def _metric(name: str, values: _Values) -> Metric:
    family = FLEET_FAMILIES[name]
    metric = GaugeMetricFamily(name, family.help, labels=family.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric
