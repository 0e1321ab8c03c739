"""`replay` against the real broker: every message arrives, in order, and every refusal is one clear line."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
import pytest
from click.testing import CliRunner, Result
from paho.mqtt.enums import CallbackAPIVersion

from deploy.commands.replay import replay
from deploy.local import LocalServers
from devices.errors import PublishError
from devices.mqtt_url import parse
from devices.publisher import Publisher

ROWS = 5000
# The test servers are shared by whoever runs tests in this checkout at the same time.
SITE = f"replay-{os.getpid()}"
TOPIC = f"jcm/v1/{SITE}/inv-0/readings"


class Listener:
    """A subscriber that keeps what it hears."""

    def __init__(self, url: str, topics: str) -> None:
        address = parse(url)
        self.heard: list[tuple[str, bytes]] = []
        self._different: set[bytes] = set()
        self._ready = threading.Event()
        self._heard = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(address.username, address.password)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_connect = lambda client, *_: client.subscribe(topics, qos=1)
        self._client.connect(address.host, address.port)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._heard:
            self.heard.append((message.topic, message.payload))
            self._different.add(message.payload)
            self._heard.notify()

    def wait_for(self, count: int) -> list[tuple[str, bytes]]:
        """Wait for so many different payloads; QoS 1 may bring one twice."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self._different) >= count, timeout=60), len(self._different)
        return self.heard

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recording.csv"
    rows = (f"2020-05-15T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02},inv-{n % 3},{n}.5" for n in range(ROWS))
    path.write_text("\n".join(["T,ID,AC", *rows, ""]), encoding="utf-8")
    return path


@pytest.fixture
def run(file: Path, broker: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("JCM_MRV_DATABASE_URL", "postgresql://127.0.0.1:1/not-asked-for")
    monkeypatch.setenv("JCM_MRV_MQTT_URL", broker.site_url(SITE))

    def running(*more: str, site: str = SITE) -> Result:
        given = ["--site", site, "--time-column", "T", "--tz", "Asia/Kolkata", "--map", "AC=W:kW"]
        return CliRunner().invoke(replay, [str(file), *given, "--device-column", "ID", *more])

    return running


def test_every_row_arrives_in_order(run: Callable[..., Result], broker: Any) -> None:
    with Listener(broker.collector_url, f"jcm/v1/{SITE}/#") as listener:
        result = run()
        heard = listener.wait_for(ROWS)
    assert result.exit_code == 0, result.exception
    assert f"{ROWS:,} messages of 3 devices acknowledged" in result.stdout
    assert result.stderr == ""
    assert len(heard) == ROWS
    assert heard[0] == (TOPIC, b'{"ts":"2020-05-14T18:30:00Z","points":{"W":500}}')
    assert [float(payload.split(b'"W":')[1].rstrip(b"}")) for _, payload in heard] == [
        n * 1000 + 500 for n in range(ROWS)
    ]


def test_without_a_subscriber_nothing_is_published_into_the_void(
    run: Callable[..., Result],
    servers: LocalServers,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A broker of its own: at the shared one sessions of other tests may subscribe to everything.
    alone = LocalServers(tmp_path_factory.mktemp("alone"), packages=servers.packages)
    alone.start()
    try:
        monkeypatch.setenv("JCM_MRV_MQTT_PUBLISH_URL", alone.environment()["JCM_MRV_MQTT_PUBLISH_URL"])
        result = run()
    finally:
        alone.stop()
    assert isinstance(result.exception, PublishError)
    assert "nobody subscribes to it; start `jcm-mrv collect` first" in str(result.exception)


def test_a_rate_is_kept(run: Callable[..., Result], file: Path, broker: Any) -> None:
    file.write_text("T,ID,AC\n" + "2020-05-15T00:00:00,i,1\n" * 50, encoding="utf-8")
    with Listener(broker.collector_url, f"jcm/v1/{SITE}/#"):
        started = time.monotonic()
        assert run("--rate", "100").exit_code == 0
    assert 0.4 < time.monotonic() - started < 60


def test_another_sites_login_may_not_publish(run: Callable[..., Result]) -> None:
    result = run(site=f"{SITE}-2")
    assert isinstance(result.exception, PublishError)
    assert "refused a message (not authorized)" in str(result.exception)


def test_a_wrong_password_is_one_line_without_it(
    run: Callable[..., Result], broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JCM_MRV_MQTT_PUBLISH_URL", f"mqtt://{SITE}:wr0ng@{broker.host}:{broker.port}")
    result = run()
    assert isinstance(result.exception, PublishError)
    assert f"refuses the login of user {SITE}" in str(result.exception)
    assert "wr0ng" not in str(result.exception)


def test_no_broker_is_one_line(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCM_MRV_MQTT_PUBLISH_URL", "mqtt://127.0.0.1:1")
    result = run()
    assert isinstance(result.exception, PublishError)
    assert "mqtt://127.0.0.1:1 does not answer" in str(result.exception)


def test_a_mistake_in_the_last_row_publishes_nothing(run: Callable[..., Result], file: Path, broker: Any) -> None:
    with file.open("a", encoding="utf-8") as text:
        text.write("2020-05-15T12:00:00,inv-0,broken\n")
    with Listener(broker.collector_url, f"jcm/v1/{SITE}/#") as listener:
        result = run()
        assert f"line {ROWS + 2}, column AC" in str(result.exception)
        assert listener.heard == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--device", "x"), "either --device or --device-column"),
        (("--map", "AC=Watt"), 'there is no point "Watt"'),
        (("--map", "AC=DCW:kWh"), 'DCW has no unit "kWh"'),
        (("--tz", "Asia/Kolkatta"), "did you mean Asia/Kolkata?"),
    ],
)
def test_wrong_use_exits_2(run: Callable[..., Result], more: tuple[str, ...], said: str) -> None:
    result = run(*more)
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_outage_of_the_connection_loses_nothing(broker: Any) -> None:
    seen: list[bool] = []
    with (
        Listener(broker.collector_url, f"jcm/v1/{SITE}/#") as listener,
        Publisher(parse(broker.site_url(SITE)), on_connection=seen.append) as publisher,
    ):
        for number in range(ROWS):
            if number == ROWS // 2:
                # The network is gone in the middle of a window, without a DISCONNECT.
                socket = publisher._client.socket()
                assert socket is not None
                socket.shutdown(2)
            publisher.publish(TOPIC, str(number).encode())
        publisher.wait_for_all()
        heard = {int(payload) for _, payload in listener.wait_for(ROWS)}
    assert heard == set(range(ROWS))
    assert seen == [False, True]


def test_a_refusal_behind_a_full_window_ends_too(broker: Any) -> None:
    # Mosquitto closes the connection on a refusal, which may cost its reason.
    def publish_for_another_site() -> None:
        with Publisher(parse(broker.site_url(SITE))) as publisher:
            publisher.publish(TOPIC, b"1")
            publisher.wait_for_all()
            publisher.publish_all((f"jcm/v1/{SITE}-2/inv-0/readings", b"%d" % number) for number in range(ROWS))

    with pytest.raises(PublishError, match=r"refused a message|may refuse what is published"):
        publish_for_another_site()


def test_a_broker_that_closes_every_connection_ends_it(broker: Any) -> None:
    def publish_what_no_broker_takes() -> None:
        with Publisher(parse(broker.site_url(SITE))) as publisher:
            publisher.publish(TOPIC, bytes(5_000_000))

    with pytest.raises(PublishError, match="closed the connection 4 times without acknowledging"):
        publish_what_no_broker_takes()
