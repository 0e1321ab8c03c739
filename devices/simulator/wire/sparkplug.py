"""Sparkplug B: births with names and aliases, data by alias only."""

from devices.simulator.sample import Sample
from devices.simulator.unit import SimulatedDevice
from devices.simulator.wire.family import Family, Part, Wire
from devices.sparkplug.sparkplug_b_pb2 import Payload

_INT16, _INT64, _UINT64, _DOUBLE, _BOOLEAN = 2, 4, 8, 10, 11  # the specification's table 6.4.16
_SEQUENCE = 256
_METRICS = (("TotWhExp", _UINT64), ("W", _DOUBLE), ("Hz", _DOUBLE), ("TmpCab", _INT16))


def _sparkplug(device: SimulatedDevice) -> Wire:
    group, edge = "Simulated", f"gw-{device.site.id}-{device.number}"
    seq, births, historical_before = 0, 0, False

    def number() -> int:
        nonlocal seq
        current, seq = seq, (seq + 1) % _SEQUENCE
        return current

    def topic(kind: str) -> str:
        return f"spBv1.0/{group}/{kind}/{edge}" + ("" if kind[0] == "N" else f"/{device.id}")

    def metrics(payload: Payload, s: Sample, *, named: bool) -> None:
        for alias, (name, datatype) in enumerate(_METRICS, start=1):
            metric = payload.metrics.add(alias=alias, timestamp=s.clock * 1000)
            if named:
                metric.name, metric.datatype = name, datatype
            if s.historical:
                metric.is_historical = True
            if name == "TotWhExp" and s.sentinel:
                metric.is_null = True
            elif name == "TotWhExp":
                metric.long_value = s.total_mwh // 1000
            elif name == "TmpCab":
                # Sign-extended to 32 bits, as the JavaScript client does.
                metric.int_value = round(s.cabinet_c) & 0xFFFF_FFFF
            else:
                metric.double_value = s.w if name == "W" else s.hz

    def born(s: Sample) -> list[Part]:
        nonlocal seq, births
        seq = 0
        node = Payload(timestamp=s.at * 1000, seq=number())
        node.metrics.add(name="bdSeq", timestamp=s.at * 1000, datatype=_INT64, long_value=births)
        node.metrics.add(name="Node Control/Rebirth", timestamp=s.at * 1000, datatype=_BOOLEAN, boolean_value=False)
        births = (births + 1) % _SEQUENCE
        unit = Payload(timestamp=s.at * 1000, seq=number())
        metrics(unit, s, named=True)
        return [
            Part(topic("NBIRTH"), node.SerializeToString(deterministic=True)),
            Part(topic("DBIRTH"), unit.SerializeToString(deterministic=True)),
        ]

    def encode(s: Sample) -> list[Part]:
        nonlocal historical_before
        # After an outage the node is born again, and the first that it then sends is what it kept.
        back = s.historical and not historical_before
        historical_before = s.historical
        births_now = born(s) if births == 0 or back else []
        data = Payload(timestamp=s.at * 1000, seq=number())
        metrics(data, s, named=False)
        return [*births_now, Part(topic("DDATA"), data.SerializeToString(deterministic=True))]

    return Wire({"group": group, "edge": edge, "device": device.id}, encode)


FAMILIES = (Family("sparkplug-b", _sparkplug, rated_w=(20_000, 110_000), bits=64, fields={}),)
