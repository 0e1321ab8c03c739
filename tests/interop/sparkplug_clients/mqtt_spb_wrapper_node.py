"""One inverter on PyPI mqtt-spb-wrapper, which has no edge node around it; stdin as in sparkplug_client.cjs."""

import json
import sys

from mqtt_spb_wrapper import MqttSpbEntityDevice

ENERGY = 2**53 + 1


def main() -> None:
    given = json.loads(sys.stdin.readline())
    device = MqttSpbEntityDevice(given["group"], given["edge"], "inv01")
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
