"""What a session listens to: our own topics, which it cannot do without, and those of foreign families."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from devices.decoding.routes import covers
from devices.sparkplug import topics as sparkplug_topics
from devices.sparkplug.messages import host_state
from ingest.errors import SubscriptionRefusedError

log = structlog.get_logger()


class Subscriptions:
    """The subscriptions of one session; everything but `want` is called by the network thread.

    Parameters
    ----------
    own
        The filter of our own topics.
    share_group
        Of several collectors; empty: none.
    five
        Whether the connection speaks MQTT 5.
    accept_qos_0
        Whether the broker may grant less than QoS 1.
    broker
        Its name, for messages.
    """

    def __init__(self, own: str, share_group: str, *, five: bool, accept_qos_0: bool, broker: str) -> None:
        self._own = own
        self._share_group = share_group
        self._five = five
        self._accept_qos_0 = accept_qos_0
        self._broker = broker
        self._wanted: tuple[str, ...] = ()
        self._heard: tuple[str, ...] = ()
        self._asked: dict[int, str] = {}

    def want(self, filters: Iterable[str]) -> None:
        """Name the filters beside our own; one that our own covers is left out."""
        self._wanted = tuple(one for one in filters if not covers(self._own, one))

    def renew(self, client: mqtt.Client) -> None:
        """Subscribe to everything, on a connection that has just been made.

        A persistent session keeps the first subscription for ever, so it is said again on every connection.
        """
        self._asked.clear()
        self._heard = ()
        self._subscribe(client, self._own)
        self.follow(client)

    def follow(self, client: mqtt.Client) -> None:
        """Bring the subscriptions to what is wanted."""
        wanted = self._wanted
        if self._heard == wanted:
            return
        for gone in set(self._heard) - set(wanted):
            client.unsubscribe(self._shared(gone))
        for added in [one for one in wanted if one not in self._heard]:
            mid = self._subscribe(client, added)
            if mid is not None:
                self._asked[mid] = added
        self._heard = wanted

    def answered(self, mid: int, reasons: Sequence[ReasonCode]) -> bool:
        """Take the broker's answer; True when it is about our own topics.

        Raises
        ------
        SubscriptionRefusedError
            It refuses our own topics. A foreign filter that is refused is told in the log and costs no other.
        """
        foreign = self._asked.pop(mid, None)
        for reason in reasons:
            if reason.is_failure or (reason.value == 0 and not self._accept_qos_0):
                if foreign is None:
                    raise self._refused(reason)
                log.error("subscription_refused", filter=foreign, reason=str(reason))
        return foreign is None

    def _refused(self, reason: ReasonCode) -> SubscriptionRefusedError:
        if reason.is_failure:
            return SubscriptionRefusedError(
                f"the broker {self._broker} refuses the subscription {self._shared(self._own)} "
                f"({reason}); give the collector's login read access to it"
            )
        return SubscriptionRefusedError(
            f"the broker {self._broker} grants the subscription {self._shared(self._own)} only "
            "without acknowledgement (QoS 0), which loses what is in flight with a crash; "
            "let it grant QoS 1, or accept it with JCM_MRV_ACCEPT_RISKS=qos_0"
        )

    def _shared(self, topic_filter: str) -> str:
        return f"$share/{self._share_group}/{topic_filter}" if self._share_group else topic_filter

    def _subscribe(self, client: mqtt.Client, topic_filter: str) -> int | None:
        subscription = self._shared(topic_filter)
        if self._five:
            # With RETAIN as published a live message of a device that retains everything would look like an old one.
            options = SubscribeOptions(
                qos=1, retainAsPublished=False, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            )
            _, mid = client.subscribe(subscription, options=options)
        else:
            _, mid = client.subscribe(subscription, qos=1)
        if self._share_group:
            # From a time before the group: with both, every member would be sent everything.
            client.unsubscribe(topic_filter)
        return mid


class PrimaryHost:
    """The `STATE` of a Sparkplug primary host, which edge nodes may wait for before they send.

    The will and the birth of a connection carry the same time (Sparkplug 3.0, 5.15): an edge node believes the newest.
    """

    def __init__(self, host_id: str) -> None:
        self._host_id = host_id
        self._at = datetime.now(UTC)

    def before_connect(self, client: mqtt.Client) -> None:
        """Set the will of the connection that is about to be made."""
        if self._host_id:
            self._at = datetime.now(UTC)
            will: Any = host_state(online=False, at=self._at)
            client.will_set(sparkplug_topics.state(self._host_id), will, qos=1, retain=True)

    def online(self, client: mqtt.Client) -> None:
        """Say that the host is there; what it subscribed to before is heard from then on."""
        if self._host_id:
            client.publish(
                sparkplug_topics.state(self._host_id), host_state(online=True, at=self._at), qos=1, retain=True
            )

    def offline(self, client: mqtt.Client) -> None:
        """Say goodbye: a connection that is closed in order sends no will."""
        if self._host_id:
            at = datetime.now(UTC)
            client.publish(sparkplug_topics.state(self._host_id), host_state(online=False, at=at), qos=1, retain=True)
