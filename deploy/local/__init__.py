"""A real TimescaleDB and a real Mosquitto in a folder of the project, without containers or privileges.

Here live: getting Debian 13's packages without touching the machine (`apt`, `packages`), where things go and as
which user they run (`place`, `state`), the two servers (`postgres`, `mosquitto`) and what ties them together
(`servers`). Nothing here knows readings, schema or methodology: whoever uses it gets two URLs.
"""

from deploy.local.place import default_directory
from deploy.local.progress import PlainProgress, Progress, QuietProgress, RichProgress, progress_for
from deploy.local.servers import LocalServers, LocalStatus, ServerStatus

__all__ = [
    "LocalServers",
    "LocalStatus",
    "PlainProgress",
    "Progress",
    "QuietProgress",
    "RichProgress",
    "ServerStatus",
    "default_directory",
    "progress_for",
]
