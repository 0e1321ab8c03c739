"""The gateway's configuration file: read strictly, and every fault said with its key."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from devices.errors import DeclarationError
from devices.gateway.config import parse

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
[gateway]
id = "gw-1"
site = "s-1"
broker = "mqtts://broker.example:8883"
spool = "/var/lib/jcm-mrv/spool.sqlite"
spool_limit_mb = 200
when_full = "drop-oldest"
"""
SUNSPEC = """
[[device]]
id = "inv-1"
kind = "sunspec"
host = "192.168.1.20"
poll_interval_s = 10
"""
METER = """
[[device]]
id = "meter-1"
kind = "modbus"
serial_port = "/dev/ttyUSB0"
parity = "E"
unit = 7

[[device.register]]
point = "TotWhExp"
address = 342
table = "input"
type = "f32"
scale = 1000

[[device.register]]
point = "Hz"
address = 70
type = "u16"
scale = 0.01
missing = [65535]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        parse(text, "gateway.toml")
    return caught.value.problems


def test_a_whole_file():
    read = parse(HEAD + SUNSPEC + METER, "gateway.toml")
    assert read.gateway.when_full == "drop-oldest"
    inverter, meter = read.devices
    assert (inverter.poll_interval_s, inverter.port, inverter.unit, str(inverter.line)) == (
        10,
        502,
        1,
        "192.168.1.20:502",
    )
    assert [field.scale for field in meter.fields] == [Decimal(1000), Decimal("0.01")]
    assert meter.fields[1].missing == (65535,)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('when_full = "drop-oldest"', "", "gateway.when_full is missing"),
        (
            'when_full = "drop-oldest"',
            'when_full = "drop"',
            'gateway.when_full: expected "drop-oldest" or "drop-newest"',
        ),
        ("spool_limit_mb", "spool_limit", 'gateway.spool_limit: unknown key: did you mean "spool_limit_mb"?'),
        ("broker.example", "me:secret@broker.example", "a password does not stand in this file"),
        ("mqtts://", "https://", "gateway.broker: the broker's URL starts with"),
        ('kind = "sunspec"', 'kind = "sunspek"', 'device[0].kind: expected "sunspec" or "modbus", not "sunspek"'),
        ('host = "192.168.1.20"', "", 'device "inv-1": expected either host or serial_port'),
        ("poll_interval_s = 10", 'poll_interval_s = "10"', "device[0].poll_interval_s: expected seconds"),
        ("poll_interval_s = 10", "poll_interval_s = 0", "device[0].poll_interval_s: expected seconds"),
        ("poll_interval_s = 10", "model = 1", "model 1 is no measuring model"),
        ('id = "inv-1"', 'id = "gw-1"', '"gw-1" is the id of 2 devices'),
        ('id = "inv-1"', 'id = "a/b"', "ids are parts of MQTT topics"),
        ('type = "f32"', 'type = "float"', "device[1].register[0].type: expected one of i16, u16"),
        ('point = "Hz"', 'point = "Herz"', 'there is no point "Herz"'),
        ('point = "Hz"', 'point = "TotWhExp"', "point TotWhExp stands 2 times"),
        ("scale = 1000", "scale = 0", "expected a number other than 0"),
        ("address = 342", "address = 65535", "there is no register behind 65535"),
        ("unit = 7", "serial_number = '1'", 'only a device of kind "sunspec" has one'),
        ('kind = "modbus"', 'kind = "sunspec"', "a SunSpec device says itself"),
    ],
)
def test_a_fault_is_said(old, new, said):
    text = HEAD + SUNSPEC + METER
    assert old in text
    assert said in "; ".join(problems(text.replace(old, new, 1)))


def test_a_secret_is_not_repeated():
    assert "hush" not in "; ".join(problems(HEAD.replace("broker.example", "me:hush@broker.example") + SUNSPEC))


def test_a_meter_without_registers():
    assert "register is missing" in problems(HEAD + SUNSPEC.replace("sunspec", "modbus"))[0]


def test_one_line_has_one_set_of_parameters():
    other = METER.replace("meter-1", "meter-2").replace('parity = "E"', 'parity = "N"')
    assert "is declared otherwise" in problems(HEAD + METER + other)[0]


def test_no_device_is_no_configuration():
    assert "device is missing" in problems(HEAD)[0]


def test_what_is_no_toml():
    assert "this is not TOML" in problems("[gateway")[0]


def test_the_gateway_does_without_the_servers_libraries():
    """Installed alone it is small: neither the gateway nor its command needs what the servers are made of."""
    heavy = ["pandas", "numpy", "pyarrow", "psycopg", "apscheduler", "xlsxwriter", "pvanalytics", "prometheus_client"]
    code = (
        f"import sys\nfor name in {heavy!r}: sys.modules[name] = None\n"
        "import devices.gateway.gateway, deploy.cli, deploy.logs, deploy.settings, deploy.signals\n"
        "deploy.cli.cli(['gateway', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Poll the devices" in done.stdout


def test_the_lean_list_names_all_that_the_gateway_imports():
    code = (
        "import sys\nfrom importlib.metadata import packages_distributions\n"
        "import devices.gateway.gateway, deploy.cli, deploy.commands.gateway, deploy.logs, deploy.settings\n"
        "known = packages_distributions()\n"
        "print(*{known[name][0] for name in {module.split('.')[0] for module in sys.modules} if name in known})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    locked = (ROOT / "requirements" / "gateway.txt").read_text(encoding="utf-8")
    listed = {line.partition("==")[0].replace("_", "-") for line in locked.splitlines() if "==" in line}
    used = {name.lower().replace("_", "-") for name in done.stdout.split()}
    assert {"paho-mqtt", "pymodbus", "pydantic"} < used
    # Pip and the like are there for the start of any Python; rich and structlog take the last two where they find them.
    assert used - listed <= {"jcm-mrv", "setuptools", "pip", "attrs", "greenlet"}
