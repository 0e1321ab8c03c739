"""Industrial gateways and generic conventions; where a family leaves names to the user, the declaration says them."""

from decimal import Decimal
from typing import Any

from devices.simulator.sample import Sample
from devices.simulator.unit import SimulatedDevice
from devices.simulator.wire.family import Family, Part, Wire, as_json, kwh, local, utc, wh

_DISABLED = 9999.9999


def _acrel(device: SimulatedDevice) -> Wire:
    serial, product = f"{device.serial_number}01", "arcm300"
    zone = device.site.zone

    def encode(s: Sample) -> list[Part]:
        content = {
            "type": "hstdata" if s.historical else "data", "gwSN": serial, "meterSN": serial,
            "time": f"{local(s.clock, zone):%Y%m%d%H%M%S}", "EPI": "0.00", "EPE": f"{kwh(s.total_mwh):.2f}",
            "P": f"{s.w / 1000:.3f}", "Ua": f"{s.v:.1f}", "Ub": f"{s.v:.1f}", "Uc": f"{s.v:.1f}", "Fr": f"{s.hz:.2f}",
        }  # fmt: skip
        # The first level of the topic is empty.
        return [Part(f"/gw/acrelHW/{product}/{content['type']}/{serial}", as_json(content))]

    return Wire({"product": product, "serial": serial}, encode)


def _wise(device: SimulatedDevice) -> Wire:
    mac = device.hexadecimal.upper()
    sequence = 0

    def encode(s: Sample) -> list[Part]:
        nonlocal sequence
        sequence += 1
        content = {
            "s": sequence, "t": f"{utc(s.clock):%Y-%m-%dT%H:%M:%SZ}", "q": 192, "c": 1,
            "ai1": _DISABLED if s.sentinel else round(s.w / 1000, 4), "ai_st1": 1,
            "ai2": _DISABLED if s.sentinel else kwh(s.total_mwh), "ai_st2": 1, "di1": s.w > 0,
        }  # fmt: skip
        return [Part(f"Advantech/{mac}/data", as_json(content))]

    return Wire({"mac": mac}, encode)


def _siemens(device: SimulatedDevice) -> Wire:
    topic = device.name("powercenter")

    def encode(s: Sample) -> list[Part]:
        quality = "invalid" if s.sentinel else "valid"
        items = (
            ("active_power", 80, "Power/W/Inst/Value/Sum", s.w, "W", "valid"),
            ("active_energy_export", 92, "Energy/Wh/Export/OnPeakTariff/Sum", wh(s.total_mwh), "Wh", quality),
        )
        content = {
            "item_id": f"{device.hexadecimal}-powercenter", "count": len(items), "total": len(items),
            "_embedded": {"item": [
                # Numbers are strings.
                {"name": name, "id": number, "internal_name": internal, "display_value": f"{value} {unit}",
                 "value": str(value), "unit": unit, "quality": good}
                for name, number, internal, value, unit, good in items
            ]},
        }  # fmt: skip
        return [Part(topic, as_json(content))]

    return Wire({"topic": topic}, encode)


def _neuron(device: SimulatedDevice) -> Wire:
    topic = f"/neuron/mqtt/modbus/{device.name('pv')}"

    def encode(s: Sample) -> list[Part]:
        values: dict[str, Any] = {"power": s.w}
        errors: dict[str, int] = {}
        # A tag that could not be read is among the errors, and not among the values.
        (errors if s.sentinel else values)["energy"] = 2014 if s.sentinel else s.total_mwh // 1000
        content = {
            "timestamp": s.clock * 1000, "node": "modbus", "group": device.name("pv"),
            "values": values, "errors": errors, "metas": {},
        }  # fmt: skip
        return [Part(topic, as_json(content))]

    return Wire({"topic": topic}, encode)


def _thingsboard(device: SimulatedDevice) -> Wire:
    # "me" is whoever the login is; below a site's own topics a device needs a topic of its own.
    topic = f"v1/devices/{device.name('me')}/telemetry"

    def encode(s: Sample) -> list[Part]:
        values = {"power": s.w, "energy": None if s.sentinel else wh(s.total_mwh), "temperature": s.cabinet_c}
        return [Part(topic, as_json({"ts": s.clock * 1000, "values": values}))]

    return Wire({"topic": topic}, encode)


def _senml(device: SimulatedDevice) -> Wire:
    topic = device.name("senml")

    def encode(s: Sample) -> list[Part]:
        records: list[dict[str, Any]] = [
            {"bn": f"urn:dev:mac:{device.hexadecimal}:", "bt": s.clock, "n": "power", "u": "W", "v": s.w},
            {"n": "energy", "u": "Wh", "v": wh(s.total_mwh)},
            {"n": "temperature", "u": "Cel", "v": s.cabinet_c},
        ]
        if s.sentinel:
            del records[1]["v"]
        return [Part(topic, as_json(records))]

    return Wire({"topic": topic}, encode)


def _telegraf(device: SimulatedDevice) -> Wire:
    topic = f"telegraf/{device.name('gw')}/modbus"

    def encode(s: Sample) -> list[Part]:
        fields: dict[str, Any] = {"energy": s.total_mwh // 1000, "power": s.w, "temperature": s.cabinet_c}
        if s.sentinel:
            del fields["energy"]
        content = {"fields": fields, "name": "modbus", "tags": {"host": device.name("gw")}, "timestamp": s.clock}
        return [Part(topic, as_json(content))]

    return Wire({"topic": topic}, encode)


def _influx(device: SimulatedDevice) -> Wire:
    topic = f"telegraf/{device.name('gw')}/line"

    def encode(s: Sample) -> list[Part]:
        energy = "" if s.sentinel else f"energy={s.total_mwh // 1000}i,"
        line = f"modbus,host={device.name('gw')} {energy}power={s.w},temperature={s.cabinet_c} {s.clock}000000000"
        return [Part(topic, line.encode())]

    return Wire({"topic": topic}, encode)


_PLANT = (20_000, 200_000)


def _named(energy: str, unit: str, power: str, power_unit: str = "W") -> dict[str, dict[str, str]]:
    return {"TotWhExp": {"names": energy, "unit": unit}, "W": {"names": power, "unit": power_unit}}


FAMILIES = (
    Family("acrel", _acrel, "meter", _PLANT, Decimal(10), calendar=True, sentinel=False),
    Family("advantech-wise", _wise, "meter", _PLANT, calendar=True, fields=_named("ai2", "kWh", "ai1", "kW")),
    Family(
        "siemens",
        _siemens,
        "meter",
        _PLANT,
        timestamps=False,
        fields=_named("active_energy_export", "Wh", "active_power"),
    ),
    Family("neuron", _neuron, "meter", _PLANT, fields=_named("energy", "Wh", "power")),
    Family("thingsboard", _thingsboard, "meter", _PLANT, fields=_named("energy", "Wh", "power")),
    Family("senml", _senml, "meter", _PLANT, fields=_named("energy", "Wh", "power")),
    Family("telegraf-json", _telegraf, "meter", _PLANT, fields=_named("fields.energy", "Wh", "fields.power")),
    Family("influx-line", _influx, "meter", _PLANT, fields=_named("energy", "Wh", "power")),
)
