"""Mosquitto: configuration, users, rights and starting it."""

import base64
import hashlib
import os
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.errors import LocalServersError, ServerStartError
from deploy.local.packages import Packages
from deploy.local.place import ServerUser, give, write_private
from deploy.local.probe import ACCEPTED, mqtt_connack
from deploy.local.processes import find_by_command, is_held, send, spawn, tail, unseen, wait_until
from deploy.local.state import COLLECTOR, PUBLISHER, State

# What the broker may owe its absent subscribers before it drops: 1 GiB is about two million readings.
MAX_QUEUED_BYTES = 1 << 30
_LOG_LIMIT_BYTES = 10_000_000
_ITERATIONS = 101

ACCESS = f"""\
# The collector reads what devices publish under names of their own as well, and the broker's own counters, of which
# dropped messages is one. It may ask Sparkplug nodes to be born again, also behind a site's own broker.
user {COLLECTOR}
topic read #
topic read $SYS/#
topic write spBv1.0/+/NCMD/#
topic write spBv1.0/STATE/#
topic write jcm/v1/+/via/spBv1.0/+/NCMD/#

# Recordings are replayed as any site, and simulated devices speak on the topics of real ones.
user {PUBLISHER}
topic write #

# A site writes below its own name, whatever its payload claims, and hears what its own Sparkplug nodes are asked.
pattern write jcm/v1/%u/#
pattern read jcm/v1/%u/via/spBv1.0/+/NCMD/#
pattern read spBv1.0/STATE/+
"""


class Mosquitto:
    """The broker of one instance.

    Parameters
    ----------
    folder
        Holds configuration, users, the persistent queue and the log; belongs to the user the broker runs as.
    """

    name = "Mosquitto"

    def __init__(self, folder: Path, user: ServerUser | None) -> None:
        self._folder = folder
        self._user = user
        self._configuration = folder / "mosquitto.conf"
        self._users = folder / "users"
        self._held = folder / "running"
        self.log = folder / "mosquitto.log"

    def pid(self) -> int | None:
        """Return the broker's process, or nothing when it does not run."""
        return find_by_command(self._command(Path("mosquitto")))

    def answers(self, state: State) -> bool:
        """Say whether the collector can log in."""
        return self._accepts(state, COLLECTOR, state.collector_password)

    def clear_crash(self, _state: State) -> None:
        """Wait until a broker that was killed has let go of its port and its queue.

        Raises
        ------
        LocalServersError
            A broker that we do not see uses the folder.
        """
        if not wait_until(lambda: not is_held(self._held), 15):
            raise LocalServersError(unseen(self._folder))

    def launch(self, state: State, packages: Packages) -> None:
        """Write the configuration and start the broker without waiting for it."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        give(self._folder, self._user)
        self._rotate_log()
        write_private(self._configuration, self._text(state.mosquitto_port), self._user)
        write_private(self._folder / "access", access_file(state.site_filters), self._user)
        write_private(self._users, password_file(state.broker_users()), self._user)
        spawn(
            self._user,
            self._command(packages.mosquitto),
            home=self._folder,
            log=self.log,
            held=self._held,
        )

    def wait(self, state: State, *, seconds: float = 30) -> None:
        """Wait until the broker answers.

        Raises
        ------
        ServerStartError
            It ended or does not answer; the message carries its last words.
        """
        # A process that just begins is not seen for a moment: it ended when it is missing at every look in 0.5 s.
        end = time.monotonic() + seconds
        while not self.answers(state):
            if not wait_until(lambda: self.pid() is not None, 0.5):
                raise ServerStartError(f"Mosquitto did not start: {tail([self.log])}")
            if time.monotonic() > end:
                raise ServerStartError(f"Mosquitto runs but does not answer: {tail([self.log])}")
            time.sleep(0.03)

    def stop(self, *, seconds: float = 60) -> None:
        """End the broker; it writes its queue to disk before it goes."""
        pid = self.pid()
        if pid is None:
            return
        send([pid], signal.SIGTERM)
        if not wait_until(lambda: self.pid() is None, seconds):
            raise ServerStartError(f"Mosquitto (process {pid}) does not end; its log is {self.log}")
        wait_until(lambda: not is_held(self._held), 5)

    def refresh_access(self, state: State) -> None:
        """Give a broker that an older version started the rights that this one grants."""
        text = access_file(state.site_filters)
        pid = self.pid()
        if pid is not None and (self._folder / "access").read_text(encoding="utf-8") != text:
            write_private(self._folder / "access", text, self._user)
            send([pid], signal.SIGHUP)

    def reload_users(self, state: State, newest: str) -> None:
        """Let the running broker know its users and their rights, and wait until the newest one can log in.

        Raises
        ------
        ServerStartError
            The user cannot log in after twenty seconds.
        """
        write_private(self._folder / "access", access_file(state.site_filters), self._user)
        write_private(self._users, password_file(state.broker_users()), self._user)
        pid = self.pid()
        if pid is None:
            return
        send([pid], signal.SIGHUP)
        password = state.broker_users()[newest]
        if not wait_until(lambda: self._accepts(state, newest, password), 20):
            raise ServerStartError(f"Mosquitto does not accept its new user {newest}: {tail([self.log])}")

    def _accepts(self, state: State, user: str, password: str) -> bool:
        return mqtt_connack("127.0.0.1", state.mosquitto_port, user, password) == ACCEPTED

    def _command(self, executable: Path) -> list[str]:
        return [str(executable), "-c", str(self._configuration)]

    def _rotate_log(self) -> None:
        try:
            if self.log.stat().st_size > _LOG_LIMIT_BYTES:
                self.log.rename(self.log.with_suffix(".log.1"))
        except FileNotFoundError:
            pass

    def _text(self, port: int) -> str:
        # Mosquitto's window of 20 allows 900 messages a second, one of 4,000 allows 20,000 (measured, see design).
        # A thousand million queued messages and not 0, which also means unlimited: with 0 Mosquitto 2.0.21 ends the
        # connection of a client ("Quota exceeded") after each publication that it refuses; the bytes are what bounds.
        # Sessions never expire on the broker's side (persistent_client_expiration stays unset), because a collector
        # that comes back after weeks must find its queue; MQTT 5 clients name their own expiry.
        # The queue is written every 5 seconds and when the broker ends: with autosave_on_changes the changes after
        # the last full count would wait for the next message, which at night is hours away.
        return f"""\
# Written by `jcm-mrv local start`; changes are lost.
per_listener_settings false
listener {port} 127.0.0.1
allow_anonymous false
password_file {self._users}
acl_file {self._folder / "access"}

persistence true
persistence_location {self._folder}{os.sep}
persistence_file queue.db
autosave_interval 5
autosave_on_changes false

max_queued_messages 1000000000
max_queued_bytes {MAX_QUEUED_BYTES}
max_inflight_messages 4000
max_packet_size 2097152
set_tcp_nodelay true
sys_interval 5

# Many devices publish at QoS 0, which would be kept for no absent collector and never be acknowledged.
upgrade_outgoing_qos true

log_dest stderr
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S%z
connection_messages true
"""


def own_topics(filters: Sequence[str]) -> list[str]:
    """Return the rules for what a site's devices publish on topics of their own; Sparkplug nodes are asked there."""
    rules = [f"topic write {one}" for one in filters]
    for one in filters:
        levels = one.split("/")
        if levels[0] == "spBv1.0" and len(levels) > 1:
            edge = levels[3] if len(levels) > 3 else "#"
            rules.append(f"topic read spBv1.0/{levels[1]}/NCMD/{edge}")
    return list(dict.fromkeys(rules))


def access_file(site_filters: Mapping[str, Sequence[str]]) -> str:
    """Return Mosquitto's ACL: `ACCESS`, and the topics of their own that sites' devices write."""
    own = (
        f"\nuser {site}\n" + "".join(f"{rule}\n" for rule in own_topics(filters))
        for site, filters in sorted(site_filters.items())
    )
    return ACCESS + "".join(own)


def password_file(users: Mapping[str, str]) -> str:
    """Return Mosquitto's password file for users and their plain passwords."""
    return "".join(f"{user}:{password_hash(password)}\n" for user, password in sorted(users.items()))


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Return what `mosquitto_passwd` writes: `$7$iterations$salt$hash`, PBKDF2 with HMAC-SHA-512.

    101 iterations are its default and enough here, because the passwords are 192 random bits.
    """
    salt = secrets.token_bytes(12) if salt is None else salt
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    encoded = (base64.b64encode(part).decode() for part in (salt, derived))
    return f"$7${_ITERATIONS}${'$'.join(encoded)}"
