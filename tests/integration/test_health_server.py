"""`/metrics`, `/livez` and `/readyz` of a collector that works on real servers."""

import http.client
import socket
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.errors import HealthServerError
from deploy.health_server import HealthServer
from deploy.local.state import free_port
from devices import topics
from ingest import liveness
from ingest.batch import Outcome
from ingest.errors import SessionFailedError
from sql.errors import DatabaseUnavailableError
from tests.harness import (
    CollectorProcess,
    Message,
    collecting,
    declare,
    exclusive,
    forget_session,
    numbered,
    one,
    payload,
    publish,
    wait_until,
)

SITE, DEVICE = "health-a", "inv-1"
TOPIC = topics.readings(SITE, DEVICE)


@pytest.fixture(scope="module", autouse=True)
def _alone():
    with exclusive("health-test"):
        yield


@pytest.fixture
def client_id(broker):
    name = f"collector-{uuid.uuid4().hex[:8]}"
    yield name
    forget_session(broker.collector_url, name)


@pytest.fixture
def site(database):
    declare(database, SITE, [DEVICE])
    return SITE


@contextmanager
def served(collector):
    with HealthServer(
        "127.0.0.1", 0, registry=collector.metrics.registry, live=collector.live, ready=collector.ready
    ) as server:
        yield server.port


def ask(port, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def scrape(port):
    """Samples by name and labels, as Prometheus reads them."""
    status, kind, text = ask(port, "/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name, *sample.labels.values()] = sample.value
    return samples


@contextmanager
def away(url):
    """The database lets nobody in, and whoever was in is put out."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    other = psycopg.conninfo.make_conninfo(url, dbname="postgres")
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute(f"alter database {name} allow_connections false")
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and usename = session_user",
            [name],
        )
        try:
            yield
        finally:
            connection.execute(f"alter database {name} allow_connections true")


def test_what_was_received_is_settled_or_unacknowledged_also_while_the_database_is_away(
    broker, database, client_id, site
):
    with (
        collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#") as collector,
        served(collector) as port,
    ):
        publish(broker.site_url(site), [*numbered(SITE, DEVICE, range(20)), Message(TOPIC, payload(0))])
        publish(broker.site_url(site), [Message(TOPIC, payload(1, points={"W": 1})), Message(TOPIC, b"{")])
        wait_until(lambda: scrape(port)["jcm_mrv_unacknowledged_messages",] == 0 and collector.totals.received == 23)
        found = scrape(port)
        settled = {outcome.value: found["jcm_mrv_messages_settled_total", outcome.value] for outcome in Outcome}
        assert settled == {"stored": 20, "duplicate": 1, "conflict": 1, "quarantined": 1}
        assert found["jcm_mrv_messages_received_total",] == 23
        assert found["jcm_mrv_quarantined_total", "payload_undecodable"] == 1
        newest = datetime(2026, 1, 1, 0, 0, 19, tzinfo=UTC).timestamp()
        assert found["jcm_mrv_site_last_reading_timestamp_seconds", site] == newest
        assert found["jcm_mrv_commit_seconds_count",] == found["jcm_mrv_batch_messages_count",] > 0
        assert found["jcm_mrv_batch_messages_sum",] == 23
        assert 0 < found["jcm_mrv_commit_seconds_sum",] < 5
        assert found["jcm_mrv_broker_connected",] == found["jcm_mrv_database_connected",] == 1
        assert found["process_resident_memory_bytes",] > 1e6
        assert ask(port, "/readyz") == (200, "text/plain; charset=utf-8", "ok\n")

        with away(database):
            publish(broker.site_url(site), numbered(SITE, DEVICE, range(100, 150)))
            wait_until(lambda: scrape(port)["jcm_mrv_unacknowledged_messages",] == 50)
            wait_until(lambda: scrape(port)["jcm_mrv_database_connected",] == 0)
            found = scrape(port)
            assert sum(found["jcm_mrv_messages_settled_total", outcome.value] for outcome in Outcome) == 23
            assert found["jcm_mrv_messages_received_total",] == 73
            assert ask(port, "/livez")[0] == 200
            status, _, said = ask(port, "/readyz")
            assert status == 503
            assert "[-]database: does not answer" in said
            assert "broker" not in said
        wait_until(lambda: scrape(port)["jcm_mrv_unacknowledged_messages",] == 0)
        found = scrape(port)
        assert found["jcm_mrv_messages_settled_total", "stored"] == 70
        # Waiting is not committing.
        assert found["jcm_mrv_commit_seconds_sum",] < 5
        assert ask(port, "/readyz")[0] == 200


def test_an_idle_collector_notices_that_the_database_is_away(broker, database, client_id, site):
    with (
        collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#") as collector,
        served(collector) as port,
    ):
        assert ask(port, "/readyz")[0] == 200
        with away(database):
            wait_until(lambda: ask(port, "/readyz")[0] == 503)
            assert ask(port, "/livez")[0] == 200
        wait_until(lambda: ask(port, "/readyz")[0] == 200)


def test_verbose_names_each_check(broker, database, client_id, site):
    with (
        collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#") as collector,
        served(collector) as port,
    ):
        status, kind, said = ask(port, "/livez?verbose")
        assert (status, kind) == (200, "text/plain; charset=utf-8")
        assert said == "[+]mqtt_thread: goes round\n[+]writing_thread: goes round\nok\n"
        said = ask(port, "/readyz?verbose=1")[2]
        assert said.startswith("[+]broker: the subscription stands\n[+]database: answers, asked ")
        assert ask(port, "/livez")[2] == "ok\n"


def test_a_dead_mqtt_thread_is_not_alive(broker, database, client_id, site):
    def fail(_stream):
        raise RuntimeError("made to fail")

    with (  # noqa: PT012 - the block is the test
        pytest.raises(SessionFailedError, match="made to fail"),
        collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#") as collector,
        served(collector) as port,
    ):
        assert ask(port, "/livez")[0] == 200
        stream = collector.session._client.socket()
        collector.session._flush = fail
        wait_until(lambda: ask(port, "/livez")[0] == 503)
        assert "[-]mqtt_thread: dead" in ask(port, "/livez")[2]
        assert ask(port, "/readyz")[0] == 503
        # The broker would go on sending to a connection that nobody reads.
        assert stream.fileno() == -1


def test_a_stuck_thread_is_not_alive(broker, database, client_id, site):
    released = threading.Event()
    with collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#") as collector:
        flush, take = collector.session._flush, collector._inbox.take

        def stuck_flush(stream):
            released.wait(120)
            return flush(stream)

        def stuck_take(*arguments):
            released.wait(120)
            return take(*arguments)

        def passed():
            checks = liveness.live(collector.session, collector._pulse, stuck_s=1.5)
            return [check.passed for check in checks]

        try:
            wait_until(lambda: passed() == [True, True])
            collector.session._flush = stuck_flush
            wait_until(lambda: passed() == [False, True])
            collector._inbox.take = stuck_take
            wait_until(lambda: passed() == [False, False])
        finally:
            released.set()
        wait_until(lambda: passed() == [True, True])


def test_who_connects_and_says_nothing_keeps_nobody_waiting(broker, database, client_id, site):
    with (
        collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#") as collector,
        served(collector) as port,
        socket.create_connection(("127.0.0.1", port)) as silent,
    ):
        silent.sendall(b"GET /livez HTT")
        started = time.monotonic()
        assert ask(port, "/livez")[0] == 200
        # The server waits ten seconds for the rest of a request.
        assert time.monotonic() - started < 8


def test_other_requests_are_answered_as_http_says(broker, database, client_id, site):
    with (
        collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#") as collector,
        served(collector) as port,
    ):
        assert ask(port, "/")[0] == 404
        assert ask(port, "/livez", "HEAD") == (200, "text/plain; charset=utf-8", "")
        assert ask(port, "/livez", "POST")[0] == 501
        assert "openmetrics" in ask(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")[1]


def test_a_port_that_is_taken_is_one_clear_error(site, client_id, broker, database):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HealthServerError, match=f"cannot listen on 127.0.0.1:{port} .address already in use."):
            HealthServer("127.0.0.1", port, registry=None, live=list, ready=list)
        process = CollectorProcess(broker.collector_url, database, client_id, {"JCM_MRV_HEALTH_PORT": str(port)})
        try:
            process.start(connected=False)
            assert process.wait() == 1
            [line] = [line for line in process.log.read_text().splitlines() if not line.startswith("{")]
            assert line.startswith(f"jcm-mrv: cannot listen on 127.0.0.1:{port} ")
        finally:
            process.close()


def test_the_command_serves_health_and_knows_the_last_readings_from_before(broker, database, client_id, site):
    with collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#"):
        publish(broker.site_url(site), numbered(SITE, DEVICE, [7]))
        wait_until(lambda: one(database, "select count(*) from reading") == 1)
    port = free_port()
    process = CollectorProcess(broker.collector_url, database, client_id, {"JCM_MRV_HEALTH_PORT": str(port)})
    try:
        process.start()
        assert "health_server_started" in process.events()
        wait_until(lambda: ask(port, "/readyz")[0] == 200)
        newest = datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC).timestamp()
        wait_until(lambda: scrape(port).get(("jcm_mrv_site_last_reading_timestamp_seconds", site)) == newest)
        assert scrape(port)["jcm_mrv_messages_received_total",] == 0
        process.send()
        assert process.wait() == 0
    finally:
        process.close()


def test_a_database_that_is_away_at_the_start_is_an_error_as_before(broker, database, client_id, site):
    with (
        away(database),
        pytest.raises(DatabaseUnavailableError),
        collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#"),
    ):
        pass
