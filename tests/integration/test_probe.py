"""`jcm-mrv device probe` as it is run: what devices of seven families say, what it makes of it, what it asks for."""

import json
import os
import subprocess
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.state import free_port
from devices.declaration_file import parse
from devices.decoding.catalogue import built_in
from devices.errors import PublishError
from devices.mqtt_url import parse as parse_url
from devices.publisher import Publisher
from tests.forked import run_command
from tests.harness import Message
from tests.mosquitto import OwnMosquitto

# Messages of real devices, from the profiles' own vectors: family, which vectors, the zone of the device's clock.
VECTORS = {
    "opendtu": ((0,), "UTC"),
    "victron": ((0,), "UTC"),
    "growatt-grott": ((0,), "Europe/Amsterdam"),
    "shelly-gen2": ((0, 1), "UTC"),
    "tasmota": ((7,), "Europe/Berlin"),
    "sparkplug-b": ((0,), "UTC"),
}
LOGGER = Message(
    "plant/logger7/data",
    b'{"id": "logger7", "data": {"total_energy": 48211.5, "energy_today": 12.4, "active_power": 5.31}}',
)
ROOF = """
[project]
id = "P"
title = "P"
host_country = "THA"
methodology = "TH_AM001"
methodology_version = "1.0"
crediting_period = {{ from = 2019-01-01, to = 2029-12-31 }}

[[site]]
id = "{site}"
name = "Roof"
time_zone = "Asia/Bangkok"

[[pv_system]]
id = "pv-1"
site = "{site}"
capacity_kw = 10
connection = "grid"
credited_by = ["{device}"]

"""


def said(family: str) -> list[Message]:
    if family == "generic":
        return [LOGGER]
    vectors = built_in()[family].vectors
    return [Message(one.topic, one.data) for number in VECTORS[family][0] for one in vectors[number].messages]


def run(
    *arguments: str, mqtt: str = "mqtt://127.0.0.1:1", until: Callable[[], bool] | None = None
) -> subprocess.CompletedProcess:
    settings = {"JCM_MRV_MQTT_URL": mqtt, "JCM_MRV_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    return run_command("device", "probe", *arguments, environment=os.environ | settings, cwd=Path.cwd(), until=until)


@pytest.fixture(scope="module")
def alone(servers, tmp_path_factory) -> Iterator[OwnMosquitto]:
    """A broker at which nobody but the probe listens."""
    port = free_port()
    made = OwnMosquitto(
        servers, tmp_path_factory.mktemp("broker"), f"listener {port} 127.0.0.1\nallow_anonymous true\n", port
    )
    made.start()
    yield made
    made.stop()


def unread(port: int) -> int:
    """How many bytes wait for the clients of a port."""
    connections = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(one[4].partition(":")[2], 16) for one in connections if one[2].endswith(f":{port:04X}"))


@pytest.fixture
def heard(alone):
    """Probes what a family says below a site of the test's own, until it has heard it twice."""

    def probe(family: str, *arguments: str) -> tuple[str, subprocess.CompletedProcess]:
        site, url, whole = f"probe-{uuid.uuid4().hex[:8]}", f"mqtt://127.0.0.1:{alone.port}", 0

        def twice() -> bool:
            nonlocal whole
            if whole < 2:
                try:
                    with Publisher(parse_url(url), must_be_heard=True) as publisher:
                        for one in said(family):
                            publisher.publish(f"jcm/v1/{site}/via/{one.topic}", one.payload)
                except PublishError:
                    # It does not listen yet.
                    return False
                whole += 1
            return whole == 2 and unread(alone.port) == 0

        zone = VECTORS.get(family, ((), "UTC"))[1]
        return site, run(f"jcm/v1/{site}/via/#", "--seconds", "50", "--tz", zone, *arguments, mqtt=url, until=twice)

    return probe


def pasted(site: str, declaration: str) -> str:
    """A project's file with what was printed, and what was said to be missing filled in."""
    device = tomllib.loads(declaration)["device"][0]["id"]
    filled = declaration.replace('pv_system = "…"', 'pv_system = "pv-1"').replace(
        "rated_power_w = 0", "rated_power_w = 10000"
    )
    return ROOF.format(site=site, device=device) + filled


@pytest.mark.parametrize("family", VECTORS)
def test_the_right_family_comes_first_with_the_right_reading_and_its_declaration_is_accepted(heard, family):
    site, done = heard(family, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    first = found["fits"][0]
    assert (first["family"], first["site"]) == (family, site)
    vectors = [built_in()[family].vectors[number] for number in VECTORS[family][0]]
    last = vectors[-1].readings[-1]
    assert first["newest"][0]["values"] == pytest.approx(dict(last.points))
    assert set(first["points"]) == {name for one in vectors for reading in one.readings for name in reading.points}
    address = {key: value for key, value in first["address"].items() if key in vectors[-1].address}
    assert address == dict(vectors[-1].address)
    file = parse(pasted(site, first["declaration"]), "roof.toml")
    [device] = file.devices
    assert (device.profile, device.site) == (family, site)
    assert {key: value for key, value in first["address"].items() if value} | device.address == first[
        "address"
    ] | device.address


def test_a_logger_of_no_family_is_read_by_the_names_that_its_declaration_gives(heard):
    site, done = heard("generic", "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)["fits"][0]
    assert first["readings"] == 0
    device = tomllib.loads(first["declaration"])["device"][0]
    assert device["fields"]["TotWhExp"] == {"names": ["data.total_energy"], "unit": "kWh"}
    assert device["fields"]["W"]["names"] == ["data.active_power"]
    parse(pasted(site, first["declaration"]), "roof.toml")


def test_what_people_are_shown(heard):
    site, done = heard("growatt-grott")
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert f"growatt-grott: Growatt via grott, at site {site}" in text
    assert '"device": "TEG2A5004P"' in text
    assert "→ 2021-09-14T17:08:55Z (2021-09-14 19:08:55 Europe/Amsterdam)  TotWhExp 466000 Wh, W 61.5 W" in text
    assert "refused: time_too_old" in text
    assert "is its clock wrong?" in text
    assert "not declared; to declare it:" in text
    assert "could also be read as: thingsboard" in text


def test_nothing_heard_says_what_to_look_at(broker):
    done = run("jcm/v1/probe-silent/#", "--seconds", "1", mqtt=broker.collector_url)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "0 messages on 0 topics",
        "nothing to judge: wait longer (--seconds), or look at the topic and the login's rights",
    ]


@pytest.mark.parametrize("wrong", ["a/#/b", "a+/b", ""])
def test_a_wrong_filter_is_one_line(broker, wrong):
    done = run(wrong, "--seconds", "1", mqtt=broker.collector_url)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"jcm-mrv: {wrong!r} is no topic filter")


def test_no_broker_is_one_line():
    done = run("a/#", "--seconds", "1")
    assert done.returncode == 1
    assert done.stderr == (
        "jcm-mrv: the broker mqtt://127.0.0.1:1 does not answer (Connection refused);"
        " start it or correct JCM_MRV_MQTT_URL\n"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"solar/1/0/power 5\n", "line 1 has no tab"),
        (b"a\t1\n\xff\xfe", "not UTF-8 text"),
        (None, "no such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content, why):
    file = tmp_path / "heard.txt"
    if content is not None:
        file.write_bytes(content)
    done = run("--file", str(file))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("jcm-mrv: ")
    assert why in line


def test_a_file_is_judged_as_what_is_heard(tmp_path: Path):
    file = tmp_path / "heard.txt"
    file.write_text("".join(f"{one.topic}\thex:{one.payload.hex()}\n" for one in said("sparkplug-b")))
    done = run("--file", str(file), "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)["fits"][0]
    assert (first["family"], first["address"]["device"]) == ("sparkplug-b", "inv01")


@pytest.mark.parametrize(
    "arguments", [(), ("a/#", "--file", "x"), ("a/#", "--tz", "Nowhere/Here"), ("a/#", "--seconds", "0")]
)
def test_wrong_use_exits_with_2(arguments):
    assert run(*arguments).returncode == 2
