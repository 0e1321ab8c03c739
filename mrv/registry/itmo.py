"""The unique identifier of an ITMO: CA0001-THA01-THA-1-2021.

Cooperative approach, Party registry, first transferring Party, serial number, vintage: Decision 6/CMA.4, annex I,
paragraph 5, with the form of the serial number as a public registry's checker has it (S).
"""

import re
from dataclasses import dataclass

from mrv.errors import RegistryError

_FORM = re.compile(r"(CA[0-9]{4})-([A-Z]{3}[0-9]{2})-([A-Z]{3})-([1-9][0-9]{0,2}(?:[0-9]*|(?:,[0-9]{3})*))-([0-9]{4})")


@dataclass(frozen=True, slots=True)
class Itmo:
    """One ITMO."""

    cooperative_approach: str
    registry: str
    first_transferring_party: str
    serial: int
    vintage: int

    @classmethod
    def parse(cls, text: str) -> "Itmo":
        """Read an identifier; its serial number may have commas between thousands.

        Raises
        ------
        RegistryError
            It is not of the form.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise RegistryError(
                f"{text!r} is no ITMO identifier: expected cooperative approach, Party registry, first transferring "
                "Party, serial number and vintage, such as CA0001-THA01-THA-1-2021"
            )
        approach, registry, party, serial, vintage = found.groups()
        return cls(approach, registry, party, int(serial.replace(",", "")), int(vintage))

    def __str__(self) -> str:
        """Write the identifier, the serial number without commas."""
        return (
            f"{self.cooperative_approach}-{self.registry}-{self.first_transferring_party}-{self.serial}-{self.vintage}"
        )
