"""The local servers as one thing: start, stop, look, delete, and what to connect to."""

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import LocalServersError, ServerStartError
from deploy.local.mosquitto import Mosquitto
from deploy.local.packages import Packages, ensure_packages, find_packages
from deploy.local.place import (
    ServerUser,
    default_directory,
    make_directory,
    reachable_directory,
    server_user,
    size_bytes,
)
from deploy.local.postgres import UTC_FILE, Postgres
from deploy.local.processes import is_held
from deploy.local.progress import Progress, QuietProgress
from deploy.local.state import (
    COLLECTOR,
    PUBLISHER,
    DamagedStateError,
    State,
    free_port,
    is_free,
    read_state,
    write_state,
)

# Somebody may take a port between our look and the server's; three fresh choices do not all meet that.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server: `running` means its process lives, `answers` that a client can log in."""

    name: str
    version: str
    running: bool
    answers: bool
    pid: int | None
    host: str
    port: int | None
    data_bytes: int
    log: str


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """Both servers and where they live."""

    directory: str
    packages: str
    packages_bytes: int
    timescaledb_version: str
    user: str
    postgres: ServerStatus
    mosquitto: ServerStatus

    @property
    def running(self) -> bool:
        """Whether both servers answer."""
        return self.postgres.answers and self.mosquitto.answers


class LocalServers:
    """A TimescaleDB and a Mosquitto in one folder.

    Parameters
    ----------
    directory
        The instance: its data, ports and passwords. As root, a folder that the servers' user cannot enter is replaced
        by one below /var/tmp; `self.directory` is the one in use.
    packages
        The unpacked packages, which instances share; by default `packages` in the default folder.
    """

    def __init__(self, directory: Path, packages: Path | None = None) -> None:
        # Without symbolic links: the folder's name is how its processes are recognised.
        asked = directory.resolve()
        self._user: ServerUser | None = server_user(asked / "postgres")
        self.directory = reachable_directory(asked, self._user)
        self.moved_from = asked if self.directory != asked else None
        if self.moved_from is not None:
            self._user = server_user(self.directory / "postgres")
        if packages is not None:
            self.packages = reachable_directory(packages.resolve(), self._user)
        else:
            self.packages = reachable_directory(default_directory().resolve(), self._user) / "packages"
        self._state_file = self.directory / "state.json"

    def start(self, progress: Progress | None = None) -> LocalStatus:
        """Start what does not run and wait until both servers answer; do nothing where both do.

        Raises
        ------
        PackagesUnavailableError
            The packages are not there and this machine cannot get them.
        ServerStartError
            A server does not start; the message carries its last words.
        LocalServersError
            The folder cannot be used.
        """
        progress = progress if progress is not None else QuietProgress()
        if self.moved_from is not None and self._user is not None:
            progress.step(f"{self._user.name} cannot enter {self.moved_from}; the servers live in {self.directory}")
        if not UTC_FILE.exists():
            progress.step("this machine has no time zones, so PostgreSQL knows none but GMT; install tzdata")
        try:
            make_directory(self.directory, self._user)
            make_directory(self.packages.parent, self._user)
            make_directory(self.packages, self._user)
            packages = ensure_packages(self.packages, progress)
            with self._locked(progress):
                self._start(packages, progress)
        except OSError as error:
            raise LocalServersError(f"the local servers cannot be started: {error}") from error
        finally:
            progress.close()
        return self.status()

    def stop(self) -> None:
        """Stop both servers cleanly; each writes what it holds to disk. Nothing happens where none runs."""
        if not self.directory.exists():
            return
        with self._locked(QuietProgress()):
            self._stop(read_state(self._state_file))

    def reset(self) -> None:
        """Stop both servers and delete the instance's data, ports and passwords; the packages stay."""
        if not self.directory.exists():
            return
        with self._locked(QuietProgress()):
            try:
                state = read_state(self._state_file)
            except DamagedStateError:
                state = None
            self._stop(state)
            for name in ("postgres", "mosquitto"):
                folder = self.directory / name
                if is_held(folder / "running"):
                    raise LocalServersError(f"a server still uses {folder}; stop it first")
                if folder.exists():
                    shutil.rmtree(folder)
            self._state_file.unlink(missing_ok=True)

    def status(self) -> LocalStatus:
        """Look at both servers."""
        packages = find_packages(self.packages)
        state = read_state(self._state_file)
        versions = packages.versions if packages is not None else {}
        postgres_pid = mosquitto_pid = None
        postgres_answers = mosquitto_answers = False
        if state is not None:
            postgres, mosquitto = self._servers()
            postgres_pid, mosquitto_pid = postgres.pid(), mosquitto.pid()
            postgres_answers = postgres_pid is not None and postgres.answers(state)
            mosquitto_answers = mosquitto_pid is not None and mosquitto.answers(state)
        return LocalStatus(
            directory=str(self.directory),
            packages=str(self.packages),
            packages_bytes=size_bytes(self.packages),
            timescaledb_version=_upstream(versions.get("postgresql-17-timescaledb", "")),
            user=self._user.name if self._user is not None else "",
            postgres=ServerStatus(
                name="postgresql",
                version=_upstream(versions.get("postgresql-17", "")),
                running=postgres_pid is not None,
                answers=postgres_answers,
                pid=postgres_pid,
                host="127.0.0.1",
                port=(state.postgres_port or None) if state is not None else None,
                data_bytes=size_bytes(self.directory / "postgres"),
                log=str(self.directory / "postgres" / "log"),
            ),
            mosquitto=ServerStatus(
                name="mosquitto",
                version=_upstream(versions.get("mosquitto", "")),
                running=mosquitto_pid is not None,
                answers=mosquitto_answers,
                pid=mosquitto_pid,
                host="127.0.0.1",
                port=(state.mosquitto_port or None) if state is not None else None,
                data_bytes=size_bytes(self.directory / "mosquitto"),
                log=str(self.directory / "mosquitto" / "mosquitto.log"),
            ),
        )

    def environment(self) -> dict[str, str]:
        """Return the settings that point at these servers: collectors may only read at the broker, replays only write.

        Raises
        ------
        LocalServersError
            The servers were never started.
        """
        state = self._known_state()
        broker = f"127.0.0.1:{state.mosquitto_port}"
        return {
            "JCM_MRV_DATABASE_URL": Postgres.url(state),
            "JCM_MRV_MQTT_URL": f"mqtt://{COLLECTOR}:{state.collector_password}@{broker}",
            "JCM_MRV_MQTT_PUBLISH_URL": f"mqtt://{PUBLISHER}:{state.publisher_password}@{broker}",
        }

    def superuser_url(self) -> str:
        """Return the login that may restore a backup; nothing else uses it.

        Raises
        ------
        LocalServersError
            The servers were never started.
        """
        return Postgres.url(self._known_state(), superuser=True)

    def site_credentials(self, site_id: str, filters: Sequence[str] | None = None) -> tuple[str, str]:
        """Return a site's broker user and password, making them where the site has none.

        Parameters
        ----------
        filters
            What its devices may write beside `jcm/v1/<site>/#`, from now on; None: as it was.

        Raises
        ------
        LocalServersError
            The servers were never started, or the site id cannot be a broker user.
        """
        state = self._known_state()
        if site_id not in state.site_passwords or filters is not None:
            with self._locked(QuietProgress()):
                state = self._known_state()
                if state.add_site(site_id, filters):
                    write_state(self._state_file, state)
                    self._servers()[1].reload_users(state, site_id)
        return site_id, state.site_passwords[site_id]

    def _start(self, packages: Packages, progress: Progress) -> None:
        postgres, mosquitto = self._servers()
        state = read_state(self._state_file)
        if state is None:
            if postgres.initialised:
                raise LocalServersError(
                    f"{self._state_file} is missing while its data is there; restore it or run `jcm-mrv local reset`"
                )
            state = State()
            write_state(self._state_file, state)
        for attempt in range(1, _TRIES + 1):
            launched = self._launch(state, packages, postgres, mosquitto, progress)
            try:
                postgres.wait(state)
                if postgres in launched:
                    postgres.prepare_database(state)
                mosquitto.wait(state)
                mosquitto.refresh_access(state)
            except ServerStartError as error:
                # One that we found running may have been ending just then.
                found_running = len(launched) < 2
                if attempt == _TRIES or not (found_running or "already in use" in str(error)):
                    raise
            else:
                return

    def _launch(
        self, state: State, packages: Packages, postgres: Postgres, mosquitto: Mosquitto, progress: Progress
    ) -> list[Postgres | Mosquitto]:
        """Launch the servers that do not run, on their former ports where these are still free; return them."""
        down = [server for server in (mosquitto, postgres) if server.pid() is None]
        for server in down:
            server.clear_crash(state)
        before = (state.postgres_port, state.mosquitto_port)
        if postgres in down and not (state.postgres_port and is_free(state.postgres_port)):
            state.postgres_port = free_port(taken=before)
        if mosquitto in down and not (state.mosquitto_port and is_free(state.mosquitto_port)):
            state.mosquitto_port = free_port(taken=(*before, state.postgres_port))
        if before != (state.postgres_port, state.mosquitto_port):
            write_state(self._state_file, state)
        if postgres in down and not postgres.initialised:
            progress.step("making the database")
            postgres.initialise(state, packages)
        if down:
            progress.step(f"starting {' and '.join(server.name for server in reversed(down))}")
        for server in down:
            server.launch(state, packages)
        return down

    def _stop(self, state: State | None) -> None:
        postgres, mosquitto = self._servers()
        # The broker last: what the collector's end still acknowledges must find it.
        postgres.stop(state)
        mosquitto.stop()

    def _servers(self) -> tuple[Postgres, Mosquitto]:
        return (
            Postgres(self.directory / "postgres", self._user),
            Mosquitto(self.directory / "mosquitto", self._user),
        )

    def _known_state(self) -> State:
        state = read_state(self._state_file)
        if state is None or not state.postgres_port:
            raise LocalServersError(f"there are no local servers in {self.directory}; run `jcm-mrv local start` first")
        return state

    @contextmanager
    def _locked(self, progress: Progress) -> Iterator[None]:
        try:
            file = (self.directory / "lock").open("a")
        except PermissionError as error:
            raise LocalServersError(
                f"{self.directory} belongs to somebody else; run as that user or choose another --dir"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.step("waiting for another jcm-mrv that starts or stops these servers")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _upstream(version: str) -> str:
    """Return the upstream part of a Debian version: `1:2.19.3+dfsg-1+deb13u1` → `2.19.3`."""
    return version.rpartition(":")[2].partition("-")[0].partition("+")[0]
