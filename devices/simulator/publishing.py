"""Publishing simulated messages, of which some are retained."""

from devices.publisher import Publisher
from devices.simulator.faults import Message

_LOOK_S = 0.2


class SimulatorPublisher(Publisher):
    """A publisher that lets the broker keep what devices of a family let it keep."""

    def send(self, message: Message) -> None:
        """Publish a message with QoS 1; see `Publisher.publish`."""
        if not message.retain:
            self.publish(message.topic, message.payload)
            return
        while not self._free.acquire(timeout=_LOOK_S):
            self._raise_failure()
        self._raise_failure()
        self.counts.published += 1
        self._client.publish(message.topic, message.payload, qos=1, retain=True)
