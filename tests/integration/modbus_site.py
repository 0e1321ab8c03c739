"""A site's bus: a real Modbus server with SunSpec devices that count, and can be told to misbehave; a serial line."""

import asyncio
import os
import select
import threading
import tty
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.unit.test_gateway_sunspec import block

BASE = 40000
START_WH = 1000


@dataclass
class Site:
    """Units 1 to 4 are inverters (1, 120, 103), 5 is a meter (1, 203), 7 a plain meter without a map.

    The lifetime register of a SunSpec device counts how often it was read, so that every reading is another one.
    """

    failing: set[int] = field(default_factory=set)
    overrides: dict[int, dict[str, int]] = field(default_factory=dict)
    """Values by unit, in place of those of a device that works."""
    served: Counter = field(default_factory=Counter)
    port: int = 0

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        devices = [self._device(unit) for unit in (1, 2, 3, 4, 5)] + [plain_meter()]
        self._server = ModbusTcpServer(devices, address=("127.0.0.1", self.port))
        await self._server.serve_forever(background=True)
        self.port = self._server.transport.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        await self._server.shutdown()

    def _registers(self, unit: int) -> list[int]:
        count = START_WH + self.served[unit]
        common = block(1, Mn="Maker", Md="Model", SN=f"SN-{unit}", Vr="1.0")
        if unit == 5:
            values = {"W": -500, "W_SF": 1, "TotWhExp": count, "TotWhImp": 7, "TotWh_SF": 0} | self.overrides.get(
                unit, {}
            )
            maps = [common, block(203, **values)]
        else:
            values = {"W": 4987, "W_SF": 1, "WH": count, "WH_SF": 3, "Hz": 5001, "Hz_SF": -2, "St": 4}
            values |= self.overrides.get(unit, {})
            maps = [common, block(120, DERTyp=4, WRtg=50, WRtg_SF=3), block(103, **values)]
        return [0x5375, 0x6E53, *(register for one in maps for register in one), 0xFFFF]

    def _device(self, unit: int) -> SimDevice:
        registers = self._registers(unit)

        async def act(_code, start, _address, count, current, _set):
            if unit in self.failing:
                return ExcCodes.DEVICE_FAILURE
            # The model that measures is the one read of this length; the others are the scan's.
            if count in {52, 107}:
                self.served[unit] += 1
                current[BASE - start : BASE - start + len(registers)] = self._registers(unit)
            return None

        return SimDevice(unit, [SimData(BASE, values=registers, datatype=DataType.REGISTERS)], action=act)


def plain_meter() -> SimDevice:
    """Unit 7: 230.5 V as float, 1234567 in 0.1 kWh with the lower word first, and a register that says "none"."""
    return SimDevice(7, [
        SimData(10, values=[0x4366, 0x8000], datatype=DataType.REGISTERS),
        SimData(342, values=[1234567 & 0xFFFF, 1234567 >> 16], datatype=DataType.REGISTERS),
        SimData(350, values=[0xFFFF], datatype=DataType.REGISTERS),
    ])  # fmt: skip


@contextmanager
def serial_line() -> Iterator[str]:
    """A serial port with the plain meter at its other end: two pseudo-terminals, wired to each other."""
    ends = [os.openpty(), os.openpty()]
    masters = [master for master, _ in ends]
    for end in ends:
        for file in end:
            tty.setraw(file)
    ready, ended = threading.Event(), threading.Event()

    def wire() -> None:
        while not ended.is_set():
            for file in select.select(masters, [], [], 0.05)[0]:
                os.write(masters[masters.index(file) - 1], os.read(file, 1024))

    async def serve() -> None:
        server = ModbusSerialServer(plain_meter(), port=os.ttyname(ends[0][1]), baudrate=115200)
        await server.serve_forever(background=True)
        ready.set()
        while not ended.is_set():
            await asyncio.sleep(0.05)
        await server.shutdown()

    threads = [threading.Thread(target=wire), threading.Thread(target=lambda: asyncio.run(serve()))]
    for thread in threads:
        thread.start()
    try:
        assert ready.wait(10)
        yield os.ttyname(ends[1][1])
    finally:
        ended.set()
        for thread in threads:
            thread.join(10)
        for end in ends:
            for file in end:
                os.close(file)


@contextmanager
def rtu_over_tcp() -> Iterator[int]:
    """The plain meter behind a converter that passes RTU frames through; gives its port."""
    ready, ended, port = threading.Event(), threading.Event(), []

    async def serve() -> None:
        server = ModbusTcpServer(plain_meter(), framer=FramerType.RTU, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        port.append(server.transport.sockets[0].getsockname()[1])
        ready.set()
        while not ended.is_set():
            await asyncio.sleep(0.05)
        await server.shutdown()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield port[0]
    finally:
        ended.set()
        thread.join(10)
