"""What the operators' API answers with; the names are those of the pages and of `jcm-mrv status --json`."""

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from deploy.web.operator.fleet import Fleet, SiteLine, SiteState
from ingest.health import Count

Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000, pattern=r"^[^\x00]*$")]


class Account(BaseModel):
    """Messages or readings, and what became of them; `received` is the sum of the others."""

    model_config = ConfigDict(json_schema_extra={"example": {
        "received": 86412, "stored": 86400, "duplicate": 10, "conflict": 1, "quarantined": 1, "balanced": True,
    }})  # fmt: skip

    received: int
    stored: int
    duplicate: int
    conflict: int
    quarantined: int
    balanced: bool

    @classmethod
    def of(cls, count: Count) -> "Account":
        """Take over a count."""
        return cls(
            received=count.received,
            stored=count.stored,
            duplicate=count.duplicate,
            conflict=count.conflict,
            quarantined=count.quarantined,
            balanced=count.balanced,
        )


class Site(BaseModel):
    """A declared site, and how its ingestion stands."""

    id: str
    name: str
    project: str
    time_zone: str
    latitude: float | None
    longitude: float | None
    state: SiteState
    last_received: datetime | None
    quiet_s: float | None = Field(description="since the last message [s]; null: there was none")
    lag_s: float | None = Field(description="the least of its devices: from a newest reading's own time to now [s]")
    readings_last_minute: int
    readings_last_hour: int
    readings_last_day: int
    devices: int
    silent_devices: list[str] = Field(description="declared devices without a reading in the last day")
    quarantine: int = Field(description="entries that wait in quarantine")
    conflicts: int = Field(description="other values that were offered for a device and time")
    messages: Account
    readings: Account

    @classmethod
    def of(cls, line: SiteLine) -> "Site":
        """Take over a line of the fleet."""
        return cls(
            **{name: getattr(line, name) for name in cls.model_fields if name not in {"messages", "readings"}}
            | {"silent_devices": list(line.silent_devices)},
            messages=Account.of(line.messages),
            readings=Account.of(line.readings),
        )


class FleetNow(BaseModel):
    """All sites that whoever asks may see, silence first."""

    at: datetime
    balanced: bool = Field(description="whether every message ended as exactly one of the four outcomes, at every site")
    messages: Account
    readings: Account
    sites: list[Site]

    @classmethod
    def of(cls, fleet: Fleet) -> "FleetNow":
        """Take over the fleet."""
        return cls(
            at=fleet.at,
            balanced=fleet.balanced,
            messages=Account.of(fleet.messages),
            readings=Account.of(fleet.readings),
            sites=[Site.of(line) for line in fleet.sites],
        )


class DeviceGaps(BaseModel):
    """One device's hours."""

    device: str
    readings: list[int] = Field(description="readings by hour, the oldest first")
    usual: int = Field(description="what an hour with readings usually has (the median)")


class SiteGaps(BaseModel):
    """Readings by device and hour, up to the hour that is going on."""

    start: datetime
    hours: int
    devices: list[DeviceGaps]


class DeviceClock(BaseModel):
    """How a device's clock seems to be off."""

    site: str
    device: str
    readings: int = Field(description="how many of its newest readings were looked at")
    ahead_s: float = Field(description="how far it is ahead at least [s]")
    usual_delay_s: float = Field(description="the median from a reading's own time to its receipt [s]")
    newest: datetime


class Entry(BaseModel):
    """An entry of the quarantine."""

    id: int
    received_at: datetime
    site: str
    topic: str
    reason: str
    detail: str
    element: int | None = Field(description="place in the payload's list; null: the whole message")
    released_at: datetime | None = None


class EntryDetail(Entry):
    """An entry with its message."""

    message_id: int
    arrived_at: datetime
    qos: int
    retained: bool
    redelivered: bool
    collector: str
    outcome: str
    sha256: str
    payload_bytes: int


class ReplayOrder(BaseModel):
    """Which entries to put through the collector's way again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"ids": [17, 18], "dry_run": True}})

    ids: list[Annotated[int, Field(ge=1, le=2**63 - 1)]] = Field(min_length=1, max_length=1000)
    dry_run: bool = Field(default=False, description="say what would become of them, and change nothing")


class ReplayOutcome(BaseModel):
    """What became of the messages."""

    dry_run: bool
    messages: int
    written: dict[str, int]
    readings: dict[str, int]
    released: int
    refused: dict[str, int]


class Alert(BaseModel):
    """An alert that fires, or fired."""

    id: int
    rule: str
    subject: str
    severity: str
    said: str
    state: str
    since: datetime
    resolved_at: datetime | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    note: str | None
    muted_until: datetime | None


class Acknowledgement(BaseModel):
    """That somebody has seen an alert."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"note": "the modem is being replaced"}})

    note: Note = ""


class Mute(BaseModel):
    """That an alert is to stay quiet for a while."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"until": "2026-11-23T06:00:00Z"}})

    until: AwareDatetime
