"""What the verifiers' API takes, and what it answers with where `mrv.tracing` has no shape of its own for it."""

from base64 import b64encode
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints

from mrv.tracing.inclusion import InclusionTrace
from mrv.tracing.messages import PayloadTrace

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000, pattern=r"^[^\x00]*$")]
Short = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]


class NewFinding(BaseModel):
    """A finding to be raised; what is not named under `about` is not meant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {
        "kind": "CL", "text": "Why did the register fall on this day?", "device": "site-1/inv-1", "day": "2021-03-14",
    }})  # fmt: skip

    kind: Literal["CAR", "CL", "FAR"] = Field(
        description="corrective action request, clarification request, forward action request"
    )
    text: Text
    system: Short | None = None
    device: Short | None = Field(default=None, description="as site/device")
    day: date | None = None
    rule: Short | None = Field(default=None, description="a rule's id, as register.reset@1")
    message_id: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None


class Remark(BaseModel):
    """What is said to a finding."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"text": "The logger was exchanged; see attachment 3."}}
    )

    text: Text


class NewAttestation(BaseModel):
    """A detached Ed25519 signature over the bytes of `/statement`."""

    model_config = ConfigDict(extra="forbid")

    statement: Base64Bytes = Field(description="the bytes that were signed, in Base64", max_length=200_000)
    signature: Base64Bytes = Field(description="64 bytes, in Base64", max_length=200)


class Message(BaseModel):
    """A message as it was received, what it decodes to, and what became of it."""

    received_at: datetime
    message_id: int
    site: str | None
    topic: str
    payload: str = Field(description="the bytes, in Base64")
    sha256: str
    sha256_holds: bool = Field(description="whether the bytes have the digest that was kept with them")
    qos: int
    retained: bool
    redelivered: bool
    arrived_at: datetime = Field(description="the collector's clock")
    collector: str
    outcome: str
    readings: int
    decoded: list[dict[str, Any]] = Field(description="what it decodes to now, by the declarations of its day")
    not_decoded: str | None = Field(description="why it is not decoded here")
    stored: list[dict[str, Any]] = Field(description="the readings that came of it")
    quarantined: list[dict[str, Any]]

    @classmethod
    def of(cls, found: PayloadTrace, rows: dict[str, list[dict[str, Any]]]) -> "Message":
        """Take over what was traced; `rows` are its lists, as JSON."""
        return cls(
            received_at=found.message.received_at,
            message_id=found.message.message_id,
            site=found.site,
            topic=found.topic,
            payload=b64encode(found.payload).decode(),
            sha256=found.sha256,
            sha256_holds=found.sha256_holds,
            qos=found.qos,
            retained=found.retained,
            redelivered=found.redelivered,
            arrived_at=found.arrived_at,
            collector=found.collector,
            outcome=found.outcome,
            readings=found.readings_count,
            not_decoded=found.not_decoded,
            **rows,
        )


class Proof(BaseModel):
    """That a message is among those that were sealed on its day; see docs/evidence.md for how to check it."""

    sealed: bool
    due: datetime = Field(description="from when on the day may be sealed")
    holds: bool = Field(description="whether the path leads from this message to the sealed root")
    problem: str | None
    document: dict[str, Any] = Field(
        description="message, leaf, path, root, seal and signature, to be checked elsewhere"
    )

    @classmethod
    def of(cls, proof: InclusionTrace, document: dict[str, Any]) -> "Proof":
        """Take over a proof."""
        return cls(sealed=proof.sealed, due=proof.due, holds=proof.holds, problem=proof.problem, document=document)
