"""An edge node with one inverter, on PyPI pysparkplug; stdin as in sparkplug_client.cjs."""

import json
import sys
import time

import pysparkplug as spb

DEVICE = "inv01"
ENERGY = 2**53 + 1


def metric(name: str | None, alias: int, datatype: spb.DataType, value: object, **more: object) -> spb.Metric:
    at = spb.get_current_timestamp()
    return spb.Metric(**{"timestamp": at, "name": name, "alias": alias, "datatype": datatype, "value": value} | more)


def main() -> None:
    given = json.loads(sys.stdin.readline())
    client = spb.Client(client_id=given["edge"], username=given["user"], password=given["password"])
    node = spb.EdgeNode(given["group"], given["edge"], metrics=(), client=client)
    node.register(
        spb.Device(
            DEVICE,
            metrics=(
                metric("Inverter/W", 1, spb.DataType.FLOAT, 4213.5),
                metric("Inverter/energy", 2, spb.DataType.UINT64, ENERGY),
                metric("Inverter/temp", 4, spb.DataType.INT16, -12),
                metric("Inverter/signal", 5, spb.DataType.INT8, -1),
                metric("Inverter/state", 6, spb.DataType.STRING, "MPPT"),
            ),
        )
    )
    node.connect(given["host"], port=given["port"])
    for line in sys.stdin:
        what = line.strip()
        if what == "data":
            data(node, client, given)
        elif what == "device death":
            node.deregister(DEVICE)
        elif what == "stop":
            node.disconnect()
            return


def data(node: spb.EdgeNode, client: spb.Client, given: dict) -> None:
    # The edge node takes no metric without a name, so the frame that keeps to the specification is made below it.
    topic = spb.Topic(
        message_type=spb.MessageType.DDATA, group_id=given["group"], edge_node_id=given["edge"], device_id=DEVICE
    )
    by_alias = (metric(None, 4, spb.DataType.INT16, -13), metric(None, 2, spb.DataType.UINT64, ENERGY + 2))
    payload = spb.DData(spb.get_current_timestamp(), seq=node._seq, metrics=by_alias)
    client.publish(spb.Message(topic=topic, payload=payload, qos=spb.QoS.AT_MOST_ONCE, retain=False))
    node.update_device(DEVICE, [metric("Inverter/signal", 5, spb.DataType.INT8, -2)])
    node.update_device(DEVICE, [metric("Inverter/W", 1, spb.DataType.FLOAT, None, is_null=True)])
    hour_ago = int(time.time() * 1000) - 3_600_000
    late = metric("Inverter/energy", 2, spb.DataType.UINT64, ENERGY - 2, is_historical=True, timestamp=hour_ago)
    node.update_device(DEVICE, [late])


main()
