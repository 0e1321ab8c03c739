"""A project as a verifier meets it: a month of two inverters with what real ones do, two revisions, sealed; and another
project that the verifier may not see."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mrv import periods
from mrv.evidence.keys import make_key
from mrv.evidence.sealing import seal_due
from mrv.verification import keys
from mrv.verification.steps import Author
from sql.connection import Role, connect
from tests.integration.conftest import DEVICE_TOML
from tests.integration.received import receive
from tests.integration.test_tracing import CALIBRATED, COORDINATES, FIRST, LAST, STEP, curve, plant_of, said

PROJECT, OTHER = "P1", "P2"
ENTITY = "Example Certification Body"
HOSTILE = "<script>alert(1)</script>"
DAYS = (FIRST, LAST)
SILENT = date(2021, 3, 15)


@dataclass
class World:
    """What was made."""

    database: str
    key: Ed25519PrivateKey
    evidence_key: Path


def build(url: str, folder: Path) -> World:
    """Make it; the evidence's key comes into the folder."""
    evidence_key = folder / "evidence.pem"
    key = make_key(evidence_key)
    plant = plant_of(url, PROJECT, _declared)
    other = plant_of(url, OTHER)
    for number, device in enumerate(("inv-1", "inv-2")):
        topic = f"jcm/v1/{plant.site}/{device}/readings"
        rows = [row for row in curve(plant) if number or row[0].date() != date(2021, 3, 16)]
        for n in range(0, len(rows), 24):
            some = rows[n : n + 24]
            sent = [(topic, said(*row)) for row in some]
            receive(plant.owner, sent, some[-1][0] + STEP, first_id=100_000 * (number + 1) + n)
    device = plant.owner.execute("select min(device_id) from device where site_id = %s", [plant.site]).fetchone()[0]
    plant.owner.execute(
        "insert into reading_conflict (device_id, ts, received_at, message_id, element, stored, offered)"
        " select device_id, ts, received_at, message_id, 0, '{\"power_w\": 1}', %s from reading"
        " where device_id = %s and ts = %s",
        [f'{{"power_w": "{HOSTILE}"}}', device, datetime(2021, 3, 2, 5, tzinfo=UTC)],
    )
    # Payloads that are markup, one of them text, from a device that nobody declared.
    topic = f"jcm/v1/{plant.site}/unknown/readings"
    strange = [(topic, HOSTILE.encode() + b"\xff\x00"), (topic, HOSTILE.encode())]
    receive(plant.owner, strange, datetime(2021, 3, 17, tzinfo=UTC), first_id=900_000)
    readings = [(f"jcm/v1/{other.site}/inv-1/readings", said(ts, wh, 1.0)) for ts, wh in other.days(*DAYS)[:400]]
    receive(other.owner, readings, datetime(2021, 3, 21, tzinfo=UTC), first_id=800_000)
    seal_due(plant.connection, key, code_version="test")
    for project in (PROJECT, OTHER):
        periods.freeze(plant.connection, project, *DAYS, code_version="test")
    noon = datetime(2021, 3, 15, 3, tzinfo=UTC)
    late = [(f"jcm/v1/{plant.site}/inv-1/readings", said(noon + n * STEP, 16.0e6 + n * 100, 1.0)) for n in range(4)]
    receive(plant.owner, late, datetime.now(UTC), first_id=910_000)
    periods.freeze(plant.connection, PROJECT, *DAYS, code_version="test")
    made = Ed25519PrivateKey.generate()
    public = made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    now = datetime.now(UTC)
    with connect(url, Role.OWNER) as owner:
        until = now + timedelta(days=365)
        keys.register(owner, keys.read_public(public), ENTITY, now - timedelta(days=1), until, Author("O", "O"))
    plant.close()
    other.close()
    return World(url, made, evidence_key)


def _declared(text: str) -> str:
    text = text.replace('time_zone = "Asia/Bangkok"\n', COORDINATES) + CALIBRATED
    text += DEVICE_TOML.format(id="inv-2", site=f"s-{PROJECT}", system="pv-2").replace(
        "installed = 2019-01-01", 'installed = 2019-01-01\nserial_number = "S-2"'
    )
    text += f'\n[[pv_system]]\nid = "pv-2"\nsite = "s-{PROJECT}"\ncapacity_kw = 120\n'
    text += 'connection = "grid"\ncredited_by = ["*"]\n'
    return text.replace('title = "A test plant"', f'title = "A test plant"\nthird_party_entity = "{ENTITY}"')
