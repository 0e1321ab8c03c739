"""The gateway's configuration: what is polled, where it is kept, where it is published. One TOML file."""

import tomllib
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from devices import mqtt_url
from devices.declaration_file import problem
from devices.declarations import Declared
from devices.declared_values import Identifier, Text
from devices.errors import BrokerUrlError, DeclarationError
from devices.gateway import registers, sunspec
from devices.gateway.spool import Policy
from devices.points import POINTS
from devices.tls import TlsFiles


def _broker(value: str) -> str:
    try:
        address = mqtt_url.parse(value)
    except BrokerUrlError as error:
        raise ValueError(str(error)) from None
    if address.password is not None:
        raise ValueError(
            "a password does not stand in this file: leave the key out and give the whole URL in the environment "
            "as JCM_MRV_MQTT_PUBLISH_URL"
        )
    return value


def _scale(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"expected a number other than 0, such as 0.1, not {value!r}")  # noqa: TRY004, pydantic's way
    if value == 0 or not Decimal(value).is_finite():
        raise ValueError(f"expected a number other than 0, such as 0.1, not {value}")
    return Decimal(value)


def _point(value: str) -> str:
    if value not in POINTS:
        raise ValueError(f'there is no point "{value}": expected one of {", ".join(POINTS)}')
    return value


def _measuring(value: int) -> int:
    if value not in sunspec.MEASURING:
        raise ValueError(
            f"model {value} is no measuring model: expected one of {', '.join(map(str, sunspec.MEASURING))}"
        )
    return value


Seconds = Annotated[float, BeforeValidator(lambda value: float(value) if type(value) in {int, Decimal} else value)]


class Line(Declared):
    """How a device is reached."""

    host: Text | None = Field(default=None, description="a host name or an address (Modbus TCP)")
    port: int = Field(default=502, ge=1, le=65535, description="a TCP port")
    framing: Literal["tcp", "rtu"] = Field(default="tcp", description='"tcp", or "rtu" for RTU frames over TCP')
    serial_port: Text | None = Field(default=None, description='a serial port such as "/dev/ttyUSB0" (Modbus RTU)')
    baud_rate: int = Field(default=9600, ge=300, le=1_000_000, description="bits a second")
    parity: Literal["N", "E", "O"] = Field(default="N", description='"N", "E" or "O"')
    stop_bits: Literal[1, 2] = Field(default=1, description="1 or 2")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.host is not None else str(self.serial_port)


class Register(Declared):
    """A value in a plain Modbus meter."""

    point: Annotated[str, AfterValidator(_point)] = Field(description='a point such as "TotWhExp"')
    address: int = Field(ge=0, le=0xFFFF, description="the register's address as sent, the first being 0")
    table: registers.Table = Field(default="holding", description='"holding" or "input"')
    type: registers.Type = Field(description="one of i16, u16, i32, u32, i64, u64, f32, f64")
    word_order: registers.WordOrder = Field(default="big", description='"big" (the higher word first) or "little"')
    scale: Annotated[Decimal, BeforeValidator(_scale)] = Field(
        default=Decimal(1), description="a number that makes the raw value Wh, W, V, A, Hz, …"
    )
    missing: tuple[int, ...] = Field(default=(), strict=False, description="a list of raw values that mean none")
    zero_is_value: bool = Field(default=False, description="whether 0 in a lifetime register is a count")

    @property
    def field(self) -> registers.Field:
        """As the decoder takes it."""
        return registers.Field(
            self.point, self.address, self.type, self.table, self.word_order, self.scale, self.missing,
            self.zero_is_value,
        )  # fmt: skip


class Device(Line):
    """A device that is polled."""

    id: Identifier = Field(description="the id of a device that is declared at the site")
    kind: Literal["sunspec", "modbus"] = Field(description='"sunspec" or "modbus"')
    unit: int = Field(default=1, ge=0, le=255, description="a Modbus unit (slave address), 0 to 255")
    poll_interval_s: Seconds = Field(default=60.0, ge=0.02, le=3600, description="seconds, 0.02 to 3600")
    timeout_s: Seconds = Field(default=3.0, gt=0, le=60, description="seconds, up to 60")
    serial_number: Text | None = Field(default=None, description="the serial number that the device itself gives")
    model: Annotated[int, AfterValidator(_measuring)] | None = Field(
        default=None, description="the SunSpec model that readings are made of"
    )
    instance: int | None = Field(default=None, ge=1, description="which of several equal models, from 1")
    register_table: tuple[Register, ...] = Field(
        default=(), alias="register", strict=False, description="[[device.register]] tables"
    )

    @property
    def line(self) -> Line:
        """How it is reached; equal for devices on one line."""
        return Line(**{name: getattr(self, name) for name in Line.model_fields})

    @cached_property
    def fields(self) -> tuple[registers.Field, ...]:
        """The table of registers, as the decoder takes it."""
        return tuple(register.field for register in self.register_table)


class Gateway(Declared):
    """The gateway itself."""

    id: Identifier = Field(description="the id of a device of kind gateway that is declared at the site")
    site: Identifier = Field(description="the id of a declared site")
    broker: Annotated[str, AfterValidator(_broker)] | None = Field(
        default=None, description="the broker's URL without a password, such as mqtts://broker.example:8883"
    )
    ca_file: Text | None = Field(
        default=None, description="a file (PEM) of the authority that the broker's certificate is signed by"
    )
    cert_file: Text | None = Field(default=None, description="a file (PEM) with the site's certificate")
    key_file: Text | None = Field(default=None, description="a file (PEM, mode 600) with its private key")
    mqtt_version: Literal["3.1.1", "5"] = Field(default="5", description='"5" or "3.1.1"')
    spool: Text = Field(description="the file that readings are kept in until the broker has them")
    spool_limit_mb: int = Field(ge=1, le=1_000_000, description="megabytes, 1 or more")
    when_full: Policy = Field(description='"drop-oldest" or "drop-newest": which readings a full store gives up')
    backfill_per_s: Seconds = Field(
        default=50.0, ge=0.1, le=10_000, description="old readings a second after an outage"
    )
    grace_s: Seconds = Field(
        default=30.0, ge=5, le=86_400, description="seconds, 5 or more, that acknowledged readings are kept"
    )
    health_interval_s: Seconds = Field(default=60.0, ge=0.1, le=86_400, description="seconds, 0.1 or more")

    @property
    def tls_files(self) -> TlsFiles:
        """What TLS to the broker goes by."""
        ca, certificate, key = (Path(one) if one else None for one in (self.ca_file, self.cert_file, self.key_file))
        return TlsFiles(ca, certificate, key)


class Configuration(Declared):
    """The whole file."""

    gateway: Gateway = Field(description="a [gateway] table")
    devices: tuple[Device, ...] = Field(
        alias="device", min_length=1, strict=False, description="one or more [[device]] tables"
    )


def load(path: Path) -> Configuration:
    """Read the file.

    Raises
    ------
    DeclarationError
        The file cannot be read or says what cannot be; every problem names its key and what is expected.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DeclarationError(path, [f"cannot be read: {(error.strerror or str(error)).lower()}"]) from None
    except UnicodeDecodeError as error:
        raise DeclarationError(path, [f"is not UTF-8 text: byte {error.start} is wrong"]) from None
    return parse(text, path)


def parse(text: str, file: Path | str) -> Configuration:
    """Read the text of the file; see `load`."""
    try:
        content: dict[str, Any] = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError) as error:
        raise DeclarationError(file, [f"this is not TOML: {error}"]) from None
    try:
        configuration = Configuration.model_validate(content)
    except ValidationError as error:
        # A misspelt key first: that another one is missing follows from it.
        errors = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
        raise DeclarationError(file, [problem(dict(one), Configuration, "") for one in errors]) from None
    problems = list(_contradictions(configuration))
    if problems:
        raise DeclarationError(file, problems)
    return configuration


def _contradictions(configuration: Configuration) -> Iterator[str]:
    for name, count in Counter([configuration.gateway.id, *(one.id for one in configuration.devices)]).items():
        if count > 1:
            yield f'"{name}" is the id of {count} devices: expected each id once, the gateway\'s included'
    if configuration.gateway.key_file is not None and configuration.gateway.cert_file is None:
        yield "gateway: key_file: expected cert_file beside it"
    for device in configuration.devices:
        label = f'device "{device.id}"'
        if (device.host is None) == (device.serial_port is None):
            yield f"{label}: expected either host or serial_port"
        if device.kind == "modbus":
            yield from _modbus(device, label)
        elif device.register_table:
            yield f"{label}: register: a SunSpec device says itself where its values are: expected no table"
    yield from _lines(configuration)


def _modbus(device: Device, label: str) -> Iterator[str]:
    if not device.register_table:
        yield f"{label}: register is missing: expected one or more [[device.register]] tables"
    for key in ("model", "instance", "serial_number"):
        if getattr(device, key) is not None:
            yield f'{label}: {key}: only a device of kind "sunspec" has one'
    for point, count in Counter(register.point for register in device.register_table).items():
        if count > 1:
            yield f"{label}: point {point} stands {count} times: expected each point once"
    for one in device.fields:
        if one.end > 0x10000:
            yield f"{label}: register {one.address}: there is no register behind 65535"


def _lines(configuration: Configuration) -> Iterator[str]:
    """One port is one line: two sets of its parameters cannot both be right."""
    by_name: dict[str, Device] = {}
    for device in configuration.devices:
        first = by_name.setdefault(str(device.line), device)
        if first.line != device.line:
            yield (
                f'device "{device.id}": {device.line} is declared otherwise for device "{first.id}": '
                "expected the same framing, baud rate, parity and stop bits for a line"
            )
