"""The messages of all simulated devices in the order of time, and what was really generated."""

import bisect
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from operator import itemgetter

from devices.simulator.device import Physics, row_of
from devices.simulator.faults import Fault, Message, faults_of
from devices.simulator.noise import chance
from devices.simulator.sample import Sample
from devices.simulator.unit import SimulatedDevice

_time = itemgetter(0)
_BACKFILL_S = 0.05  # between two samples that were kept: a bounded rate


class Gateway:
    """What speaks for one device: its family's payloads, and what goes wrong with them."""

    def __init__(self, device: SimulatedDevice, faults: Sequence[Fault] = ()) -> None:
        self.wire = device.family.connect(device)
        self._stream = device.stream
        own = device.direct or device.family.own_topic
        self._prefix = "" if own else f"jcm/v1/{device.site.id}/via/"
        self._faults = faults

    def messages(self, s: Sample) -> list[Message]:
        """Give the messages that a sample leads to; they are in the order of time but for what comes late."""
        if not self._faults:
            return self._sent(s, s.at)
        samples = [s]
        for fault in self._faults:
            samples = [changed for one in samples for changed in fault.samples(one)]
        sent: list[Message] = []
        at: float = s.at
        for one in samples:
            frame = self._sent(one, at)
            for fault in self._faults:
                frame = fault.messages(one, frame)
            sent += frame
            # A queue keeps its order: no field of a sample overtakes one of the sample before it.
            at = max([at, *(message.at for message in frame)]) + _BACKFILL_S
        return sent

    def _sent(self, s: Sample, at: float) -> list[Message]:
        sent = []
        for index, part in enumerate(self.wire.encode(s)):
            if index:
                # A device's loop, a Wi-Fi: a few milliseconds from one field to the next.
                at += round(0.002 + 0.02 * chance(self._stream + index, s.at), 4)
            sent.append(Message(at, self._prefix + part.topic, part.payload, part.retain))
        return sent


class Simulation:
    """Devices over some days.

    Parameters
    ----------
    devices
        See `fleet`.
    first_day, days
        The days; each site's are its own.
    step_s
        Time between two samples of a device.
    faults
        Names of `devices.simulator.faults.FAULTS`, checked before, or `all`.
    """

    def __init__(
        self, devices: Sequence[SimulatedDevice], first_day: date, days: int, step_s: int, faults: Sequence[str] = ()
    ) -> None:
        self.devices = devices
        self._first_day = first_day
        self._days = days
        self._physics = Physics(devices, first_day, days, step_s)
        self._gateways = [Gateway(device, faults_of(faults, device)) for device in devices]

    def messages(self) -> Iterator[Message]:
        """Give every message once, in the order in which they are sent; a second call goes on, and gives nothing."""
        physics = self._physics
        order = sorted(range(len(self.devices)), key=lambda index: (physics.phase_s[index], index))
        speak = [self._gateways[index].messages for index in order]
        waiting: list[Message] = []
        for first in range(0, physics.ticks, physics.window_ticks):
            count = min(physics.window_ticks, physics.ticks - first)
            window = physics.window(first, count)
            columns = [column[:, order] for column in window.columns]
            inside = window.inside[:, order]
            for tick in range(count):
                rows = zip(*(column[tick].tolist() for column in columns), strict=True)
                for say, row, now in zip(speak, rows, inside[tick].tolist(), strict=True):
                    if now:
                        waiting += say(row_of(row))
                waiting.sort(key=_time)
                following = physics.first_tick + (first + tick + 1) * physics.step_s
                over = bisect.bisect_left(waiting, following, key=_time)
                yield from waiting[:over]
                del waiting[:over]
        yield from waiting

    def truth(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """Give what was generated [Wh] by site, device and local day, so far as `messages` was gone through."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for device, days in zip(self.devices, self._physics.truth_mwh.tolist(), strict=True):
            found.setdefault(device.site.id, {})[device.id] = {
                (self._first_day + timedelta(days=index)).isoformat(): energy / 1000
                for index, energy in enumerate(days)
            }
        return found
