"""One inverter on PyPI mqtt-spb-wrapper, as a device without an edge node or (argument `edge`) as the edge node itself.

The client has no way to put both into one session. Stdin as in sparkplug_client.cjs.
"""

import json
import sys

from mqtt_spb_wrapper import MqttSpbEntityDevice, MqttSpbEntityEdgeNode

ENERGY = 2**53 + 1


def main() -> None:
    given = json.loads(sys.stdin.readline())
    where = (given["group"], given["edge"])
    device = MqttSpbEntityEdgeNode(*where) if "edge" in sys.argv else MqttSpbEntityDevice(*where, "inv01")
    for name, value in {"W": 4213.5, "energy": ENERGY, "temp": -12, "signal": -1, "state": "MPPT"}.items():
        device.data.set_value(f"Inverter/{name}", value)
    device.connect(given["host"], given["port"], user=given["user"], password=given["password"])
    device.publish_birth()
    for line in sys.stdin:
        what = line.strip()
        if what == "data":
            device.data.set_value("Inverter/temp", -13)
            device.data.set_value("Inverter/energy", ENERGY + 2)
            device.publish_data()
        elif what == "stop":
            device.disconnect()
            return


main()
