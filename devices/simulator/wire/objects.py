"""Families that publish a sample as one JSON object."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from devices.simulator.sample import Sample
from devices.simulator.unit import SimulatedDevice
from devices.simulator.wire.family import Family, Part, Wire, as_json, as_spaced_json, kwh, local, wh

_INVALID = 2_147_483_647  # 0x7FFFFFFF


def _awake(s: Sample) -> bool:
    return s.w > 0 or s.asleep_zero


def _one(topic: str, content: Callable[[Sample], Any], *, retain: bool = False, at_night: bool = True) -> Any:
    """Make an encoder that publishes one object a sample; by night, too, where the family does."""
    return lambda s: [Part(topic, as_spaced_json(content(s)), retain)] if at_night or _awake(s) else []


def _growatt(device: SimulatedDevice) -> Wire:
    serial = f"TEG2{device.hexadecimal[:6].upper()}"

    def content(s: Sample) -> dict[str, Any]:
        today, total = s.today_mwh // 100_000, s.total_mwh // 100_000
        # At dawn grott does not know the inverter yet: a placeholder with a lifetime counter of 0.
        name = "XXXXXXXXXX" if s.asleep_zero else serial
        return {
            "device": name,
            "time": f"{local(s.clock, device.site.zone):%Y-%m-%dT%H:%M:%S}",
            "buffered": "yes" if s.historical else "no",
            "values": {
                "datalogserial": f"XGD{serial[4:]}", "pvserial": name,
                "pvstatus": 0 if s.asleep_zero else 1, "pvpowerin": round(s.dcw * 10), "pv1voltage": round(s.dcv * 10),
                "pv1current": round(s.dca * 10), "pv1watt": round(s.dcw * 10), "pv2voltage": 0, "pv2current": 0,
                "pv2watt": 0, "pvpowerout": 0 if s.asleep_zero else round(s.w * 10), "pvfrequentie": round(s.hz * 100),
                "pvgridvoltage": round(s.v * 10), "pvgridcurrent": round(s.a * 10), "pvgridpower": round(s.w * 10),
                "pvenergytoday": today, "pvenergytotal": _INVALID if s.sentinel else total, "totworktime": total * 7200,
                "epvtotal": total, "epv1today": today, "epv1total": total, "pvtemperature": round(s.cabinet_c * 10),
                "pvipmtemperature": round(s.cabinet_c * 10) + 90,
            },
        }  # fmt: skip

    return Wire({"topic": "energy/growatt", "serial": serial}, _one("energy/growatt", content, at_night=False))


def _sungather(device: SimulatedDevice) -> Wire:
    prefix = "SunGather"
    serial = f"A{device.serial_number[:10]}"

    def content(s: Sample) -> dict[str, Any]:
        t = local(s.clock, device.site.zone)
        return {
            "model": "SG10RT", "serial_number": serial, "host": "192.0.2.10", "port": 502,
            "daily_power_yields": kwh(s.today_mwh), "total_power_yields": kwh(s.total_mwh),
            "internal_temperature": s.cabinet_c, "total_dc_power": round(s.dcw), "phase_a_voltage": s.v,
            "total_active_power": round(s.w), "grid_frequency": s.hz, "work_state_1": "Run",
            # SungrowClient pads minutes and seconds only.
            "timestamp": f"{t.year}-{t.month}-{t.day} {t.hour}:{t.minute:02}:{t.second:02}",
        }  # fmt: skip

    return Wire({"prefix": prefix, "serial": serial}, _one(f"{prefix}/{serial}", content, at_night=False))


def _solax(device: SimulatedDevice) -> Wire:
    serial = f"SW{device.hexadecimal[:8].upper()}"

    def content(s: Sample) -> dict[str, Any]:
        data: list[float | int] = [0] * 200
        total, today = kwh(s.total_mwh), kwh(s.today_mwh)
        data[:13] = [s.dca, 0.0, s.dcv, 0.0, round(s.w / s.v, 1), s.v, round(s.w), round(s.cabinet_c), today, total, 0,
                     round(s.dcw), 0]  # fmt: skip
        data[50] = s.hz
        if s.asleep_zero:
            data[:13] = [0] * 13
        return {
            "type": "X1-Boost-Air-Mini", "SN": serial, "ver": "2.033.20", "Data": data,
            "Information": [device.rated_w / 1000, 4, "X1-Boost-Air-Mini", f"XB{serial[2:]}", 1, 2.1, 0.0, 1.3, 0.0],
        }  # fmt: skip

    return Wire({"serial": serial}, _one(f"loc/{serial}", content, at_night=False))


def _sbfspot(device: SimulatedDevice) -> Wire:
    serial = device.serial_number[:10]
    zone = device.site.zone

    def encode(s: Sample) -> list[Part]:
        now = f"{local(s.clock, zone):%d/%m/%Y %H:%M:%S}"
        values = {
            "Timestamp": f'"{now}"', "SunRise": f'"{now[:10]} 06:00:00"', "SunSet": f'"{now[:10]} 18:00:00"',
            "InvSerial": serial, "InvName": f'"SN: {serial}"', "InvTime": f'"{now}"', "InvStatus": '"Ok"',
            "InvTemperature": f"{s.cabinet_c:.3f}", "InvGridRelay": '"Closed"', "EToday": f"{kwh(s.today_mwh):.3f}",
            "ETotal": f"{kwh(s.total_mwh):.3f}", "PACTot": f"{s.w:.3f}", "UDC": f"{s.dcv:.3f}", "IDC": f"{s.dca:.3f}",
            "PDC": f"{s.dcw:.3f}",
        }  # fmt: skip
        text = ",".join(f'"{key}": {value}' for key, value in values.items())
        return [Part(f"sbfspot_{serial}", f"{{{text}}}".encode(), retain=True)]

    return Wire({"serial": serial}, encode)


def _fronius(device: SimulatedDevice) -> Wire:
    topic = device.name("fronius")

    def content(s: Sample) -> dict[str, Any]:
        total = None if s.sentinel else wh(s.total_mwh)
        return {
            "Body": {"Data": {
                # GEN24 gives no E_Day.
                "Inverters": {"1": {"DT": 1, "E_Day": None, "E_Total": total, "E_Year": None, "P": s.w}},
                "Site": {"E_Day": None, "E_Total": total, "E_Year": None, "Mode": "produce-only", "P_Akku": None,
                         "P_Grid": None, "P_Load": None, "P_PV": s.w},
                "Version": "12",
            }},
            "Head": {"RequestArguments": {}, "Status": {"Code": 0, "Reason": "", "UserMessage": ""},
                     "Timestamp": local(s.clock, device.site.zone).isoformat()},
        }  # fmt: skip

    return Wire({"topic": topic, "inverter": "1"}, _one(topic, content))


def _enphase(device: SimulatedDevice) -> Wire:
    topic = f"{device.name('envoy')}/production"

    def content(s: Sample) -> dict[str, Any]:
        return {
            "production": [
                {"type": "inverters", "activeCount": 20, "readingTime": s.clock, "wNow": round(s.w),
                 "whLifetime": s.total_mwh // 1000},
                # No current transformer is connected: this branch counts nothing, with a time of its own.
                {"type": "eim", "activeCount": 0, "measurementType": "production", "readingTime": s.clock,
                 "wNow": -0.029, "whLifetime": 0, "whToday": 0},
            ],
            "consumption": [],
        }  # fmt: skip

    return Wire({"topic": topic}, _one(topic, content))


def _solaredge(device: SimulatedDevice) -> Wire:
    prefix = device.name("solaredge")

    def content(s: Sample) -> dict[str, Any]:
        phase = {"l1": s.v, "l2": s.v, "l3": s.v}
        return {
            "info": {"manufacturer": "SolarEdge", "model": "SE10K", "serialnumber": device.hexadecimal[:8].upper()},
            "ac": {"current": {"actual": round(3 * s.a, 2)}, "voltage": phase, "frequency": s.hz,
                   "power": {"actual": s.w, "reactive": 0.0, "apparent": s.w, "factor": 1.0}},
            "dc": {"current": s.dca, "voltage": s.dcv, "power": s.dcw},
            # An acc32 of SunSpec lies under it: 0 is "not accumulated".
            "energytotal": 0 if s.sentinel else s.total_mwh // 1000,
            "temperature": s.cabinet_c, "status": 4 if s.w else 2, "status_text": "Producing" if s.w else "Sleeping",
        }  # fmt: skip

    return Wire({"prefix": prefix}, _one(f"{prefix}/modbus/inverter", content))


def _shelly_gen2(device: SimulatedDevice) -> Wire:
    prefix = f"shellypro3em-{device.hexadecimal}"
    topic = f"{prefix}/events/rpc"

    def notify(ts: float, part: dict[str, Any]) -> Part:
        body = {"src": prefix, "dst": f"{prefix}/events", "method": "NotifyStatus", "params": {"ts": ts, **part}}
        return Part(topic, as_json(body))

    def encode(s: Sample) -> list[Part]:
        power = -round(s.w / 3, 1)
        em: dict[str, Any] = {"id": 0}
        for phase in "abc":
            em |= {f"{phase}_act_power": power, f"{phase}_aprt_power": -power, f"{phase}_current": s.a,
                   f"{phase}_freq": s.hz, f"{phase}_pf": -1 if s.w else 0, f"{phase}_voltage": s.v}  # fmt: skip
        em |= {"n_current": None, "total_act_power": -s.w, "total_aprt_power": s.w, "total_current": round(3 * s.a, 3)}
        total = None if s.sentinel else wh(s.total_mwh)
        third = s.total_mwh // 30 * 10
        data: dict[str, Any] = {"id": 0}
        for phase, energy in zip("abc", (third, third, s.total_mwh - 2 * third), strict=True):
            data |= {f"{phase}_total_act_energy": 0, f"{phase}_total_act_ret_energy": wh(energy)}
        data |= {"total_act": 0, "total_act_ret": total}
        # Power on change, energy a little later on the minute: two notifications, neither with all of it.
        return [notify(s.clock + 0.08, {"em:0": em}), notify(s.clock + 0.21, {"emdata:0": data})]

    return Wire({"prefix": prefix}, encode)


def _tasmota(device: SimulatedDevice) -> Wire:
    name = f"tasmota_{device.hexadecimal[6:].upper()}"
    zone = device.site.zone
    day, today, yesterday = -1, 0, 0

    def content(s: Sample) -> dict[str, Any]:
        nonlocal day, today, yesterday
        if s.day != day and not s.historical:
            day, yesterday = s.day, today
        today = s.today_mwh
        return {
            "Time": f"{local(s.clock, zone):%Y-%m-%dT%H:%M:%S}",
            "ENERGY": {
                "TotalStartTime": "2023-05-01T10:00:00", "Total": kwh(s.total_mwh), "Yesterday": kwh(yesterday),
                "Today": kwh(s.today_mwh), "Period": 0, "Power": round(s.w), "ApparentPower": round(s.w),
                "ReactivePower": 0, "Factor": 1.00 if s.w else 0.00, "Voltage": round(s.v),
                "Current": round(s.w / s.v, 3),
            },
        }  # fmt: skip

    return Wire({"topic": name}, lambda s: [Part(f"tele/{name}/SENSOR", as_json(content(s)))])


def _zigbee2mqtt(device: SimulatedDevice) -> Wire:
    # Friendly names have spaces.
    name = device.name("PV meter")

    def content(s: Sample) -> dict[str, Any]:
        return {
            "ac_frequency": s.hz, "current": round(s.w / s.v, 2), "energy": None if s.sentinel else kwh(s.total_mwh),
            "last_seen": local(s.clock, device.site.zone).isoformat(), "linkquality": 51, "power": round(s.w),
            "state": "ON", "voltage": s.v,
        }  # fmt: skip

    return Wire(
        {"prefix": "zigbee2mqtt", "name": name},
        lambda s: [Part(f"zigbee2mqtt/{name}", as_json(content(s)), retain=True)],
    )


_PLUG = (400, 3_600)
_HOUSE = (3_000, 12_000)

FAMILIES = (
    Family("growatt-grott", _growatt, rated_w=_HOUSE, resolution_wh=Decimal(100), calendar=True),
    Family("sungrow-sungather", _sungather, rated_w=(5_000, 20_000), resolution_wh=Decimal(100), calendar=True,
           sentinel=False),
    Family("solax", _solax, rated_w=(700, 5_000), resolution_wh=Decimal(100), timestamps=False, sentinel=False),
    Family("sma-sbfspot", _sbfspot, rated_w=_HOUSE, calendar=True, retains=True, sentinel=False),
    Family("fronius", _fronius, rated_w=_HOUSE, calendar=True),
    Family("enphase", _enphase, rated_w=_HOUSE, sentinel=False),
    Family("solaredge2mqtt", _solaredge, rated_w=(4_000, 25_000), timestamps=False),
    Family("shelly-gen2", _shelly_gen2, "meter", (3_000, 15_000), Decimal("0.01"), 64, jitters=True),
    # A socket between a small PV system and the grid: its only total counts the delivery.
    Family("tasmota", _tasmota, "meter", _PLUG, bits=64, calendar=True, sentinel=False,
           fields={"TotWhExp": {"names": "ENERGY.Total", "unit": "kWh"}, "W": {"names": "ENERGY.Power"}}),
    # The profile reads `energy` as what a plug's load drew, which for a plug of a PV module is the generation.
    Family("zigbee2mqtt", _zigbee2mqtt, "meter", _PLUG, Decimal(10), 48, "TotWhImp", calendar=True, retains=True,
           jitters=True),
)  # fmt: skip
