"""The generated module is what its schema makes, and the schema is the one that is on the wire."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from devices.sparkplug.sparkplug_b_pb2 import Payload

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = "devices/sparkplug/sparkplug_b.proto"


def test_the_generated_module_is_what_the_schema_makes(tmp_path):
    if find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed: the generated module cannot be compared")
    out = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *out, SCHEMA], cwd=ROOT, check=True, timeout=60)
    for suffix in ("_pb2.py", "_pb2.pyi"):
        name = SCHEMA.replace(".proto", suffix)
        assert (ROOT / name).read_text() == (tmp_path / name).read_text(), f"make {name} again"


METRIC = """name 1, alias 2, timestamp 3, datatype 4, is_historical 5, is_transient 6, is_null 7, metadata 8,
 properties 9, int_value 10, long_value 11, float_value 12, double_value 13, boolean_value 14, string_value 15,
 bytes_value 16, dataset_value 17, template_value 18, extension_value 19"""
PROPERTY_VALUE = """type 1, is_null 2, int_value 3, long_value 4, float_value 5, double_value 6, boolean_value 7,
 string_value 8, propertyset_value 9, propertysets_value 10, extension_value 11"""


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        ("Payload", "timestamp 1, metrics 2, seq 3, uuid 4, body 5"),
        ("Payload.Metric", METRIC),
        ("Payload.PropertySet", "keys 1, values 2"),
        ("Payload.PropertyValue", PROPERTY_VALUE),
    ],
)
def test_field_numbers_are_those_of_the_specification(message, numbers):
    described = Payload.DESCRIPTOR if message == "Payload" else Payload.DESCRIPTOR.nested_types_by_name[message[8:]]
    assert described.file.package == "org.eclipse.tahu.protobuf"
    assert ", ".join(f"{field.name} {field.number}" for field in described.fields) == numbers.replace("\n", "")
