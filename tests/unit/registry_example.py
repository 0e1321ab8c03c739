"""A hand-over file for tests: TH014's published split; every id of a registry or an authorization is made up."""

from mrv.registry.aef import build
from mrv.registry.handover import Handover
from mrv.registry.handover_file import read

TEXT = """
[submission]
party = "JPN"
version = "1.0"
submitted = 2026-04-10
ndc_first_year = 2021
ndc_last_year = 2030

[[authorization]]
id = "TH-2025-001"
authorized = 2025-10-30
cooperative_approach = "CA0001"
version = 1
purposes = "NDC"
parties = ["JPN"]

[[entity]]
authorized = 2025-10-30
name = "Example Inc."
country = "JPN"
number = "0100-01-000001"
cooperative_approach = "CA0001"

[[notification]]
project = "TH014"
from = 2021-01-01
to = 2021-12-31
revision = 1
decided = 2025-10-30
verification_report = "TH014-VR-1"
verification_body = "Example Certification Body"
verified_on = 2025-08-01
verified = [{ vintage = 2021, tco2 = 2017 }]

[[notification.part]]
vintage = 2021
side = "JPN"
holder = "Government of Japan"
tco2 = 1009

[[notification.part]]
vintage = 2021
side = "THA"
holder = "Example Co., Ltd."
tco2 = 1008

[[block]]
id = "jpn-2021"
project = "TH014"
vintage = 2021
side = "JPN"
holder = "Government of Japan"
unit_registry = "JCM"
first_unit = 5001
last_unit = 6009
authorization = "TH-2025-001"
registry = "JPN01"
first_transferring_party = "THA"
first_id = "CA0001-THA01-THA-1-2021"
last_id = "CA0001-THA01-THA-1,009-2021"
status = "Held"

[[action]]
block = "jpn-2021"
at = 2025-11-11T12:00:00+09:00
type = "Acquisition"
transferring_party = "THA"

[[holding]]
block = "jpn-2021"
year = 2025

[cad_trust]
unit_registry_link = "https://registry.example"
countries = { JPN = "Japan", THA = "Thailand" }
declaration = "Committed"
adjustment = "Not Started"
"""


def changed(*changes: tuple[str, str]) -> str:
    """The file with texts replaced, each of which must be there."""
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def handover(*changes: tuple[str, str]) -> Handover:
    return read(changed(*changes), "handover.toml")


def report(*changes: tuple[str, str]) -> dict:
    return dict(build(handover(*changes), ["TH014"], 2025, {"TH014": "solar PV"}))
