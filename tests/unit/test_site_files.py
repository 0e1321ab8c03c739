"""The texts that a site is given are what their readers take."""

import base64
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import site_files
from deploy.errors import ProvisionError
from deploy.local.mosquitto import password_hash
from deploy.site_files import Device, Login
from devices import mqtt_url
from devices.gateway import config

DEVICES = [
    Device("gw", "gateway", "native"),
    Device("inverter-1", "inverter", "native"),
    Device("meter 1", "meter", "native"),
    Device("mast", "weather", "native"),
    Device("plug", "meter", "shelly"),
]


def login(url: str = "mqtts://broker.example", word: str = "w", *, own_ca: bool = False) -> Login:
    return Login("site-1", mqtt_url.parse(url), word, own_ca=own_ca)


def test_the_gateways_file_is_valid_and_names_the_devices_it_polls() -> None:
    read = config.parse(site_files.gateway_toml("site-1", DEVICES), "gateway.toml")
    assert (read.gateway.id, read.gateway.site, read.gateway.broker) == ("gw", "site-1", None)
    # A weather station has no SunSpec model we poll; a device of another family publishes by itself.
    assert [device.id for device in read.devices] == ["inverter-1", "meter 1"]
    assert len({str(device.line) for device in read.devices}) == 2


@given(name=st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='/+#:"\\$*'), min_size=1))
def test_whatever_a_device_is_called(name: str) -> None:
    if name in {".", ".."}:
        return
    read = config.parse(site_files.gateway_toml("s", [Device(name, "meter", "native")]), "gateway.toml")
    assert read.devices[0].id == name


def test_a_site_without_devices_gets_a_valid_example() -> None:
    read = config.parse(site_files.gateway_toml("site-1", []), "gateway.toml")
    assert (read.gateway.id, read.devices[0].id) == ("gateway-1", "inverter-1")
    assert "declare it" in site_files.gateway_toml("site-1", [])
    assert "declare it" not in site_files.gateway_toml("site-1", DEVICES)


@given(password=st.text(st.characters(exclude_categories=["C"]), min_size=1))
def test_the_gateways_login_is_read_back_whatever_the_password(password: str) -> None:
    lines = site_files.gateway_env(login("mqtts://broker.example:8884", password, own_ca=True)).splitlines()
    values = dict(line.split("=", 1) for line in lines)
    address = mqtt_url.parse(values["JCM_MRV_MQTT_PUBLISH_URL"])
    assert (address.username, address.password) == ("site-1", password)
    assert (address.host, address.port, address.tls) == ("broker.example", 8884, True)
    assert values["JCM_MRV_MQTT_CA_FILE"] == "/etc/jcm-mrv/broker-ca.pem"
    assert values["JCM_MRV_MQTT_CERT_FILE"] == "/etc/jcm-mrv/client.crt"
    assert values["JCM_MRV_MQTT_KEY_FILE"] == "/etc/jcm-mrv/client.key"


def test_a_broker_that_the_machine_trusts_needs_no_file() -> None:
    assert "CA_FILE" not in site_files.gateway_env(login())
    assert "bridge_capath /etc/ssl/certs" in site_files.bridge_conf(login())
    assert site_files.BROKER_CA not in site_files.readme(login())
    assert "CERT_FILE" not in site_files.gateway_env(login("mqtt://127.0.0.1"))
    assert "bridge_cafile /etc/jcm-mrv/broker-ca.pem" in site_files.bridge_conf(login(own_ca=True))
    assert site_files.BROKER_CA in site_files.readme(login(own_ca=True))


def test_the_bridge_publishes_below_the_site_and_takes_commands_in() -> None:
    lines = site_files.bridge_conf(login()).splitlines()
    assert [line for line in lines if line.startswith("topic ")] == [
        'topic # out 1 "" jcm/v1/site-1/via/',
        'topic spBv1.0/+/NCMD/# in 0 "" jcm/v1/site-1/via/',
        "topic spBv1.0/STATE/+ in 1",
    ]
    assert "address broker.example:8883" in lines
    assert not [line for line in site_files.bridge_conf(login("mqtt://b")).splitlines() if line.startswith("bridge_")]


def test_the_password_is_where_it_must_be_and_nowhere_else() -> None:
    given = login(word="quite-secret")
    kind, iterations, salt, derived = site_files.password_line(given).strip().removeprefix("site-1:").split("$")[1:]
    again = password_hash("quite-secret", base64.b64decode(salt))
    assert again == f"${kind}${iterations}${salt}${derived}"
    for text in (site_files.password_line(given), site_files.readme(given), repr(given)):
        assert "quite-secret" not in text
    assert "remote_password quite-secret\n" in site_files.bridge_conf(given)


def test_the_acl_of_a_site() -> None:
    assert site_files.acl("site-1", ()) == (
        "user site-1\ntopic write jcm/v1/site-1/#\ntopic read jcm/v1/site-1/via/spBv1.0/+/NCMD/#\n"
        "topic read spBv1.0/STATE/+\n"
    )
    assert site_files.acl("s", ["shellies/x/#", "tele/+/SENSOR"]).splitlines()[4:] == [
        "topic write shellies/x/#", "topic write tele/+/SENSOR"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wide", ["", "#", "+/x", "/x", "jcm/v1/site-2/#", "jcm", "$SYS/#", "a\nuser collector", "a ", " a", "a\0"]
)
def test_a_topic_that_gives_more_than_a_sites_own_is_refused(wide: str) -> None:
    with pytest.raises(ProvisionError, match="cannot be given to a site"):
        site_files.acl("site-1", ["fine/#", wide])


def test_the_readme_names_every_file_and_is_short() -> None:
    text = site_files.readme(login(own_ca=True))
    for name in ("gateway.toml", "gateway.env", "mosquitto-bridge.conf", "client.key", "client.crt", "password ",
                 "password-line", "acl", site_files.BROKER_CA):  # fmt: skip
        assert f"  {name}" in text or f", {name}" in text, name
    assert len(text.splitlines()) <= 11


def test_the_guide_shows_the_listeners_that_are_written() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
    for line in ("require_certificate true", "use_identity_as_username true", "crlfile"):
        assert line in site_files.server_conf()
        assert line.split()[0] in guide


def test_the_listener_for_containers_is_the_one_that_is_written() -> None:
    shipped = (Path(__file__).resolve().parents[2] / "deploy" / "mosquitto" / "tls.conf").read_text(encoding="utf-8")
    lines = [line for line in shipped.splitlines() if not line.startswith("#")]
    written = site_files.server_conf("/mosquitto/certs").splitlines()
    assert set(lines) <= set(written)
    assert lines[0] == "listener 8883"


def test_a_collectors_environment_holds_no_login() -> None:
    text = site_files.collector_env(mqtt_url.parse("mqtts://collector:word@b"), "/etc/jcm-mrv", own_ca=True)
    assert text.splitlines() == [
        "JCM_MRV_MQTT_URL=mqtts://b:8883", "JCM_MRV_MQTT_CA_FILE=/etc/jcm-mrv/broker-ca.pem",
        "JCM_MRV_MQTT_CERT_FILE=/etc/jcm-mrv/client.crt", "JCM_MRV_MQTT_KEY_FILE=/etc/jcm-mrv/client.key",
    ]  # fmt: skip


def test_the_gateways_file_is_toml_that_says_what_to_change() -> None:
    text = site_files.gateway_toml("site-1", DEVICES)
    assert text.count("# CHANGE") == len(tomllib.loads(text)["device"])
