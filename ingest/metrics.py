"""What a collector tells Prometheus: names by its conventions, base units, one registry a collector.

received = settled + unacknowledged holds in every scrape, as it holds in `ingest_account`. Sites are the only labels
that grow, and only declared ones get one; devices get none. The hot path pays one call a batch (`Metrics.settled`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingest.batch import Outcome, Planned
from ingest.store import Settled


@dataclass(frozen=True, slots=True)
class Family:
    """One metric as it is documented and scraped."""

    name: str
    kind: str
    """counter, gauge or histogram."""
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            "jcm_mrv_messages_received_total",
            "counter",
            "Messages that the broker handed over since this process started; what it sends again counts again.",
        ),
        Family(
            "jcm_mrv_messages_settled_total",
            "counter",
            "Messages that were committed, by how they ended.",
            ("outcome",),
        ),
        Family(
            "jcm_mrv_readings_settled_total",
            "counter",
            "Readings (elements of payloads) that were committed, by how they ended.",
            ("outcome",),
        ),
        Family(
            "jcm_mrv_unacknowledged_messages",
            "gauge",
            "Messages that were received and are not committed yet; at the window, the broker sends no more.",
        ),
        Family(
            "jcm_mrv_commit_seconds",
            "histogram",
            "Time from the begin to the commit of a batch's transaction; waiting for a database that is away is not "
            "in it.",
            buckets=_SECONDS,
        ),
        Family(
            "jcm_mrv_batch_messages",
            "histogram",
            "Messages in one transaction.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000),
        ),
        Family(
            "jcm_mrv_receive_to_commit_seconds",
            "histogram",
            "Time from the arrival of the oldest message of a batch to its commit; one observation a batch.",
            buckets=(*_SECONDS, 60.0, 300.0, 1800.0),
        ),
        Family(
            "jcm_mrv_quarantined_total",
            "counter",
            "Entries put into quarantine, by reason.",
            ("reason",),
        ),
        Family(
            "jcm_mrv_site_last_reading_timestamp_seconds",
            "gauge",
            "Newest time of measurement of a declared site; a site that never sent a reading has none.",
            ("site",),
        ),
        Family("jcm_mrv_broker_connected", "gauge", "1 while the broker has granted the subscription."),
        Family("jcm_mrv_database_connected", "gauge", "1 while the last thing asked of the database was answered."),
        Family("jcm_mrv_standby", "gauge", "1 while another collector with this client id is at work."),
        Family("jcm_mrv_window_messages", "gauge", "Receive Maximum: the bound of jcm_mrv_unacknowledged_messages."),
        Family("jcm_mrv_build_info", "gauge", "1, labelled with the version of jcm-mrv.", ("version",)),
    )
}


@dataclass(frozen=True, slots=True)
class Live:
    """What is read when Prometheus asks, and costs nothing until then."""

    received: Callable[[], int]
    broker_connected: Callable[[], bool]
    database_connected: Callable[[], bool]
    standby: Callable[[], bool]


class Metrics:
    """The metrics of one collector.

    Parameters
    ----------
    live
        Read at every scrape.
    window
        Receive Maximum, messages.
    version
        Of jcm-mrv.
    """

    def __init__(self, live: Live, *, window: int = 0, version: str = "") -> None:
        self.registry = CollectorRegistry()
        self._messages = Counter[Outcome]()
        self._readings = Counter[Outcome]()
        self._live = live
        self._commit = self._histogram("jcm_mrv_commit_seconds")
        self._batch = self._histogram("jcm_mrv_batch_messages")
        self._latency = self._histogram("jcm_mrv_receive_to_commit_seconds")
        self._reasons = Counter[str]()
        # Newest time of a reading by site; seconds are made of it when it is asked for.
        self._sites: dict[str, datetime] = {}
        self._window = window
        self._version = version
        self.registry.register(_Scrape(self._families))
        # Memory and processor time of this process, under the names that every Prometheus client gives them.
        prometheus_client.ProcessCollector(registry=self.registry)

    def settled(self, batch: Sequence[Planned], settled: Settled, commit_s: float) -> None:
        """Count a committed batch.

        Parameters
        ----------
        commit_s
            How long its transaction took.
        """
        self._readings.update(_readings(settled))
        sites = self._sites
        for planned in batch:
            if planned.rejections:
                self._reasons.update([str(rejection.reason) for rejection in planned.rejections])
            readings = planned.readings
            if readings and (site := planned.site_id) is not None:
                newest = readings[0][1].ts if len(readings) == 1 else max([one.ts for _, one in readings])
                known = sites.get(site)
                if known is None or newest > known:
                    sites[site] = newest
        for one in settled.aside.joined:
            self._reasons.update([str(rejection.reason) for rejection in one.judged.rejections])
            site = one.bound.device.site
            for _, _, reading in one.judged.readings:
                sites[site] = max(reading.ts, sites.get(site, reading.ts))
        if batch:
            # A clock that is set back must not count as a negative time.
            self._latency.observe(max(0.0, time.time() - batch[0].received.arrived_at))
            self._commit.observe(commit_s)
            self._batch.observe(len(batch))
        self._messages.update(settled.outcomes)

    def know_last_readings(self, last: Iterable[tuple[str, datetime]]) -> None:
        """Take over what the database knows, so that a site that is silent since before the start is seen to be."""
        for site, ts in last:
            if site not in self._sites or ts > self._sites[site]:
                self._sites[site] = ts

    def _histogram(self, name: str) -> prometheus_client.Histogram:
        family = FAMILIES[name]
        return prometheus_client.Histogram(name, family.help, buckets=family.buckets, registry=self.registry)

    def _families(self) -> Iterable[Metric]:
        # Settled first: received only grows, so the difference of the two is never below zero.
        messages = dict(self._messages)
        received = self._live.received()
        yield _counter("jcm_mrv_messages_received_total", {(): received})
        yield _counter("jcm_mrv_messages_settled_total", {(one,): messages.get(one, 0) for one in Outcome})
        yield _gauge("jcm_mrv_unacknowledged_messages", {(): received - sum(messages.values())})
        readings = dict(self._readings)
        yield _counter("jcm_mrv_readings_settled_total", {(one,): readings.get(one, 0) for one in Outcome})
        yield _counter("jcm_mrv_quarantined_total", {(reason,): count for reason, count in dict(self._reasons).items()})
        yield _gauge(
            "jcm_mrv_site_last_reading_timestamp_seconds",
            {(site,): ts.timestamp() for site, ts in dict(self._sites).items()},
        )
        yield _gauge("jcm_mrv_broker_connected", {(): self._live.broker_connected()})
        yield _gauge("jcm_mrv_database_connected", {(): self._live.database_connected()})
        yield _gauge("jcm_mrv_standby", {(): self._live.standby()})
        yield _gauge("jcm_mrv_window_messages", {(): self._window})
        yield _gauge("jcm_mrv_build_info", {(self._version,): 1})


class _Scrape(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def _readings(settled: Settled) -> dict[Outcome, int]:
    accounts = settled.accounts.values()
    return {outcome: sum([account.readings[outcome] for account in accounts]) for outcome in Outcome}


def _counter(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    family = FAMILIES[name]
    metric = CounterMetricFamily(name, family.help, labels=family.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric


def _gauge(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    family = FAMILIES[name]
    metric = GaugeMetricFamily(name, family.help, labels=family.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric
