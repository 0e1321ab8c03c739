from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import topics
from devices.errors import BrokerTlsError, BrokerUrlError
from devices.mqtt_url import BrokerAddress, parse
from devices.tls import TlsFiles


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", BrokerAddress("broker", 1883, False)),
        ("mqtts://broker", BrokerAddress("broker", 8883, True)),
        ("mqtts://u:p@broker:1/", BrokerAddress("broker", 1, True, "u", "p")),
        ("mqtt://u@[::1]:1884", BrokerAddress("::1", 1884, False, "u", None)),
        ("mqtt://plant%2F1:p%40ss%3A@10.0.0.1:1883", BrokerAddress("10.0.0.1", 1883, False, "plant/1", "p@ss:")),
    ],
)
def test_a_url_becomes_an_address(url, expected):
    assert parse(url) == expected
    assert parse(url).password == expected.password


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker:1883",
        "http://broker",
        "mqtt://",
        "mqtt://:s3cret@broker",
        "mqtt://broker:0",
        "mqtt://broker:port",
        "mqtt://broker:99999",
        "mqtt://broker/topic",
        "mqtt://u:s3cret/x@broker",
        "mqtt://u:s3cret#x@broker",
        "mqtt://broker?clean=1",
        "mqtt://[::1",
    ],
)
def test_what_is_no_url_says_so_without_the_password(url):
    with pytest.raises(BrokerUrlError) as raised:
        parse(url)
    assert "s3cret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.text(min_size=1), st.text())
def test_any_login_survives_percent_encoding(username, password):
    try:
        url = f"mqtt://{quote(username, safe='')}:{quote(password, safe='')}@host:1883"
    except UnicodeEncodeError:
        return
    address = parse(url)
    assert (address.username, address.password) == (username, password)
    assert "password" not in repr(address)
    assert str(address) == "mqtt://host:1883"


def test_a_topic_names_site_and_device():
    assert topics.parse("jcm/v1/plant-1/inv-1/readings") == ("plant-1", "inv-1")
    assert topics.readings("plant-1", "inv-1") == "jcm/v1/plant-1/inv-1/readings"


@pytest.mark.parametrize(
    "topic",
    ["jcm/v1", "jcm/v1/s/d", "jcm/v1/s/d/state", "jcm/v1/s/d/readings/x", "jcm/v1//d/readings", "jcm/v1/s//readings",
     "jcm/v2/s/d/readings", "/jcm/v1/s/d/readings", ""],
)  # fmt: skip
def test_another_topic_names_nobody(topic):
    assert topics.parse(topic) is None


def test_a_wrong_topic_still_tells_its_site():
    assert topics.site_of("jcm/v1/plant-1/inv-1/state") == "plant-1"
    assert topics.site_of("jcm/v1/plant-1") == "plant-1"
    assert topics.site_of("jcm/v1") is None
    assert topics.site_of("jcm/v1//x") is None
    assert topics.site_of("other/v1/plant-1/x") is None


@pytest.mark.parametrize("name", ["", "a/b", "+", "a#", "a\0"])
def test_an_id_that_cannot_stand_in_a_topic_is_refused(name):
    with pytest.raises(ValueError, match="cannot stand in a topic"):
        topics.readings("site", name)


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("no certificate", "CERTIFICATE|PEM|SSL")])
def test_a_file_of_authorities_that_is_none_is_said_in_one_line(tmp_path, content, said):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BrokerTlsError, match=said) as raised:
        parse("mqtts://host", TlsFiles(file)).tls_context()
    assert "JCM_MRV_MQTT_CA_FILE" in str(raised.value)
    assert "\n" not in str(raised.value)
