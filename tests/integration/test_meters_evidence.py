"""A bundle of a project whose meter has a serial number, certificates and a delay, in full and redacted."""

import pytest

from mrv.evidence.keys import make_key
from mrv.evidence.verification import verify
from tests.integration.conftest import Plant
from tests.integration.test_evidence import make, prepare

METER = """kind = "meter"
serial_number = "KWH-778"
accuracy_class = "0.5S"
maximum_permissible_error_percent = "0.5"
"""
CALIBRATION = """
[[device.calibration]]
performed = 2020-03-01
valid_until = 2021-03-02
laboratory = "Lab"
certificate = "C-1"
"""


@pytest.fixture
def plant(database):
    made = Plant(database)
    made.toml = made.toml.replace('kind = "inverter"\n', METER).replace('["*"]', '["inv-1"]') + CALIBRATION
    made.apply(made.toml)
    yield made
    made.close()


@pytest.mark.parametrize("redacted", [False, True])
def test_a_bundle_with_a_delayed_calibration_recomputes(plant, tmp_path, redacted):
    key = make_key(tmp_path / "key.pem")
    prepare(plant, key)
    path = tmp_path / "bundle.zip"
    make(plant, key, path, redacted=redacted)
    done = verify(path, [key.public])
    # 9.6 MWh less 0.5 % of the half of it: 9.576 × 0.319 = 3.05 tonnes.
    assert (done.er_tco2, done.trusted) == (3, True)
