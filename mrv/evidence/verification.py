"""Checking a bundle: no database, no network, nothing but the file, and a key that one already trusts."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.x509 import Certificate
from numpy.typing import NDArray

from devices.points import POINTS
from devices.topics import Topic
from mrv.basis import Basis, Credited, canonical_text
from mrv.computation import compute
from mrv.errors import MrvError
from mrv.evidence.archive import MANIFEST, SIGNATURE, Reader
from mrv.evidence.canonical import Commitments, Seal, instant, label, message_leaf, utc_day
from mrv.evidence.documents import public_digest, text_digest, without_commitments
from mrv.evidence.errors import BundleError, TimestampError
from mrv.evidence.export import CLAIM_FORMAT, DECLARATION, DOCUMENTS, INPUTS, METHODOLOGY, RESULT, TIMESTAMPS
from mrv.evidence.keys import VerifyKey
from mrv.evidence.merkle import ProofError, proven_root
from mrv.evidence.redecoding import Decoder
from mrv.evidence.rows import READINGS_HEAD, Line, Used, UsedPart, proof_from
from mrv.evidence.timestamping import check_token
from mrv.inputs import Series
from mrv.meters.rules import MeterRule
from mrv.quality.receipts import Deliveries, Receipts
from mrv.quality.rules import REGISTER_ONLY, rule_set
from mrv.register_rules import to_mwh
from mrv.revisions import differences

_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError)


@dataclass
class Verified:
    """What was checked and held."""

    project: str = ""
    first_day: str = ""
    last_day: str = ""
    revision: int = 0
    er_tco2: int = 0
    redacted: bool = False
    messages: int = 0
    sealed: int = 0
    """Messages of the same days and sites, in the bundle or not."""
    days: int = 0
    seals: int = 0
    readings: int = 0
    stamps: int = 0
    """Time stamps of seals, each over its seal; `first_stamp` and `last_stamp` where their signatures were checked."""
    first_stamp: datetime | None = None
    last_stamp: datetime | None = None
    keys: list[str] = field(default_factory=list)
    trusted: bool = False
    """Whether every key that signed was given."""
    unchecked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Register:
    entry: dict[str, Any]
    used: list[Used]

    @property
    def device(self) -> Topic:
        return Topic(self.entry["site"], self.entry["device"])

    @property
    def label(self) -> str:
        return f"{self.entry['site']}/{self.entry['device']}"


def verify(path: Path, trusted: Sequence[VerifyKey] = (), *, tsa_roots: Sequence[Certificate] = ()) -> Verified:
    """Check a bundle.

    Parameters
    ----------
    path
        The file.
    trusted
        Keys that may have signed; none: those that the bundle brings along, which prove only that it fits itself.
    tsa_roots
        Certificates that the signatures of time stamps must lead to; none: these are not checked.

    Raises
    ------
    BundleError
        The first thing that does not fit, by name.
    """
    reader = Reader(path)
    try:
        return _Check(reader, trusted, tsa_roots).run()
    except _UNREADABLE as error:
        raise BundleError(f"the bundle cannot be read: {type(error).__name__}: {error}") from None
    finally:
        reader.close()


class _Check:
    def __init__(self, reader: Reader, trusted: Sequence[VerifyKey], tsa_roots: Sequence[Certificate]) -> None:
        self._reader = reader
        self._tsa_roots = tsa_roots
        self._trusted = {key.id: key for key in trusted}
        self._keys: dict[str, VerifyKey] = {}
        self._used_keys: dict[str, None] = {}
        self._verified = Verified()
        self._seals: dict[tuple[str, date], Seal] = {}
        self._registers: list[_Register] = []
        self._receipts: list[dict[str, list[int]] | None] = []
        self._deliveries: dict[str, list[list[int]]] = {}
        self._by_message: dict[tuple[int, int], list[tuple[_Register, Used]]] = {}

    def run(self) -> Verified:
        done = self._verified
        manifest = self._reader.manifest
        done.redacted = manifest["redacted"]
        self._read_keys()
        self._signature(MANIFEST, self._reader.manifest_text, self._reader.signature_text, manifest["key"])
        texts = {name: self._reader.text(name) for name in DOCUMENTS}
        claim = self._claim(texts)
        done.project, done.revision = claim["project"], claim["revision"]
        done.first_day, done.last_day, done.er_tco2 = claim["period"]["from"], claim["period"]["to"], claim["er_tco2"]
        for name in ("project", "period", "revision"):
            if manifest[name] != claim[name]:
                raise BundleError(f"{MANIFEST} and claim.json name two different {name}s")
        self._check_seals()
        self._check_timestamps()
        self._read_registers(claim)
        self._check_messages(None if done.redacted else self._decoder())
        self._recompute(texts, claim)
        # What is more particular was said before; this is what no check of a content has seen.
        for name in self._reader.differing:
            raise BundleError(f"{name} was changed: its bytes are not those that the manifest names")
        done.keys = list(self._used_keys)
        done.trusted = bool(self._trusted)
        if done.redacted:
            done.unchecked += [
                "that the readings follow from the payloads, which are withheld",
                "the digest of the inputs, which covers values of the declaration that are withheld",
            ]
        return done

    def _read_keys(self) -> None:
        for name, raw in json.loads(self._reader.text("keys.json")).items():
            key = VerifyKey.from_raw(bytes.fromhex(raw))
            if key.id != name:
                raise BundleError(f"keys.json: key {name} is not what its name says")
            self._keys[name] = key

    def _signature(self, what: str, text: str, signature: str, key: str) -> None:
        if self._trusted and key not in self._trusted:
            given = ", ".join(name[:16] for name in self._trusted)
            raise BundleError(f"{what} is signed by key {key[:16]}, not by the key that was given ({given})")
        if key not in self._keys:
            raise BundleError(f"{what} names key {key[:16]}, which is not in keys.json")
        try:
            raw = bytes.fromhex(signature)
        except ValueError:
            raw = b""
        if not self._keys[key].signed(raw, text.encode()):
            source = f" ({SIGNATURE})" if what == MANIFEST else ""
            raise BundleError(f"{what} was changed: the signature{source} of key {key[:16]} does not fit it")
        self._used_keys[key] = None

    def _claim(self, texts: dict[str, str]) -> dict[str, Any]:
        text = self._reader.text("claim.json")
        claim: dict[str, Any] = json.loads(text)
        if claim["format"] != CLAIM_FORMAT:
            raise BundleError(f"claim.json is of the format {claim['format']}; this version reads {CLAIM_FORMAT}")
        self._signature("claim.json", text, self._reader.text("claim.sig").strip(), claim["key"])
        redacted = self._verified.redacted
        salt = b"" if redacted else bytes.fromhex(json.loads(self._reader.text("salts.json"))["documents"])
        for name, document in texts.items():
            digest = text_digest(document) if redacted else public_digest(name, document, salt)
            if digest != claim["documents"][name]:
                raise BundleError(f"{name} is not the document that claim.json was signed for")
        result = json.loads(texts[RESULT])
        stated = {str(vintage["year"]): vintage["er_tco2"] for vintage in result["vintages"]}
        if (result["er_tco2"], stated) != (claim["er_tco2"], claim["vintages"]):
            raise BundleError(f"{RESULT} and claim.json state different tonnes")
        if result["inputs_digest"] != claim["inputs_digest"]:
            raise BundleError(f"{RESULT} and claim.json name two digests of the inputs")
        return claim

    def _check_seals(self) -> None:
        last: dict[str, Seal] = {}
        for line in self._reader.lines("seals.jsonl"):
            content = json.loads(line)
            try:
                seal = Seal.from_statement(content["statement"])
            except _UNREADABLE as error:
                raise BundleError(f"seals.jsonl: a statement cannot be read: {error}") from None
            self._signature(f"the {seal.label}", content["statement"], content["signature"], seal.key)
            before = last.get(seal.site)
            if before is not None and (seal.previous, seal.previous_day) != (before.sha256, before.day):
                raise BundleError(
                    f"the {seal.label} continues that of {seal.previous_day}, but the bundle has that of {before.day} "
                    "before it: a seal was removed, exchanged or put elsewhere"
                )
            last[seal.site] = self._seals[seal.site, seal.day] = seal
            self._verified.seals += 1

    def _check_timestamps(self) -> None:
        done = self._verified
        stamped: set[tuple[str, date]] = set()
        times: list[datetime] = []
        for number, line in enumerate(self._reader.lines(TIMESTAMPS) if TIMESTAMPS in self._reader.members else (), 1):
            try:
                content = json.loads(line)
                named = content["site"], date.fromisoformat(content["day"])
                token = base64.b64decode(content["token"], validate=True)
            except _UNREADABLE as error:
                raise BundleError(f"{TIMESTAMPS}, line {number}: is no time stamp: {error}") from None
            seal = self._seals.get(named)
            if seal is None or named in stamped:
                said = "there is no such seal" if seal is None else "there are two"
                raise BundleError(f"{TIMESTAMPS}, line {number}: time stamp of the seal of {named[1]}: {said}")
            stamped.add(named)
            try:
                times.append(check_token(token, seal.statement.encode(), self._tsa_roots).time)
            except TimestampError as error:
                raise BundleError(f"the time stamp of the {seal.label} {error}") from None
        done.stamps = len(stamped)
        if times and self._tsa_roots:
            done.first_stamp, done.last_stamp = min(times), max(times)
        elif times:
            done.unchecked.append(
                f"who made the time stamps of {len(times)} seals, and when; give the root of their authority with "
                "--tsa-ca"
            )

    def _read_registers(self, claim: dict[str, Any]) -> None:
        inputs = {name: self._reader.text(name) for name in INPUTS}
        for name, text in inputs.items():
            if text_digest(text) != claim["inputs"][name]:
                raise BundleError(f"{name} is not the one that claim.json was signed for")
        self._receipts = json.loads(inputs["receipts.json"])
        self._deliveries = json.loads(inputs["deliveries.json"])
        for entry in json.loads(inputs["registers.json"]):
            name = entry["file"]
            if self._reader.members[name]["sha256"] != entry["sha256"]:
                raise BundleError(f"{name} is not the one that registers.json names")
            lines = self._reader.lines(name)
            if next(lines, None) != READINGS_HEAD:
                raise BundleError(f"{name} does not begin with {READINGS_HEAD}")
            register = _Register(entry, [])
            for number, line in enumerate(lines, 2):
                try:
                    used = Used.parse(line)
                except ValueError:
                    raise BundleError(f"{name}, line {number}: is no reading") from None
                if used.received_us > claim["received_until_us"]:
                    raise BundleError(f"{_reading(register, used)} was received after the cut-off of the revision")
                register.used.append(used)
                self._by_message.setdefault((used.message_us, used.message_id), []).append((register, used))
            self._registers.append(register)
            self._verified.readings += len(register.used)

    def _decoder(self) -> Decoder:
        families = {
            name.removeprefix("families/").removesuffix(".toml"): self._reader.text(name)
            for name in self._reader.members
            if name.startswith("families/")
        }
        parts = [UsedPart(**json.loads(line)) for line in self._reader.lines("parts.jsonl")]
        return Decoder(json.loads(self._reader.text("history.json")), families, parts)

    def _check_messages(self, decoder: Decoder | None) -> None:
        needed: dict[tuple[str, date], set[tuple[int, int]]] = {}
        for (received_us, message_id), all_used in self._by_message.items():
            for register, _ in all_used:
                days = needed.setdefault((register.entry["site"], utc_day(received_us)), set())
                days.add((received_us, message_id))
        joined: list[tuple[_Register, Used]] = []
        for text in self._reader.lines("days.jsonl"):
            entry = json.loads(text)
            site, day = entry["site"], date.fromisoformat(entry["day"])
            seal = self._seals.get((site, day))
            if seal is None:
                raise BundleError(f"there is no seal of {day} ({site})")
            leaves: dict[int, bytes] = {}
            missing = needed.pop((site, day), set())
            for line in self._lines_of_day(entry, seal):
                leaves[line.place] = line.leaf
                missing.discard((line.message.received_us, line.message.message_id))
                if decoder is not None:
                    joined += self._decode(decoder, line)
            for received_us, message_id in sorted(missing):
                register, used = self._by_message[received_us, message_id][0]
                name = label(site, received_us, message_id)
                raise BundleError(f"{name} is missing, and {_reading(register, used)} comes from it")
            self._check_root(seal, leaves, entry)
            self._verified.days += 1
            self._verified.sealed += seal.messages
        for (site, day), _ in sorted(needed.items()):
            raise BundleError(
                f"the messages of {day} ({site}) are missing from days.jsonl, and readings come from them"
            )
        for register, used in joined:
            assert decoder is not None  # noqa: S101 - it found them
            said = decoder.joins(register.device, _column(register), used)
            if said is not None:
                raise BundleError(
                    f"{_reading(register, used)} does not follow from the messages it was joined of: {said}"
                )

    def _lines_of_day(self, entry: dict[str, Any], seal: Seal) -> Iterator[Line]:
        """Read the messages of a site's day; each must stand in its place and be what its leaf says."""
        name, salt = entry["file"], None if self._verified.redacted else bytes.fromhex(entry["salt"])
        before: Line | None = None
        for number, text in enumerate(self._reader.lines(name), 1):
            try:
                line = Line.parse(seal.site, text)
            except _UNREADABLE:
                raise BundleError(f"{name}, line {number}: is no message of {seal.day} ({seal.site})") from None
            message = line.message
            if utc_day(message.received_us) != seal.day:
                raise BundleError(f"{message.label} stands among those of {seal.day} ({seal.site})")
            if before is not None:
                order = (before.message.received_us, before.message.message_id)
                if (message.received_us, message.message_id) <= order or line.place <= before.place:
                    raise BundleError(
                        f"{message.label} is at place {line.place}, behind {before.message.label} at place "
                        f"{before.place}: messages were added or exchanged"
                    )
            if line.withheld is not None:
                committed = line.withheld
            elif salt is not None:
                committed = Commitments.of(message, salt)
            else:
                raise BundleError(f"{message.label} is not withheld in a redacted bundle")
            if message_leaf(message, committed) != line.leaf:
                raise BundleError(
                    f"{message.label}: payload does not match its leaf, or topic or another field does not"
                )
            before = line
            self._verified.messages += 1
            yield line

    @staticmethod
    def _check_root(seal: Seal, leaves: dict[int, bytes], entry: dict[str, Any]) -> None:
        try:
            root = proven_root(seal.messages, leaves, proof_from(entry["proof"]))
        except ProofError as error:
            first, end = error.places
            places = f"place {first}" if end - first == 1 else f"places {first} to {end - 1}"
            raise BundleError(f"messages of {seal.day} ({seal.site}), {places} of {seal.messages}: {error}") from None
        if root != seal.root:
            raise BundleError(f"the messages of {seal.day} ({seal.site}) and their proof do not give the sealed root")

    def _decode(self, decoder: Decoder, line: Line) -> list[tuple[_Register, Used]]:
        """Hold the readings that came from a message against it; gives those that were joined."""
        message = line.message
        is_sparkplug = decoder.is_sparkplug(message)
        decoded = decoder.sparkplug(message) if is_sparkplug else None
        is_part = not is_sparkplug and decoder.is_part(message)
        joined = []
        for register, used in self._by_message.get((message.received_us, message.message_id), ()):
            if is_part and decoder.is_joined(register.device, used):
                joined.append((register, used))
                continue
            if decoded is None:
                decoded = decoder.decode(message, used.received_us)
            said = decoder.follows(message, decoded, register.device, _column(register), used)
            if said is not None:
                raise BundleError(f"{_reading(register, used)} does not follow from {message.label}: {said}")
        return joined

    def _recompute(self, texts: dict[str, str], claim: dict[str, Any]) -> None:
        stated = json.loads(texts[RESULT])
        redacted = self._verified.redacted
        declaration = texts[DECLARATION]
        if redacted:
            declaration = canonical_text(without_commitments(json.loads(declaration)))
        waiting = iter(zip(self._registers, self._receipts, strict=True))

        def read(credited: Credited, _start: datetime, _end: datetime) -> Series:
            register, received = next(waiting, (None, None))
            named = (credited.system.id, credited.site.id, credited.device.id, credited.point)
            if register is None or tuple(register.entry[key] for key in ("system", "site", "device", "point")) != named:
                raise BundleError(f"registers.json has no readings of {credited.label} ({credited.point}) in its place")
            return Series(
                t_us=_int64([used.ts_us for used in register.used]),
                register_mwh=to_mwh(np.array([used.register_wh for used in register.used], np.float64)),
                power_w=np.array(
                    [np.nan if used.power_w is None else used.power_w for used in register.used], np.float64
                ),
                opening=credited.opening if register.entry["opening"] else None,
                closing=credited.closing if register.entry["closing"] else None,
                receipts=None
                if received is None
                else Receipts(
                    _int64([used.received_us for used in register.used]),
                    _int64(received["arrival_us"]),
                    _int64(received["conflict_us"]),
                ),
            )

        def deliveries(site: str, _start: datetime, _end: datetime) -> Deliveries:
            return Deliveries(*map(_int64, self._deliveries[site]))

        try:
            computed = compute(
                Basis.from_texts(declaration, texts[METHODOLOGY]),
                date.fromisoformat(claim["period"]["from"]),
                date.fromisoformat(claim["period"]["to"]),
                read,
                revision=claim["revision"],
                received_until=instant(claim["received_until_us"]),
                code_version=stated["code_version"],
                rules=rule_set(stated["quality"].get("rule_set", REGISTER_ONLY.name)),
                read_deliveries=deliveries,
            ).result
        except MrvError as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(f"the tonnes cannot be computed from the bundle: {error}") from None
        again = computed.as_json()
        if not redacted and again["inputs_digest"] != stated["inputs_digest"]:
            raise BundleError(
                f"the digest of the inputs is {again['inputs_digest']}, {RESULT} says {stated['inputs_digest']}: "
                "a reading, the declaration or the methodology is another"
            )
        if redacted:
            again, stated = _comparable(again), _comparable(without_commitments(stated))
        for difference in differences(stated, again):
            raise BundleError(f"{RESULT} does not recompute: {difference}")


def _comparable(result: dict[str, Any]) -> dict[str, Any]:
    """Leave out what cannot be known where confidential values are withheld."""
    kept = {key: value for key, value in result.items() if key != "inputs_digest"}
    for system in kept["systems"]:
        for device in system["devices"]:
            device.pop("serial_number", None)
    # A serial number and a certificate that are withheld look as if there were none.
    unknown = {MeterRule.NO_SERIAL_NUMBER.id, MeterRule.NO_CERTIFICATE.id}
    for meter in kept.get("meters", ()):
        meter.pop("serial_number", None)
        meter["findings"] = [finding for finding in meter["findings"] if finding["rule"] not in unknown]
    rules = {rule: count for rule, count in kept["quality"]["rules"].items() if rule not in unknown}
    kept["quality"] = {**kept["quality"], "rules": rules}
    return kept


def _int64(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _column(register: _Register) -> str:
    return POINTS[register.entry["point"]].column


def _reading(register: _Register, used: Used) -> str:
    return f"the reading of {register.label} at {instant(used.ts_us).isoformat()}"
