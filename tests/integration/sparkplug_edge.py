"""A Sparkplug edge node with inverters, its frames published one by one; and how its devices are declared."""

import time
import uuid
from datetime import UTC, datetime, timedelta

import msgspec

from deploy.registry import apply
from devices.declaration_file import parse
from devices.sparkplug import sparkplug_b_pb2 as wire
from devices.sparkplug.node import Node
from devices.sparkplug.payload import EPOCH, DataType
from sql.connection import Role, connect
from tests.harness import Message, collecting, one, publish, rows, wait_until

ENERGY, POWER, TEMPERATURE = 1, 2, 3
BORN = (
    {"name": "Inverter/energy", "alias": ENERGY, "datatype": DataType.UINT64, "long_value": 1_000_000},
    {"name": "Inverter/W", "alias": POWER, "datatype": DataType.DOUBLE, "double_value": 500.5},
    {"name": "Inverter/temp", "alias": TEMPERATURE, "datatype": DataType.INT16, "int_value": 20},
)
"""Register [Wh], power [W], temperature [°C]."""
FIELDS = """
TotWhExp = { names = ["Inverter/energy"], unit = "Wh" }
W = { names = ["Inverter/W"], unit = "W" }
TmpCab = { names = ["Inverter/temp"], unit = "°C" }
"""


def milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def project(*sites: str) -> str:
    return """
[project]
id = "SPARK"
title = "Sparkplug"
host_country = "THA"
methodology = "TH_AM001"
methodology_version = "1.0"
crediting_period = { from = 2019-01-01, to = 2029-12-31 }
""" + "".join(f'\n[[site]]\nid = "{site}"\nname = "Roof"\ntime_zone = "Asia/Bangkok"\n' for site in sites)


def device(name: str, site: str, group: str, edge: str, behind: str, fields: str = FIELDS) -> str:
    return f"""
[[device]]
id = "{name}"
site = "{site}"
kind = "inverter"
profile = "sparkplug-b"
address = {{ group = "{group}", edge = "{edge}", device = "{behind}" }}
installed = 2020-01-01
[device.fields]
{fields}
"""


class EdgeNode:
    """Counts as an edge node counts; every frame is one instant later than the one before.

    Parameters
    ----------
    root
        What stands before `spBv1.0` in its topics: empty, or the end of a site's bridge.
    """

    def __init__(self, group: str, edge: str, root: str = "") -> None:
        self.group, self.edge, self.root = group, edge, root
        self.bd_seq = 0
        self.seq = 0
        # Whole seconds, so that the database's microseconds are exactly these.
        self.at = datetime.fromtimestamp(int(time.time()) - 120, UTC)

    def topic(self, kind: str, behind: str = "") -> str:
        return f"{self.root}spBv1.0/{self.group}/{kind}/{self.edge}" + (f"/{behind}" if behind else "")

    def born(self, *behind: str, **changes) -> list[Message]:
        self.seq = -1
        rebirth = {"name": "Node Control/Rebirth", "datatype": DataType.BOOLEAN, "boolean_value": False}
        node = self._next("NBIRTH", "", (self._bd_seq(), rebirth), **changes)
        return [node, *(self._next("DBIRTH", name, BORN, **changes) for name in behind)]

    def data(self, behind: str, *metrics: dict, **changes) -> Message:
        return self._next("DDATA", behind, metrics, **changes)

    def dead(self, behind: str = "") -> Message:
        if behind:
            return self._next("DDEATH", behind, ())
        self.at += timedelta(seconds=1)
        payload = wire.Payload(timestamp=milliseconds(self.at), metrics=[wire.Payload.Metric(**self._bd_seq())])
        self.bd_seq += 1
        return Message(self.topic("NDEATH"), payload.SerializeToString())

    def lose(self) -> None:
        self.seq += 1

    def _bd_seq(self) -> dict:
        return {"name": "bdSeq", "datatype": DataType.INT64, "long_value": self.bd_seq}

    def _next(self, kind: str, behind: str, metrics: tuple[dict, ...], qos: int = 1, retain: bool = False) -> Message:
        self.at += timedelta(seconds=1)
        self.seq = (self.seq + 1) % 256
        made = [
            wire.Payload.Metric(
                **{name: milliseconds(value) if name == "timestamp" else value for name, value in metric.items()}
            )
            for metric in metrics
        ]
        payload = wire.Payload(timestamp=milliseconds(self.at), seq=self.seq, metrics=made)
        return Message(self.topic(kind, behind), payload.SerializeToString(), qos=qos, retain=retain)


def energy(wh: int, **more) -> dict:
    return {"alias": ENERGY, "long_value": wh, **more}


class World:
    """One site of a test's own, on the shared broker, with an edge node behind its bridge."""

    def __init__(self, broker, database: str) -> None:
        tag = uuid.uuid4().hex[:8]
        self.broker, self.database = broker, database
        self.site, self.group, self.client_id = f"spb-{tag}", f"PV-{tag}", f"sparkplug-{tag}"
        self.via = f"jcm/v1/{self.site}/via/"
        self.edge = EdgeNode(self.group, "gw1", self.via)

    def declare(self, *names: str, fields: str | None = None) -> None:
        more = {} if fields is None else {"fields": fields}
        text = project(self.site) + "".join(
            device(name, self.site, self.group, "gw1", name, **more) for name in names or ("inv01",)
        )
        with connect(self.database, Role.OWNER) as owner:
            apply(owner, [("test.toml", parse(text, "test.toml"))])

    def collecting(self, client_id: str = "", **changes):
        given = {"topic_filter": f"{self.via}#"} | changes
        return collecting(self.broker.collector_url, self.database, client_id or self.client_id, **given)

    @property
    def url(self) -> str:
        """The site's own login."""
        return self.broker.site_url(self.site)

    def send(self, *messages: Message) -> None:
        publish(self.url, messages)

    def kept(self, count: int) -> None:
        wait_until(lambda: one(self.database, "select count(*) from message") >= count, what=f"{count} messages")

    def readings(self) -> list[tuple]:
        return rows(
            self.database,
            "select d.id, r.ts, r.energy_exported_wh, r.power_w, r.cabinet_temperature_c"
            " from reading r join device d using (device_id) order by r.ts, d.id",
        )

    def events(self) -> list[tuple[str, str]]:
        return rows(self.database, "select subject, event from device_event order by received_at, message_id")

    def quarantine(self) -> list[str]:
        """Of this site: a collector's process hears whatever other tests publish as well."""
        found = rows(
            self.database, "select reason from quarantine where site_id = %s order by quarantine_id", self.site
        )  # fmt: skip
        return [reason for (reason,) in found]

    def node(self) -> Node:
        return msgspec.json.decode(one(self.database, "select state::text from decoder_state"), type=Node)
