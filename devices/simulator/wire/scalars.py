"""Families that publish one field a topic."""

from collections.abc import Iterable
from decimal import Decimal

from devices.simulator.sample import Sample
from devices.simulator.unit import SimulatedDevice
from devices.simulator.wire.family import Family, Part, Wire, as_json, kwh, utc, wh


def _parts(base: str, fields: Iterable[tuple[str, object]], *, retain: bool = False) -> list[Part]:
    return [Part(f"{base}/{name}", str(value).encode(), retain) for name, value in fields]


def _opendtu(device: SimulatedDevice) -> Wire:
    # MqttHandleInverter.cpp: status first, then each field of the AC channel, the DC channels, the inverter.
    serial = device.serial_number
    prefix = device.name("solar") if device.direct else "solar"
    last = 0

    def encode(s: Sample) -> list[Part]:
        nonlocal last
        awake = s.w > 0 or s.asleep_zero
        last = s.clock if awake else last
        status = [
            ("status/limit_relative", "100.0"),
            ("status/reachable", int(awake)),
            ("status/producing", int(s.w > 0)),
            ("status/last_update", last),
        ]
        values = [
            ("0/powerdc", s.dcw),
            ("0/yieldday", s.today_mwh // 1000),
            ("0/yieldtotal", f"{kwh(s.total_mwh):.3f}"),
            ("0/voltage", s.v),
            ("0/current", f"{s.w / s.v:.2f}"),
            ("0/power", s.w),
            ("0/frequency", f"{s.hz:.2f}"),
            ("0/powerfactor", "1.000" if s.w else "0.000"),
            ("0/efficiency", f"{100 * s.w / s.dcw if s.dcw else 0:.3f}"),
            ("0/reactivepower", "0.0"),
            ("1/voltage", f"{s.dcv / 16:.1f}"),
            ("1/current", f"{s.dca * 16:.2f}"),
            ("1/power", s.dcw),
            ("1/yieldday", s.today_mwh // 1000),
            ("1/yieldtotal", f"{kwh(s.total_mwh):.3f}"),
            ("0/temperature", s.cabinet_c),
        ]
        return _parts(f"{prefix}/{serial}", status + (values if awake else []), retain=True)

    return Wire({"prefix": prefix, "serial": serial}, encode)


def _ahoydtu(device: SimulatedDevice) -> Wire:
    name = device.name("HM")

    def encode(s: Sample) -> list[Part]:
        if s.w <= 0 and not s.asleep_zero:
            return []
        fields = [
            ("U_AC", s.v), ("I_AC", s.w / s.v), ("P_AC", s.w), ("F_AC", s.hz), ("PF_AC", 1), ("Temp", s.cabinet_c),
            ("YieldTotal", kwh(s.total_mwh)), ("YieldDay", s.today_mwh / 1000), ("P_DC", s.dcw),
            ("Efficiency", 100 * s.w / s.dcw if s.dcw else 0), ("Q_AC", 0),
        ]  # fmt: skip
        return [
            Part(f"inverter/{name}/last_success", str(s.clock).encode(), retain=True),
            # "%g" has six digits: from 1,000 kWh on a count is 10 Wh.
            *(Part(f"inverter/{name}/ch0/{field}", f"{round(value, 3):g}".encode(), field.startswith("Yield"))
              for field, value in fields),
        ]  # fmt: skip

    return Wire({"prefix": "inverter", "name": name}, encode)


def _deye(device: SimulatedDevice) -> Wire:
    # A fleet's loggers are numbered below the prefix.
    prefix = f"{device.name('deye') if device.direct else 'deye'}/{device.number}"

    def encode(s: Sample) -> list[Part]:
        if s.w <= 0 and not s.asleep_zero:
            return [Part(f"{prefix}/logger_status", b"offline", retain=True)]
        return _parts(
            prefix,
            [
                ("day_energy", f"{kwh(s.today_mwh):.1f}"),
                ("total_energy", f"{kwh(s.total_mwh):.1f}"),
                ("dc/pv1/voltage", s.dcv),
                ("dc/pv1/current", f"{s.dca:.1f}"),
                ("ac/l1/voltage", s.v),
                ("ac/l1/current", f"{s.a:.1f}"),
                ("ac/freq", s.hz),
                ("ac/active_power", s.w),
                ("radiator_temp", s.cabinet_c),
                ("dc/total_power", s.dcw),
            ],
        )

    return Wire({"prefix": prefix}, encode)


def _victron(device: SimulatedDevice) -> Wire:
    portal, instance = device.hexadecimal, 19 + device.number
    base = f"N/{portal}/pvinverter/{instance}"
    names = (
        "Ac/Power",
        "Ac/L1/Voltage",
        "Ac/L1/Current",
        "Ac/L1/Power",
        "Ac/L2/Power",
        "Ac/Energy/Forward",
        "StatusCode",
    )
    awake = False

    def encode(s: Sample) -> list[Part]:
        nonlocal awake
        if s.w <= 0 and not s.asleep_zero:
            # The device leaves the bus: every topic is told so once, with a payload of no bytes.
            gone, awake = awake, False
            return [Part(f"{base}/{name}", b"") for name in names] if gone else []
        awake = True
        total = None if s.sentinel else kwh(s.total_mwh)
        watts = None if s.sentinel else s.w
        # L2 of a device of one phase is invalid.
        values = (watts, s.v, round(s.w / s.v, 2), watts, None, total, 7)
        return [Part(f"{base}/{name}", as_json({"value": value})) for name, value in zip(names, values, strict=True)]

    return Wire({"portal": portal, "service": "pvinverter", "instance": str(instance)}, encode)


def _mbmd(device: SimulatedDevice) -> Wire:
    prefix, meter = (device.name("mbmd") if device.direct else "mbmd"), f"sdm1-{device.number}"

    def encode(s: Sample) -> list[Part]:
        fields = [
            ("Power", -s.w), ("Power/L1", -s.w / 3), ("Power/L2", -s.w / 3), ("Power/L3", -s.w / 3),
            ("Voltage/L1", s.v), ("Voltage/L2", s.v), ("Voltage/L3", s.v), ("Current/L1", s.a), ("Frequency", s.hz),
            ("Import", 0.0), ("Export", kwh(s.total_mwh)), ("Sum", kwh(s.total_mwh)),
        ]  # fmt: skip
        return _parts(f"{prefix}/{meter}", [(name, f"{value:.3f}") for name, value in fields])

    return Wire({"prefix": prefix, "device": meter}, encode)


def _esphome(device: SimulatedDevice) -> Wire:
    prefix = device.name("pv-meter")

    def encode(s: Sample) -> list[Part]:
        fields = [
            ("power", "nan" if s.sentinel else s.w),
            ("total_energy", "nan" if s.sentinel else f"{kwh(s.total_mwh):.3f}"),
            ("daily_energy", f"{kwh(s.today_mwh):.3f}"),
            ("voltage", s.v),
        ]
        return [Part(f"{prefix}/sensor/{name}/state", str(value).encode(), retain=True) for name, value in fields]

    return Wire({"prefix": prefix}, encode)


def _shelly_gen1(device: SimulatedDevice) -> Wire:
    name = f"shellyem-{device.hexadecimal}"
    last: int | None = None

    def encode(s: Sample) -> list[Part]:
        nonlocal last
        # Watt-minutes since the last message, under the name that elsewhere is a total.
        minutes = 0.0 if last is None else s.w * (s.at - last) / 60
        last = s.at
        fields = [
            ("power", -s.w), ("reactive_power", 0.0), ("pf", -1.0 if s.w else 0.0), ("voltage", s.v),
            ("energy", 0), ("returned_energy", round(minutes)), ("total", 0), ("total_returned", wh(s.total_mwh)),
        ]  # fmt: skip
        return _parts(f"shellies/{name}/emeter/0", fields)

    return Wire({"id": name, "channel": "0"}, encode)


def _dsmr_reader(device: SimulatedDevice) -> Wire:
    prefix = device.name("dsmr")
    low, last = device.opening_wh * 1000 // 3 // 1_000_000 * 1_000_000, -1

    def encode(s: Sample) -> list[Part]:
        nonlocal low, last
        weekend = utc(s.at).weekday() >= 5
        if not s.asleep_zero:
            if s.total_mwh < low:
                low = 0
            elif weekend and 0 <= last < s.total_mwh:
                low += s.total_mwh - last
            last = s.total_mwh
        first = min(low, s.total_mwh)
        fields = [
            ("timestamp", f"{utc(s.clock):%Y-%m-%dT%H:%M:%SZ}"),
            ("electricity_delivered_1", "0.000"),
            ("electricity_returned_1", f"{kwh(first):.3f}"),
            ("electricity_delivered_2", "0.000"),
            ("electricity_returned_2", f"{kwh(s.total_mwh - first):.3f}"),
            ("electricity_currently_delivered", "0.000"),
            ("electricity_currently_returned", f"{s.w / 1000:.3f}"),
            ("phase_voltage_l1", f"{s.v:.1f}"),
        ]
        return _parts(f"{prefix}/reading", fields, retain=True)

    return Wire({"prefix": prefix}, encode)


_MICRO = (400, 1600)

FAMILIES = (
    Family("opendtu", _opendtu, rated_w=_MICRO, scalar=True, retains=True, sentinel=False),
    Family("ahoydtu", _ahoydtu, rated_w=_MICRO, resolution_wh=Decimal(10), scalar=True,
           retains=True, sentinel=False),
    Family("deye", _deye, rated_w=(3_000, 12_000), resolution_wh=Decimal(100), timestamps=False, scalar=True,
           sentinel=False),
    Family("victron", _victron, rated_w=(3_000, 10_000), timestamps=False, scalar=True, jitters=True),
    Family("mbmd", _mbmd, "meter", timestamps=False, scalar=True, sentinel=False),
    Family("esphome", _esphome, "meter", (1_000, 10_000), timestamps=False, scalar=True, retains=True, jitters=True,
           fields={"TotWhExp": {"names": "total_energy", "unit": "kWh"}, "W": {"names": "power", "unit": "W"}}),
    Family("shelly-gen1", _shelly_gen1, "meter", (2_000, 12_000), Decimal("0.1"), 64, timestamps=False, scalar=True,
           sentinel=False, jitters=True),
    Family("dsmr-reader", _dsmr_reader, "meter", (3_000, 15_000), scalar=True, retains=True, sentinel=False),
)  # fmt: skip
