"""Read devices over Modbus TCP and RTU: all of a poll or nothing of it.

A failed poll gives no reading: neither zeros nor what was read before it failed. After any failure the connection is
closed, so that a late answer is never taken for the answer to the next request.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType

from devices.errors import PollError
from devices.gateway import registers, sunspec
from devices.gateway.config import Device, Line

# pymodbus reports on standard error what is raised as well.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_EXCEPTIONS = {
    1: "it does not know the function", 2: "it has no such register", 3: "it refuses the request",
    4: "it has failed", 5: "it is busy for long", 6: "it is busy", 10: "the gateway before it has no way to it",
    11: "the device behind the gateway does not answer",
}  # fmt: skip
"""Modbus Application Protocol 1.1b3, 7."""

_MODELS_AT_MOST = 100


class Bus:
    """One line: a TCP connection or a serial port, with one or more devices on it."""

    def __init__(self, line: Line, timeout_s: float) -> None:
        self.line = line
        self._client: ModbusTcpClient | ModbusSerialClient
        if line.host is not None:
            framer = FramerType.RTU if line.framing == "rtu" else FramerType.SOCKET
            self._client = ModbusTcpClient(line.host, port=line.port, framer=framer, timeout=timeout_s, retries=0)
        else:
            assert line.serial_port is not None  # noqa: S101 - the configuration demands one of the two
            self._client = ModbusSerialClient(
                line.serial_port,
                baudrate=line.baud_rate,
                parity=line.parity,
                stopbits=line.stop_bits,
                timeout=timeout_s,
                retries=0,
            )

    def read(self, unit: int, block: registers.Block) -> list[int]:
        """Read registers with one request.

        Raises
        ------
        PollError
            The device does not answer, refuses, or answers something else.
        """
        read = self._client.read_input_registers if block.table == "input" else self._client.read_holding_registers
        where = f"{self.line}, unit {unit}, register {block.address}"
        try:
            if not self._client.connect():
                raise PollError(f"{self.line} does not take a connection")
            answer = read(block.address, count=block.count, device_id=unit)
        except (ModbusException, OSError, ValueError) as error:
            self.close()
            raise PollError(f"{where}: no answer ({type(error).__name__})") from None
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            raise PollError(f"{where}: {_EXCEPTIONS.get(code, f'it answers with exception {code}')}")
        if len(answer.registers) != block.count:
            self.close()
            raise PollError(f"{where}: {len(answer.registers)} registers came, {block.count} were asked for")
        return list(answer.registers)

    def close(self) -> None:
        """Close the connection; the next read opens it again."""
        self._client.close()  # type: ignore[no-untyped-call]


class Poller(Protocol):
    """What asks one device."""

    device: Device

    def poll(self) -> dict[str, float | str | bool]:
        """Ask once; the points may be none at all.

        Raises
        ------
        PollError
            There is no reading.
        """


@dataclass(slots=True)
class SunSpecPoller:
    """Finds a SunSpec device's models, and reads the one that measures."""

    device: Device
    bus: Bus
    _model: sunspec.Model | None = None
    _identity: sunspec.Identity = field(default_factory=sunspec.Identity)

    def poll(self) -> dict[str, float | str | bool]:
        """Read the measuring model; the first reading after a scan also says who the device is."""
        said: Mapping[str, str | float] = {}
        if self._model is None:
            self._scan()
            said = self._identity.described
        assert self._model is not None  # noqa: S101 - found by the scan
        try:
            points = sunspec.points(self._read(self._model.address, self._model.registers), self._model)
        except PollError:
            # What was found may be another device now, or the same one with another map.
            self._model = None
            raise
        return {**points, **said} if points else {}

    def _scan(self) -> None:
        models = list(_models(self._read))
        blocks = {
            model.id: self._read(model.address, model.registers)
            for model in models
            if model.id in {sunspec.COMMON, sunspec.NAMEPLATE}
        }
        found = sunspec.identity(blocks)
        declared = self.device.serial_number
        if declared is not None and found.serial_number != declared:
            raise PollError(
                f"{self.bus.line}, unit {self.device.unit}: the device says that its serial number is "
                f"{found.serial_number or 'unknown'}, and {declared} is declared; was it replaced?"
            )
        self._model = sunspec.measuring(models, self.device.model, self.device.instance)
        self._identity = found

    def _read(self, address: int, count: int) -> list[int]:
        return self.bus.read(self.device.unit, registers.Block("holding", address, count))


@dataclass(slots=True)
class ModbusPoller:
    """Reads a meter by its table of registers."""

    device: Device
    bus: Bus

    def poll(self) -> dict[str, float | str | bool]:
        """Read every register of the table."""
        fields = self.device.fields
        answers = {block: self.bus.read(self.device.unit, block) for block in registers.blocks(fields)}
        return dict(registers.points(fields, answers))


def poller(device: Device, bus: Bus) -> Poller:
    """Make what asks a device, by its kind."""
    return SunSpecPoller(device, bus) if device.kind == "sunspec" else ModbusPoller(device, bus)


def _models(read: Callable[[int, int], Sequence[int]]) -> list[sunspec.Model]:
    address = _base(read) + 2
    found: list[sunspec.Model] = []
    for _ in range(_MODELS_AT_MOST):
        # Some devices give no length behind the last model, so the id is read alone.
        (model,) = read(address, 1)
        if model == sunspec.END:
            return found
        (length,) = read(address + 1, 1)
        found.append(sunspec.Model(model, address, length))
        address += length + 2
        if address > 0xFFFF:
            break
    raise PollError("the device's map of SunSpec models has no end")


def _base(read: Callable[[int, int], Sequence[int]]) -> int:
    refusals: list[PollError] = []
    for address in sunspec.BASE_ADDRESSES:
        try:
            if tuple(read(address, 2)) == sunspec.MARK:
                return address
        except PollError as error:
            refusals.append(error)
    if len(refusals) == len(sunspec.BASE_ADDRESSES):
        raise refusals[0]
    raise PollError(
        "the device answers, but has no SunSpec map at register 40000, 50000 or 0; is SunSpec switched on in it?"
    )
