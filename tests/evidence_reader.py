"""A second reader of evidence bundles, after docs/evidence.md: nothing of mrv is imported here."""

import base64
import hashlib
import hmac
import json
import math
import struct
import zipfile
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class WrongError(Exception): ...


def need(holds, said):
    if not holds:
        raise WrongError(said)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def led(part):
    return struct.pack(">I", len(part)) + part


def signed(keys, key, signature, content):
    try:
        Ed25519PublicKey.from_public_bytes(keys[key]).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError, KeyError):
        raise WrongError(f"signature of {content[:40]}") from None


def commitment(name, salt, value):
    if isinstance(value, dict):
        return bytes.fromhex(value["commitment"])
    return sha(led(b"jcm-mrv commitment 1"), led(name.encode()), led(salt), led(value))


def leaf(site, m, salt, own=b""):
    shown = bool(salt or own)
    own = own or hmac.digest(salt, struct.pack(">qq", m["message_id"], m["received_us"]), "sha256")
    topic = commitment("topic", own, m["topic"].encode() if shown else m["topic"])
    payload = commitment("payload", own, base64.b64decode(m["payload"]) if shown else m["payload"])
    flags = m["retained"] | m["redelivered"] << 1
    times = struct.pack(">qqqBB", m["received_us"], m["message_id"], m["arrived_us"], m["qos"], flags)
    note = b"\0" if m["note"] is None else b"\1" + led(m["note"].encode())
    tail = led(m["outcome"].encode()) + struct.pack(">i", m["readings"]) + led(m["collector"].encode()) + note
    return sha(b"\0", led(b"jcm-mrv message 1"), led(site.encode()), times, tail, topic, payload)


def root(first, end, leaves, hidden):
    if (first, end) in hidden:
        return hidden.pop((first, end))
    if end - first == 1:
        need(first in leaves, f"place {first} has neither message nor hash")
        return leaves.pop(first)
    middle = first + 2 ** math.ceil(math.log2(end - first) - 1)
    return sha(b"\1", root(first, middle, leaves, hidden), root(middle, end, leaves, hidden))


def check(path, public_key):
    with zipfile.ZipFile(path) as file:
        bundle = {name: file.read(name) for name in file.namelist()}
    manifest = json.loads(bundle["manifest.json"])
    keys = {hashlib.sha256(public_key).hexdigest(): public_key}
    signed(keys, manifest["key"], bundle["manifest.sig"].decode(), bundle["manifest.json"])
    for name, member in manifest["members"].items():
        need(sha(bundle.get(name, b"")).hex() == member["sha256"], name)
    need(len(bundle) == len(manifest["members"]) + 2, "members")
    claim = json.loads(bundle["claim.json"])
    signed(keys, claim["key"], bundle["claim.sig"].decode(), bundle["claim.json"])
    seals, last, messages = {}, {}, {}
    for line in map(json.loads, bundle["seals.jsonl"].splitlines()):
        seal = json.loads(line["statement"])
        need(
            line["statement"] == json.dumps(seal, sort_keys=True, ensure_ascii=False, separators=(",", ":")),
            "canonical",
        )
        signed(keys, seal["key"], line["signature"], line["statement"].encode())
        before = last.get(seal["site"], (seal["previous"], seal["previous_day"]))
        need((seal["previous"], seal["previous_day"]) == before, f"chain at {seal['day']}")
        last[seal["site"]] = sha(line["statement"].encode()).hex(), seal["day"]
        seals[seal["site"], seal["day"]] = seal
    for line in map(json.loads, bundle["days.jsonl"].splitlines()):
        seal, leaves = seals[line["site"], line["day"]], {}
        for m in map(json.loads, bundle[line["file"]].splitlines()):
            salted = leaf(line["site"], m, bytes.fromhex(line.get("salt", "")))
            need(salted.hex() == m["leaf"] and m["place"] not in leaves, m["message_id"])
            need(f"{datetime.fromtimestamp(m['received_us'] // 10**6, UTC):%Y-%m-%d}" == line["day"], "day")
            leaves[m["place"]] = bytes.fromhex(m["leaf"])
            messages[m["received_us"], m["message_id"]] = line["site"], m
        hidden = {(one["first"], one["end"]): bytes.fromhex(one["root"]) for one in line["proof"]}
        need(root(0, seal["messages"], leaves, hidden).hex() == seal["root"], f"root of {line['day']}")
        need(not leaves and not hidden, f"proof of {line['day']}")
    for name, hashed in claim["inputs"].items():
        need(sha(bundle[name]).hex() == hashed, name)
    result = json.loads(bundle["result.json"])
    readings, digest = check_readings(bundle, claim, result["quality"].get("rule_set"), messages, manifest["redacted"])
    if not manifest["redacted"]:
        need(digest == result["inputs_digest"] == claim["inputs_digest"], "digest of the inputs")
    for year in result["vintages"]:
        need(year["er_tco2"] == max(0, math.floor(float(year["re_tco2"]) - float(year["pe_tco2"]))), "vintage")
    need(sum(vintage["er_tco2"] for vintage in result["vintages"]) == claim["er_tco2"], "tonnes")
    return {"er_tco2": claim["er_tco2"], "messages": len(messages), "readings": readings, "seals": len(seals)}


def check_readings(bundle, claim, rules, messages, redacted):
    digest, readings = hashlib.sha256(), 0

    def feed(part):
        digest.update(struct.pack("<Q", len(part)) + part)

    def int64(*values):
        feed(struct.pack(f"<{len(values)}q", *values))

    period = f"{claim['period']['from']}/{claim['period']['to']}".encode()
    feed(b"jcm-mrv inputs 2" if rules else b"jcm-mrv inputs 1")
    for part in (bundle["declaration.json"], bundle["methodology.json"], period, *([rules.encode()] if rules else [])):
        feed(part)
    registers, receipts = json.loads(bundle["registers.json"]), json.loads(bundle["receipts.json"])
    for register, received in zip(registers, receipts, strict=True):
        need(sha(bundle[register["file"]]).hex() == register["sha256"], register["file"])
        rows = [line.split(",") for line in bundle[register["file"]].decode().splitlines()[1:]]
        feed("\n".join(register[name] for name in ("system", "site", "device", "point")).encode())
        int64(*(int(row[0]) for row in rows))
        int64(*(round(float(row[1]) * 1000) for row in rows))
        feed(b"".join(struct.pack("<d", float(row[2] or "nan")) for row in rows))
        if rules:
            int64(*(int(row[6] or row[3]) for row in rows))
            for name in ("arrival_us", "conflict_us"):
                int64(*(received[name] if received else ()))
        for row in rows:
            site, m = messages[int(row[3]), int(row[4])]
            need(site == register["site"], "site")
            if not redacted and m["topic"] == f"jcm/v1/{site}/{register['device']}/readings":
                said = json.loads(base64.b64decode(m["payload"]))
                said = said[int(row[5])] if isinstance(said, list) else said
                need(said["points"][register["point"]] == float(row[1]), f"reading of message {row[4]}")
        readings += len(rows)
    for site in sorted(json.loads(bundle["declaration.json"])["site"], key=lambda site: site["id"]) if rules else ():
        feed(site["id"].encode())
        for array in json.loads(bundle["deliveries.json"])[site["id"]]:
            int64(*array)
    return readings, f"sha256:{digest.hexdigest()}"
