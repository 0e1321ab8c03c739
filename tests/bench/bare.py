"""The measure of (a): paho with manual acknowledgement and nothing else. Run as a process of its own.

`python -m tests.bench.bare URL CLIENT_ID VERSION COUNT` prints the seconds from CONNACK to the last acknowledgement.
"""

import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from devices import mqtt_url, topics


def main(url: str, client_id: str, version: str, count: int) -> None:
    five = version == "5"
    address = mqtt_url.parse(url)
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if five else False,
        protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
        manual_ack=True,
    )
    client.username_pw_set(address.username, address.password)
    seen, connected = 0, 0.0

    def on_connect(*_):
        nonlocal connected
        connected = time.monotonic()
        client.subscribe(topics.FILTER, qos=1)

    def on_message(_client, _data, message):
        nonlocal seen
        client.ack(message.mid, message.qos)
        seen += 1
        if seen == count:
            print(time.monotonic() - connected, flush=True)
            client.disconnect()

    client.on_connect = on_connect
    client.on_message = on_message
    properties = None
    if five:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        properties.ReceiveMaximum = 4000
    client.connect(
        address.host,
        address.port,
        clean_start=False if five else mqtt.MQTT_CLEAN_START_FIRST_ONLY,
        properties=properties,
    )
    client.loop_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
