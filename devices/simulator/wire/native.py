"""The product's own payload, as its gateway publishes it."""

from devices.simulator.sample import Sample
from devices.simulator.unit import SimulatedDevice
from devices.simulator.wire.family import Encode, Family, Part, Wire, utc
from devices.topics import readings

# SunSpec's operating states: sleeping and tracking the maximum power point.
_SLEEPING, _MPPT = 2, 4
# What a real exporter sends as the first sample of the morning; a register is never negative.
_SENTINEL = -1_000_000.0


def _native(device: SimulatedDevice) -> Wire:
    return Wire({}, _encoder(readings(device.site.id, device.id)))


def _encoder(topic: str) -> Encode:
    seq = 0

    def encode(s: Sample) -> list[Part]:
        nonlocal seq
        seq += 1
        total = _SENTINEL if s.sentinel else s.total_mwh // 1000
        watts = _SENTINEL if s.sentinel else s.w
        # An f-string is a third of json.dumps' time, and all of it is digits.
        text = (
            f'{{"ts":"{utc(s.clock):%Y-%m-%dT%H:%M:%SZ}","seq":{seq},"points":{{"W":{watts},"TotWhExp":{total},'
            f'"PhVphA":{s.v},"A":{s.a},"Hz":{s.hz},"DCW":{s.dcw},"DCV":{s.dcv},"DCA":{s.dca},'
            f'"TmpCab":{s.cabinet_c},"POAI":{s.poa_w_m2},"St":{_MPPT if s.w > 0 else _SLEEPING}}}}}'
        )
        return [Part(topic, text.encode())]

    return encode


FAMILIES = (Family("native", _native, rated_w=(20_000, 110_000), jitters=True, own_topic=True),)
