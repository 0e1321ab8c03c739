"""What a device knows at one moment, before its family's payload is made of it."""

from typing import NamedTuple


class Sample(NamedTuple):
    """One sample of one device, in SI units; the order of the fields is that of `Physics`' columns."""

    at: int
    """True time, s since 1970 UTC."""
    clock: int
    """The same by the device's clock."""
    day: int
    """The local day, counted from the first that is simulated."""
    second: int
    """Seconds since local midnight."""
    w: float
    total_mwh: int
    """The lifetime register as the device shows it: whole counts, within its width."""
    today_mwh: int
    """The daily counter, 0 at local midnight."""
    v: float
    a: float
    """Of each of three phases."""
    hz: float
    dcw: float
    dcv: float
    dca: float
    cabinet_c: float
    air_c: float
    poa_w_m2: float
    sentinel: bool = False
    """A read that failed: the family's own sign for it stands in place of the values."""
    asleep_zero: bool = False
    """A device that is not awake yet: its registers show 0."""
    historical: bool = False
    """Kept while the link was away, and sent later."""
