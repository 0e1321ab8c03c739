"""The topics of the native profile: `jcm/v1/<site>/<device>/readings`."""

from typing import NamedTuple

FILTER = "jcm/v1/#"
"""Everything of ours: a topic under it that means nothing is kept in quarantine rather than never seen."""

_ROOT = ("jcm", "v1")
_KIND = "readings"


class Topic(NamedTuple):
    """Whose readings a message carries. Identity comes from here alone, never from a payload."""

    site: str
    device: str


def parse(topic: str) -> Topic | None:
    """Find site and device; None when the topic is not one that readings are published on."""
    parts = topic.split("/")
    if len(parts) != 5 or (parts[0], parts[1]) != _ROOT or parts[4] != _KIND or not parts[2] or not parts[3]:
        return None
    return Topic(parts[2], parts[3])


def site_of(topic: str) -> str | None:
    """Find the site that a topic under `FILTER` names, whatever follows: a wrong topic is counted there too."""
    parts = topic.split("/", 3)
    return parts[2] if len(parts) > 2 and (parts[0], parts[1]) == _ROOT and parts[2] else None


def readings(site: str, device: str) -> str:
    """Give the topic on which a device's readings are published.

    Raises
    ------
    ValueError
        An id is empty or has a sign that means something in a topic (`/ + #`, U+0000).
    """
    for name in (site, device):
        if not name or any(sign in name for sign in "/+#\0"):
            raise ValueError(f"{name!r} cannot stand in a topic: it must not be empty or have / + # in it")
    return f"jcm/v1/{site}/{device}/readings"
