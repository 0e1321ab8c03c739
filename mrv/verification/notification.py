"""The notification of verified tonnes to both governments: declared integers per vintage, side and holder.

No rounding rule fits the published issuances (20 % of 30,312 was 6,063 once, 20 % of 322 was 66), so none is assumed:
the integers are declared as the Joint Committee decided them, and only have to sum to what was verified.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal, cast

import psycopg
from psycopg.types.json import Jsonb

from mrv.errors import WrongUseError
from mrv.verification.attestation import check
from mrv.verification.errors import VerificationError
from mrv.verification.steps import Author, RevisionState, Signed, refusals
from sql.named import load

_QUERIES = load("verification")
_SHARE = re.compile(r"(\d{4}):(host|japan):(.*\S)\s*=\s*(\d{1,15})")


@dataclass(frozen=True, slots=True)
class Share:
    """Whole tonnes of one vintage that go to one holder on one side."""

    vintage: int
    side: Literal["host", "japan"]
    holder: str
    tco2: int

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Read `YEAR:SIDE:HOLDER=TONNES`.

        Raises
        ------
        WrongUseError
            It is not that.
        """
        match = _SHARE.fullmatch(text.strip())
        if match is None:
            raise WrongUseError(
                f"{text!r} is not a share; give it as YEAR:SIDE:HOLDER=TONNES with side host or japan and whole "
                "tonnes, such as 2021:japan:Government of Japan=1009"
            )
        return cls(int(match[1]), cast("Literal['host', 'japan']", match[2]), match[3].strip(), int(match[4]))


@dataclass(frozen=True, slots=True)
class Notification:
    """What was notified for a period."""

    revision: RevisionState
    decided: date
    shares: tuple[Share, ...]
    signed: Signed

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "project": self.revision.project,
            "from": self.revision.first_day.isoformat(),
            "to": self.revision.last_day.isoformat(),
            "revision": self.revision.revision,
            "decided": self.decided.isoformat(),
            "shares": [asdict(share) for share in self.shares],
            "er_tco2": sum(share.tco2 for share in self.shares),
            **self.signed.as_json(),
        }


def notify(
    connection: psycopg.Connection, revision: RevisionState, decided: date, shares: Sequence[Share], author: Author
) -> Notification:
    """Declare what both sides get of a verified revision.

    Parameters
    ----------
    connection
        With the role of the participant.
    decided
        The day of the Joint Committee's decision.
    shares
        For each vintage they sum to its verified tonnes.

    Raises
    ------
    VerificationError
        The revision is not verified, another of the period was notified, or the shares do not sum; with the numbers.
    SignatureError
        The attestation does not hold.
    """
    if revision.is_verified:
        check(connection, revision)
    given = {
        "period": revision.period_id,
        "revision": revision.revision,
        "decided": decided,
        "shares": Jsonb([asdict(share) for share in shares]),
        **author.as_row(),
    }
    with refusals():
        connection.execute(_QUERIES["notify"], given)
    return notification_of(connection, revision)


def notification_of(connection: psycopg.Connection, revision: RevisionState) -> Notification:
    """Find what was notified of a revision.

    Raises
    ------
    VerificationError
        It was not notified.
    """
    given = {"period": revision.period_id, "revision": revision.revision}
    row = connection.execute(_QUERIES["notification"], given).fetchone()
    if row is None:
        raise VerificationError(f"{revision.name} is not notified; it is {revision.state}")
    decided, shares, *signed = row
    return Notification(revision, decided, tuple(Share(**share) for share in shares), Signed(*signed))
