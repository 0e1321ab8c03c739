"""Writing a bundle: what a frozen revision was computed from, down to the payloads, with proofs against the seals."""

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import psycopg

from mrv.basis import Credited, canonical_text
from mrv.computation import Progress, compute
from mrv.errors import RecomputeError
from mrv.evidence.archive import Writer
from mrv.evidence.canonical import (
    SALT_BYTES,
    Commitments,
    Message,
    Seal,
    instant,
    message_leaf,
    microseconds,
    utc_day,
)
from mrv.evidence.documents import public_digest, public_form
from mrv.evidence.errors import EvidenceError
from mrv.evidence.keys import SigningKey
from mrv.evidence.merkle import Tree, prove
from mrv.evidence.rows import READINGS_HEAD, Line, Used, UsedPart, proof_json
from mrv.evidence.sealing import day_span
from mrv.inputs import Series, StoredReadings
from mrv.quality.receipts import Deliveries
from mrv.quality.rules import rule_set
from mrv.revisions import Revision, differences, find_revision
from mrv.store import snapshot
from sql.named import load

CLAIM_FORMAT = "jcm-mrv claim 1"
DECLARATION, METHODOLOGY, RESULT = "declaration.json", "methodology.json", "result.json"
DOCUMENTS = (DECLARATION, METHODOLOGY, RESULT)
TIMESTAMPS = "timestamps.jsonl"
INPUTS = ("deliveries.json", "receipts.json", "registers.json")
_QUERIES = load("evidence")
_PAGE = 5000


@dataclass
class Exported:
    """What a bundle holds."""

    er_tco2: int
    readings: int = 0
    messages: int = 0
    days: int = 0
    seals: int = 0


@dataclass
class _Needed:
    """Which messages the readings came from, by site and UTC day of receipt."""

    days: dict[tuple[str, date], set[int]] = field(default_factory=dict)

    def add(self, site: str, received_us: int, message_id: int) -> None:
        self.days.setdefault((site, utc_day(received_us)), set()).add(message_id)


def export(
    connection: psycopg.Connection,
    project: str,
    days: tuple[date, date],
    revision: int | None,
    path: Path,
    *,
    key: SigningKey,
    code_version: str,
    families: Mapping[str, str],
    redacted: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write the bundle of a frozen revision.

    Parameters
    ----------
    connection
        In autocommit mode, with the role of the MRV module.
    revision
        Its number; None: the latest.
    path
        A new file.
    key
        Signs the manifest and the claim.
    families
        Texts of the device families that there are, by name.
    redacted
        Put commitments in the place of what is confidential.

    Raises
    ------
    EvidenceError
        A day is not sealed yet, or messages are not what was sealed.
    RecomputeError
        The revision does not recompute.
    WrongUseError, PeriodError
        There is no such revision.
    """
    found = find_revision(connection, project, *days, revision)
    _check_sealed(connection, found)
    salt = _salt(connection, found, days)
    writer = Writer(path)
    try:
        with snapshot(connection):
            return _Export(connection, found, days, salt, writer, families, redacted=redacted).run(
                key, code_version, progress
            )
    finally:
        writer.abandon()


def _check_sealed(connection: psycopg.Connection, revision: Revision) -> None:
    row = connection.execute(_QUERIES["last_sealed_day"]).fetchone()
    last = None if row is None else row[0]
    result = revision.result  # raises when it is unfinished
    if last is None:
        raise EvidenceError(
            f"nothing is sealed yet, so there is no evidence for {result.project}; `jcm-mrv evidence seal` "
            "seals the days that are over"
        )


def _salt(connection: psycopg.Connection, revision: Revision, days: tuple[date, date]) -> bytes:
    period = {"project": revision.result.project, "first": days[0], "last": days[1], "revision": revision.number}
    connection.execute(_QUERIES["keep_salt"], {**period, "salt": secrets.token_bytes(SALT_BYTES)})
    row = connection.execute(_QUERIES["salt"], period).fetchone()
    assert row is not None  # noqa: S101 - inserted above
    return bytes(row[0])


class _Export:
    def __init__(
        self,
        connection: psycopg.Connection,
        revision: Revision,
        days: tuple[date, date],
        salt: bytes,
        writer: Writer,
        families: Mapping[str, str],
        *,
        redacted: bool,
    ) -> None:
        self._connection = connection
        self._revision = revision
        self._days = days
        self._salt = salt
        self._writer = writer
        self._families = families
        self._redacted = redacted
        self._readings = StoredReadings(connection, revision.result.project, revision.received_until)
        self._needed = _Needed()
        self._registers: list[dict[str, Any]] = []
        self._receipts: list[dict[str, list[int]] | None] = []
        self._deliveries: dict[str, list[list[int]]] = {}
        self._parts: list[UsedPart] = []
        self._done = Exported(revision.result.er_tco2)

    def run(self, key: SigningKey, code_version: str, progress: Progress | None) -> Exported:
        revision, writer = self._revision, self._writer
        again = compute(
            revision.basis,
            *self._days,
            self._register,
            revision=revision.number,
            received_until=revision.received_until,
            code_version=revision.result.code_version,
            progress=progress,
            rules=rule_set(revision.result.rule_set),
            read_deliveries=self._deliveries_of,
        ).result
        text = canonical_text(again.as_json())
        for difference in differences(json.loads(revision.result_text or ""), json.loads(text)):
            raise RecomputeError(
                f"revision {revision.number} of {again.project} does not recompute, so no bundle of it is made: "
                f"{difference}"
            )
        writer.add("registers.json", canonical_text(self._registers))
        writer.add("receipts.json", canonical_text(self._receipts))
        writer.add("deliveries.json", canonical_text(self._deliveries))
        history = self._history()
        self._sparkplug(history)
        if not self._redacted:
            with writer.member("parts.jsonl") as write:
                for part in self._parts:
                    write(part.line())
            writer.add("history.json", canonical_text(history))
            for name in sorted(self._used_families(history)):
                writer.add(f"families/{name}.toml", self._families[name])
            writer.add("salts.json", canonical_text({"documents": self._salt.hex()}))
        keys = self._seals() | {key.public.id}
        self._timestamps()
        self._messages()
        texts = self._documents()
        self._claim(texts, key)
        known = {
            name: bytes(raw).hex()
            for name, raw in self._connection.execute(_QUERIES["public_keys"], {"keys": sorted(keys)})
        }
        writer.add("keys.json", canonical_text(known | {key.public.id: key.public.raw.hex()}))
        writer.close(
            {
                "redacted": self._redacted,
                "project": again.project,
                "period": {"from": again.first_day.isoformat(), "to": again.last_day.isoformat()},
                "revision": revision.number,
                "code_version": code_version,
            },
            key,
        )
        return self._done

    def _register(self, credited: Credited, start: datetime, end: datetime) -> Series:
        """Read a register as the computation does, and write the readings with the messages they came from."""
        series = self._readings.read(credited, start, end)
        name = f"registers/{len(self._registers) + 1:04}.csv"
        device = self._readings.number(credited)
        with self._writer.member(name) as write:
            write(f"{READINGS_HEAD}\n")
            if len(series.t_us):
                span = {
                    "device": device,
                    "start": instant(int(series.t_us[0])),
                    "end": instant(int(series.t_us[-1])),
                    "cut_off": self._revision.received_until,
                }
                row = self._connection.execute(_QUERIES["joined"], {"device": device}).fetchone()
                joined = bool(row and row[0])
                lines = []
                for fields in self._stream(f"used_{credited.column}", span | {"joined": joined}):
                    used = Used(*fields)
                    self._needed.add(credited.site.id, used.message_us, used.message_id)
                    lines.append(used.line())
                    self._done.readings += 1
                    if len(lines) == _PAGE:
                        write("".join(lines))
                        lines.clear()
                write("".join(lines))
                if joined:
                    self._add_parts(credited, span)
        self._registers.append(
            {
                "file": name,
                "sha256": self._writer.sha256(name),
                "system": credited.system.id,
                "site": credited.site.id,
                "device": credited.device.id,
                "point": credited.point,
                "opening": series.opening is not None,
                "closing": series.closing is not None,
            }
        )
        received = series.receipts
        self._receipts.append(
            None
            if received is None
            else {"arrival_us": received.arrival_us.tolist(), "conflict_us": received.conflict_us.tolist()}
        )
        return series

    def _deliveries_of(self, site: str, start: datetime, end: datetime) -> Deliveries:
        found = self._readings.deliveries(site, start, end)
        self._deliveries[site] = [array.tolist() for array in found.arrays()]
        return found

    def _add_parts(self, credited: Credited, span: dict[str, object]) -> None:
        for ts_us, message_us, message_id, name in self._stream("parts", span):
            part = UsedPart(credited.site.id, credited.device.id, ts_us, message_us, message_id, name)
            self._parts.append(part)
            self._needed.add(part.site, part.message_us, part.message_id)

    def _stream(self, name: str, given: Mapping[str, object]) -> Iterator[tuple[Any, ...]]:
        with self._connection.cursor(name=f"jcm_mrv_{name}", binary=True) as cursor:
            cursor.itersize = _PAGE
            cursor.execute(_QUERIES[name], given)
            yield from cursor

    def _history(self) -> list[dict[str, Any]]:
        given = {"project": self._revision.result.project, "cut_off": self._revision.received_until}
        rows = self._connection.execute(_QUERIES["declaration_history"], given)
        return [
            {"revision": number, "applied_us": applied, "declaration": json.loads(content)}
            for number, applied, content in rows
        ]

    def _used_families(self, history: list[dict[str, Any]]) -> set[str]:
        named = {device.get("profile", "native") for one in history for device in one["declaration"].get("device", [])}
        return {name for name in named if name in self._families}

    def _sparkplug(self, history: list[dict[str, Any]]) -> None:
        """Add what a Sparkplug node said since its birth: what a later message means hangs on it."""
        nodes: set[tuple[str, str, str]] = set()
        for one in history:
            for device in one["declaration"].get("device", []):
                address = device.get("address") or {}
                if {"group", "edge"} <= set(address):
                    nodes.add((device["site"], address["group"], address["edge"]))
        for site, group, edge in sorted(nodes):
            of_site = sorted(day for named, day in self._needed.days if named == site)
            if not of_site:
                continue
            start, end = day_span(of_site[0])[0], day_span(of_site[-1])[1]
            born = self._connection.execute(
                _QUERIES["last_birth"], {"site": site, "subject": f"{group}/{edge}", "before": start}
            ).fetchone()
            below = {
                "site": site,
                "start": start if born is None else born[0],
                "end": min(end, self._revision.received_until),
                "node": f"%/{like(group)}/%/{like(edge)}",
                "device": f"%/{like(group)}/%/{like(edge)}/%",
            }
            for received_us, message_id in self._connection.execute(_QUERIES["messages_below"], below).fetchall():
                self._needed.add(site, received_us, message_id)

    def _seals(self) -> set[str]:
        """Write every seal of the sites between the first and the last day needed; return the keys that signed."""
        keys: set[str] = set()
        with self._writer.member("seals.jsonl") as write:
            for site in sorted({site for site, _ in self._needed.days}):
                of_site = sorted(day for named, day in self._needed.days if named == site)
                given = {"site": site, "first": of_site[0], "last": of_site[-1]}
                found = set()
                for statement, signature, _ in self._connection.execute(_QUERIES["seals"], given):
                    seal = Seal.from_statement(statement)
                    keys.add(seal.key)
                    found.add(seal.day)
                    write(canonical_text({"statement": statement, "signature": bytes(signature).hex()}) + "\n")
                    self._done.seals += 1
                for day in of_site:
                    if day not in found:
                        raise EvidenceError(
                            f"messages of {day} ({site}) are not sealed yet; `jcm-mrv evidence seal` seals a day "
                            "once it is over in UTC"
                        )
        return keys

    def _timestamps(self) -> None:
        """Write the time stamps that these seals have by now; no member where there is none."""
        lines = []
        for site in sorted({site for site, _ in self._needed.days}):
            of_site = [day for named, day in self._needed.days if named == site]
            given = {"site": site, "first": min(of_site), "last": max(of_site)}
            for day, token in self._connection.execute(_QUERIES["timestamps"], given):
                encoded = base64.b64encode(token).decode()
                lines.append(canonical_text({"site": site, "day": day.isoformat(), "token": encoded}) + "\n")
        if lines:
            self._writer.add(TIMESTAMPS, "".join(lines))

    def _messages(self) -> None:
        days = []
        for number, ((site, day), ids) in enumerate(sorted(self._needed.days.items()), 1):
            given = {"site": site, "first": day, "last": day}
            row = self._connection.execute(_QUERIES["seals"], given).fetchone()
            assert row is not None  # noqa: S101 - seen by _seals
            seal, salt = Seal.from_statement(row[0]), bytes(row[2])
            name = f"messages/{number:06}.jsonl"
            leaves: list[bytes] = []
            shown: list[int] = []
            start, end = day_span(day)
            with self._writer.member(name) as write:
                lines = []
                for fields in self._stream("messages_of_site", {"site": site, "start": start, "end": end}):
                    message = Message(*fields)
                    committed = Commitments.of(message, salt)
                    leaf = message_leaf(message, committed)
                    if message.message_id in ids:
                        shown.append(len(leaves))
                        lines.append(self._line(len(leaves), leaf, message, committed))
                    leaves.append(leaf)
                write("".join(lines))
            self._check_day(seal, leaves, len(shown), len(ids))
            self._done.messages += len(shown)
            self._done.days += 1
            entry: dict[str, Any] = {
                "site": site,
                "day": day.isoformat(),
                "file": name,
                "proof": proof_json(prove(leaves, shown)),
            }
            days.append(entry if self._redacted else entry | {"salt": salt.hex()})
        with self._writer.member("days.jsonl") as write:
            for entry in days:
                write(canonical_text(entry) + "\n")

    def _line(self, place: int, leaf: bytes, message: Message, committed: Commitments) -> str:
        if self._redacted:
            return Line(place, leaf, message._replace(topic="", payload=b""), committed).line()
        return Line(place, leaf, message, None).line()

    @staticmethod
    def _check_day(seal: Seal, leaves: list[bytes], shown: int, needed: int) -> None:
        tree = Tree()
        for leaf in leaves:
            tree.add(leaf)
        if shown != needed:
            raise EvidenceError(
                f"{needed - shown} messages of {seal.day} ({seal.site}) that readings came from are not in the "
                "database any more; restore them from a backup"
            )
        if tree.count != seal.messages or tree.root() != seal.root:
            raise EvidenceError(
                f"the messages of {seal.day} ({seal.site}) are not what was sealed: {seal.messages} were, "
                f"{tree.count} are there now; restore them from a backup"
            )

    def _documents(self) -> dict[str, str]:
        basis = self._revision.basis
        texts = {
            DECLARATION: basis.declarations_text,
            METHODOLOGY: basis.methodology_text,
            RESULT: self._revision.result_text or "",
        }
        for name, text in texts.items():
            shown = canonical_text(public_form(name, json.loads(text), self._salt)) if self._redacted else text
            self._writer.add(name, shown)
        return texts

    def _claim(self, texts: Mapping[str, str], key: SigningKey) -> None:
        """Write what is said of the revision; the same bytes in the full bundle and in the redacted one."""
        result, revision = self._revision.result, self._revision
        claim = canonical_text(
            {
                "format": CLAIM_FORMAT,
                "project": result.project,
                "period": {"from": result.first_day.isoformat(), "to": result.last_day.isoformat()},
                "revision": revision.number,
                "received_until_us": microseconds(revision.received_until),
                "inputs_digest": result.inputs_digest,
                "documents": {name: public_digest(name, text, self._salt) for name, text in texts.items()},
                "inputs": {name: self._writer.sha256(name) for name in INPUTS},
                "er_tco2": result.er_tco2,
                "vintages": {str(vintage.year): vintage.er_tco2 for vintage in result.vintages},
                "key": key.public.id,
            }
        )
        self._writer.add("claim.json", claim)
        self._writer.add("claim.sig", key.sign(claim.encode()).hex())


def like(text: str) -> str:
    """Escape a text for SQL's `like`."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
