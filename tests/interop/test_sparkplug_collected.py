"""Third-party edge nodes through everything: their broker's frames, the collector, readings in the database."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from deploy.registry import apply
from devices.declaration_file import parse
from devices.sparkplug.node import Node
from sql.connection import Role, connect
from tests.conftest import Broker
from tests.harness import assert_balanced, collecting, forget_session, one, rows, wait_until
from tests.integration.sparkplug_edge import FIELDS, device, project
from tests.interop.conftest import DEVICE, ENERGY, Program

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

# The drivers' register is 2^53 + 1, the first whole number that a double does not have. In Wh that is above what a
# register may be (2^53 / 1000); a second device takes the same metric for tenths of a mWh.
FINE = FIELDS.replace('unit = "Wh"', 'unit = "Wh", factor = 0.0001')


class Plant:
    """A site with one edge node, of which both devices are declared for the same inverter."""

    def __init__(self, broker: Broker, database: str) -> None:
        tag = uuid.uuid4().hex[:8]
        self.broker, self.database = broker, database
        self.site, self.group, self.edge, self.client_id = f"spc-{tag}", f"G-{tag}", f"gw-{tag}", f"interop-{tag}"
        self.via = f"jcm/v1/{self.site}/via/"
        text = project(self.site) + "".join(
            device(name, self.site, self.group, self.edge, DEVICE, fields)
            for name, fields in (("in-wh", FIELDS), ("fine", FINE))
        )
        with connect(database, Role.OWNER) as owner:
            apply(owner, [("test.toml", parse(text, "test.toml"))])

    def collecting(self):
        return collecting(self.broker.collector_url, self.database, self.client_id, topic_filter=f"{self.via}#")

    @contextmanager
    def speaking(self, program: Program, namespace: str) -> Iterator[subprocess.Popen[str]]:
        user, password = self.broker.servers.site_credentials(self.site, [f"spBv1.0/{self.group}/#"])
        process = program.started()
        where = {"host": self.broker.host, "port": self.broker.port, "user": user, "password": password}
        do(process, json.dumps(where | {"group": self.group, "edge": self.edge, "namespace": namespace}))
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)
            assert process.stdin is not None
            process.stdin.close()

    def values(self, name: str, column: str) -> list[float]:
        return [
            value
            for (value,) in rows(
                self.database,
                f"select {column} from reading r join device d using (device_id)"
                f" where d.id = %s and {column} is not null order by r.ts, r.message_id",
                name,
            )
        ]

    def kept(self, kind: str) -> int:
        return one(self.database, "select count(*) from message where topic like %s", f"%/{kind}/%")

    def events(self) -> list[str]:
        return [
            event for (event,) in rows(self.database, "select event from device_event order by received_at, message_id")
        ]

    def node(self) -> Node:
        return msgspec.json.decode(one(self.database, "select state::text from decoder_state"), type=Node)


def do(process: subprocess.Popen[str], what: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()


@pytest.fixture
def plant(broker, database, servers):
    made = Plant(broker, database)
    yield made
    servers.site_credentials(made.site, [])
    forget_session(broker.collector_url, made.client_id)


@pytest.fixture(params=["npm sparkplug-client, bridged", "npm sparkplug-client, direct", "PyPI pysparkplug, direct"])
def client(request, plant):
    """Program and namespace: pysparkplug knows but the standard's own."""
    name, _, way = request.param.partition(", ")
    program = request.getfixturevalue("sparkplug_client" if name.startswith("npm") else "pysparkplug")
    return program, f"{plant.via}spBv1.0" if way == "bridged" else "spBv1.0"


def frames(program: Program) -> int:
    """How many DDATA the drivers send for `data`; npm's has a compressed one as well."""
    return 5 if program.command[0] == "node" else 4


def test_values_as_the_client_meant_them_and_its_death(plant, client):
    program, namespace = client
    with plant.collecting(), plant.speaking(program, namespace) as process:
        wait_until(lambda: plant.kept("DBIRTH"), what="the births")
        do(process, "data")
        wait_until(lambda: plant.kept("DDATA") == frames(program), what="the data")
        process.kill()
        wait_until(lambda: not plant.node().online, what="the will")
    # An hour old first, then the birth, then by alias alone: to the last digit that a double has.
    energies = [float(Decimal(number) / 10_000) for number in (ENERGY - 2, ENERGY, ENERGY + 2)]
    assert plant.values("fine", "energy_exported_wh") == energies
    assert energies == [900719925474.0991, 900719925474.0993, 900719925474.0995]
    # 9,007,199,254,740,993 Wh: nothing is rounded into a register, nothing is cut off; it is said and left out.
    assert plant.values("in-wh", "energy_exported_wh") == []
    notes = {
        note
        for (joined,) in rows(plant.database, "select note from message where note is not null")
        for note in joined.split(",")
    }
    assert {"birth", "out_of_range:TotWhExp", "missing:W", "death"} <= notes
    # The null is no power.
    assert plant.values("in-wh", "power_w") == [4213.5]
    # Negative Int16: npm extends the sign to 32 bits, pysparkplug does not.
    assert plant.values("in-wh", "cabinet_temperature_c") == [-12.0, -13.0, -14.0][: frames(program) - 2]
    [late] = rows(plant.database, "select min(ts) from reading")[0]
    assert timedelta(minutes=59) < datetime.now(UTC) - late < timedelta(minutes=61)
    assert plant.events() == ["sparkplug_node_born", "sparkplug_device_born", "sparkplug_node_dead"]
    assert not plant.node().devices[DEVICE].online
    assert rows(plant.database, "select reason from quarantine") == []
    assert_balanced(plant.database)


def test_what_was_missed_is_asked_for(plant, client):
    program, namespace = client
    with plant.speaking(program, namespace) as process:
        with plant.collecting() as collector:
            # Its subscription to the standard's own topics may come after the births of a quick client.
            wait_until(lambda: plant.kept("DBIRTH"), what="the births")
            assert collector.session.connected
        # The broker's queue is lost, and the frames with it.
        forget_session(plant.broker.collector_url, plant.client_id)
        do(process, "data")
        with plant.collecting():
            do(process, "data")
            wait_until(lambda: "sparkplug_seq_gap" in plant.events(), what="the gap")
            if program.command[0] == "node":
                wait_until(lambda: plant.kept("DBIRTH") == 2, what="new births")
                wait_until(lambda: not plant.node().rebirth_wanted)
                do(process, "data")
            else:
                # It has no rebirth to ask for; its values count by the birth that stands.
                assert plant.node().rebirth_wanted
            wait_until(lambda: plant.kept("DDATA") >= frames(program))
    born = 2 if program.command[0] == "node" else 1
    assert plant.events().count("sparkplug_node_born") == born
    assert rows(plant.database, "select reason from quarantine") == []
    assert plant.values("fine", "energy_exported_wh")[-1] == float(Decimal(ENERGY + 2) / 10_000)
    assert_balanced(plant.database)
