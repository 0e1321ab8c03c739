"""Controlled values and formats of the Article 6.2 tables.

From the UNFCCC's list of common nomenclatures under Article 6.2, dated 17 February 2026, read in a public registry's
transcription of it (S), its own additions left out. Values are spelt as the source spells them, "C02 usage" with a
digit zero too: the platform takes nothing else.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

DATED = "17 February 2026"

METRICS = ("GHG", "non-GHG")
SECTORS = (
    "Agriculture", "Building and construction", "Cross-sectoral mechanisms", "Energy generation",
    "Forestry and land use", "Industrial processes", "Transportation", "Urban development", "Waste management",
)  # fmt: skip
ACTIVITY_TYPES = (
    "Afforestation", "Agriculture", "Biogas", "Biomass Energy", "Cement", "C02 usage", "Coal bed/mine methane",
    "Energy distribution", "Energy Efficiency households", "Energy Efficiency Industry",
    "Energy Efficiency own generation", "Energy Efficiency service", "Energy Efficiency supply side",
    "Fossil fuel switch", "Fugitive", "Geothermal", "Hydro", "Landfill gas", "Methane avoidance", "N2O",
    "PFCs and SF6", "Reforestation", "Solar", "Tidal", "Transport", "Waste", "Wind",
)  # fmt: skip
PURPOSES = ("NDC", "OIMP", "IMP", "OP", "NDC and OIMP", "NDC and IMP", "NDC and OP")
FIRST_TRANSFERS = ("Authorisation", "Issuance", "Use or Cancellation")
ACTIONS = (
    "Authorization", "First transfer", "Transfer", "Acquisition", "Use", "Cancellation", "Voluntary Cancellation",
)  # fmt: skip
UNIT_REGISTRIES = (
    "VCS", "GS", "CAR", "ACR", "ART", "GCC", "Cercarbono", "Isometric", "ISFL", "FCPF", "T-VER", "JCM",
)  # fmt: skip
MITIGATIONS = ("Emission reductions", "Removals", "Emission reductions and removals")

_OPEN = "Not yet defined"
_ADAPTATION_FUND = (
    "Mandatory transfer to the Adaptation Fund (A6.4 ERs)",
    "Voluntary transfer to the Adaptation Fund (A6.4 ERs)",
)
_CANCELLATIONS = (
    "Mandatory cancellation to deliver OMGE",
    "Voluntary cancellation to deliver OMGE",
    "Other cancellations",
)
_FIRST = ("First transfer to another Party", "Authorization", "Issuance", "Use or cancellation")
SUBTYPES = (*_FIRST, *_ADAPTATION_FUND, *_CANCELLATIONS, _OPEN)
SUBTYPES_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "First transfer": (*_FIRST, *_CANCELLATIONS, _OPEN),
        "Transfer": (*_ADAPTATION_FUND, _OPEN),
        "Cancellation": (*_CANCELLATIONS, _OPEN),
        "Voluntary Cancellation": (*_CANCELLATIONS, _OPEN),
    }
)
"""Subtypes by action type; an action type that is not named here was read without a list of its own."""

PARTY = re.compile(r"[A-Z]{3}")
COOPERATIVE_APPROACH = re.compile(r"CA[0-9]{4}")
PARTY_REGISTRY = re.compile(r"[A-Z]{3}[0-9]{2}")
AUTHORIZATION = re.compile(r"[A-Za-z0-9 -]+")
VERSION = re.compile(r"[1-9][0-9]*\.[0-9]+")
TIMEFRAME = re.compile(r"[0-9]{4} - [0-9]{4}")

OF_KIND: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "solar PV": ("Energy generation", "Solar"),
        "solar PV with battery": ("Energy generation", "Solar"),
        "hydro": ("Energy generation", "Hydro"),
    }
)
"""Sector and activity type by kind of methodology; PV as read, hydro by its name. Another kind is declared."""
