"""PostgreSQL with TimescaleDB: first start, configuration, recovery after a crash, and stopping it."""

import os
import shutil
import signal
import time
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deploy.errors import LocalServersError, ServerStartError
from deploy.local.packages import Packages
from deploy.local.place import ServerUser, give, write_private
from deploy.local.processes import (
    find_by_command,
    find_by_title,
    is_held,
    run_as,
    send,
    spawn,
    tail,
    unseen,
    wait_until,
)
from deploy.local.state import State

DATABASE = "jcm_mrv"
OWNER = "jcm_mrv"
_SUPERUSER = "postgres"
UTC_FILE = Path("/usr/share/zoneinfo/UTC")


class Postgres:
    """The database server of one instance.

    Parameters
    ----------
    folder
        Holds the data directory and the logs; belongs to the user the server runs as.
    """

    name = "PostgreSQL"

    def __init__(self, folder: Path, user: ServerUser | None) -> None:
        self._folder = folder
        self._user = user
        self._data = folder / "data"
        self._logs = folder / "log"
        self._held = folder / "running"
        self._local = folder / "local.conf"
        self.log = self._logs / "start.log"

    def pid(self) -> int | None:
        """Return the postmaster's process, or nothing when it does not run."""
        return find_by_command(self._command(Path("postgres")))

    @property
    def initialised(self) -> bool:
        """Whether there is a data directory."""
        return self._data.exists()

    def answers(self, state: State) -> bool:
        """Say whether the owner can log in and ask something."""
        return _answer(state.postgres_port, OWNER, state.owner_password, DATABASE) is None

    def initialise(self, state: State, packages: Packages) -> None:
        """Make the data directory; it appears under its name when it is whole."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._logs.mkdir(mode=0o700, exist_ok=True)
        give(self._folder, self._user)
        give(self._logs, self._user)
        making, password = self._folder / "making", self._folder / "password"
        shutil.rmtree(making, ignore_errors=True)
        write_private(password, state.superuser_password, self._user)
        try:
            # The builtin provider's C.UTF-8 sorts by code point on every machine and needs no locale of it; LC_* are C
            # because a C.UTF-8 of the C library would have to be installed.
            done = run_as(
                self._user,
                [
                    str(packages.postgres_bin / "initdb"),
                    f"--pgdata={making}",
                    f"--username={_SUPERUSER}",
                    f"--pwfile={password}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--data-checksums",
                ],
                home=self._folder,
            )
        finally:
            password.unlink(missing_ok=True)
        if done.returncode != 0:
            shutil.rmtree(making, ignore_errors=True)
            said = " / ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
            raise ServerStartError(f"PostgreSQL's data directory cannot be made: {said}")
        making.rename(self._data)

    def clear_crash(self, state: State) -> None:
        """Wait for the backends of a killed postmaster, then remove its lock file.

        PostgreSQL refuses to start while old backends hold the shared memory, which is right, and also when the
        process id in its lock file was given to another process or is a zombie, which after a crash is only noise:
        that no postmaster and no backend of this data directory lives was established here, under the instance's lock.
        """
        self._end_orphans(state, patience=5)
        if not wait_until(lambda: not is_held(self._held), 15):
            raise LocalServersError(unseen(self._data))
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def launch(self, state: State, packages: Packages) -> None:
        """Write the configuration and start the server without waiting for it."""
        write_private(self._data / "postgresql.conf", self._configuration(state), self._user)
        write_private(self._data / "pg_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\n", self._user)
        if not self._local.exists():
            write_private(self._local, "", self._user)
        self.log.unlink(missing_ok=True)
        command = self._command(packages.postgres_bin / "postgres")
        spawn(self._user, command, home=self._folder, log=self.log, held=self._held)

    def wait(self, state: State, *, seconds: float = 300) -> None:
        """Wait until the server answers; recovery after a crash may take its time.

        Raises
        ------
        ServerStartError
            It ended, refuses us or does not answer; the message carries its last words.
        """
        end = time.monotonic() + seconds
        while (said := _answer(state.postgres_port, _SUPERUSER, state.superuser_password, "postgres")) is not None:
            # A process that just begins is not seen for a moment: it ended when it is missing at every look in 0.5 s.
            if not wait_until(lambda: self.pid() is not None, 0.5):
                raise ServerStartError(f"PostgreSQL did not start: {self.last_words()}")
            if "password authentication failed" in said:
                raise ServerStartError(
                    f"PostgreSQL's data in {self._data} was made with other passwords than state.json has; "
                    "restore state.json or run `jcm-mrv local reset`"
                )
            if time.monotonic() > end:
                raise ServerStartError(f"PostgreSQL runs but does not answer ({said}): {self.last_words()}")
            time.sleep(0.03)

    def prepare_database(self, state: State) -> None:
        """Make the owner and the database where they are not there.

        The owner is no superuser, as on a managed server: it may create databases and roles, and TimescaleDB as a
        trusted extension.
        """
        with psycopg.connect(
            _login(state.postgres_port, _SUPERUSER, state.superuser_password, "postgres"), autocommit=True
        ) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone():
                # The verifier, not the password, so that no log can ever hold it.
                verifier = connection.pgconn.encrypt_password(
                    state.owner_password.encode(), OWNER.encode(), b"scram-sha-256"
                ).decode()
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE PASSWORD {}").format(
                        sql.Identifier(OWNER), sql.Literal(verifier)
                    )
                )
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER))
                )

    def stop(self, state: State | None, *, seconds: float = 60) -> None:
        """End the server with a checkpoint, ending its connections (a fast shutdown)."""
        pid = self.pid()
        if pid is not None:
            send([pid], signal.SIGINT)
            if not wait_until(lambda: self.pid() is None, seconds):
                raise ServerStartError(f"PostgreSQL (process {pid}) does not end: {self.last_words()}")
        if state is not None:
            self._end_orphans(state, patience=5)
        wait_until(lambda: not is_held(self._held), 5)

    def last_words(self) -> str:
        """Return the last lines of its logs."""
        return tail([self.log, *self._logs.glob("postgresql-*.log")])

    @staticmethod
    def url(state: State, *, superuser: bool = False) -> str:
        """Return the connection string of the owner, or of the superuser."""
        user, password = (_SUPERUSER, state.superuser_password) if superuser else (OWNER, state.owner_password)
        return f"postgresql://{user}:{password}@127.0.0.1:{state.postgres_port}/{DATABASE}"

    def _command(self, executable: Path) -> list[str]:
        return [str(executable), "-D", str(self._data)]

    def _end_orphans(self, state: State, *, patience: float) -> None:
        title = f"postgres: {state.instance}: "

        def gone() -> bool:
            return not find_by_title(title)

        # An orphan sees its postmaster's death when it next waits; one in a long query does not. Its transaction is
        # lost either way, so after `patience` it is told to go, and at last made to.
        if wait_until(gone, patience):
            return
        for last in (signal.SIGQUIT, signal.SIGKILL):
            send(find_by_title(title), last)
            if wait_until(gone, 10):
                return
        pids = ", ".join(str(pid) for pid in find_by_title(title))
        raise LocalServersError(f"processes {pids} of a killed PostgreSQL do not end; end them and start again")

    def _configuration(self, state: State) -> str:
        # GMT is the one zone that PostgreSQL knows without a file; it is UTC under its older name.
        zone = "UTC" if UTC_FILE.exists() else "GMT"
        return f"""\
# Written by `jcm-mrv local start`; changes are lost. Put yours into {self._local}.
listen_addresses = '127.0.0.1'
port = {state.postgres_port}
# Socket paths end at 107 bytes, which a checkout's path easily exceeds.
unix_socket_directories = ''
cluster_name = '{state.instance}'
max_connections = 100
password_encryption = 'scram-sha-256'

shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
max_worker_processes = 24
# LLVM is not unpacked: 35 MB that queries on this data do not need.
jit = off

# What is acknowledged is on disk: this is evidence.
fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = lz4
max_wal_size = 2GB
checkpoint_timeout = 15min
shared_buffers = 256MB
effective_cache_size = 1GB
maintenance_work_mem = 128MB
# Containers have 64 MB of /dev/shm, which parallel workers' segments exceed; files have no such bound.
dynamic_shared_memory_type = mmap

timezone = '{zone}'
log_timezone = '{zone}'
datestyle = 'ISO, YMD'
lc_messages = 'C'

logging_collector = on
log_directory = {_quoted(self._logs)}
log_filename = 'postgresql-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_line_prefix = '%m [%p] %q%u@%d %a '
log_checkpoints = off
log_min_duration_statement = 5s
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0

include = {_quoted(self._local)}
"""


def _quoted(path: Path) -> str:
    return "'" + os.fspath(path).replace("'", "''") + "'"


def _login(port: int, user: str, password: str, database: str) -> str:
    return make_conninfo(
        host="127.0.0.1",
        port=port,
        user=user,
        password=password,
        dbname=database,
        connect_timeout=5,
        sslmode="disable",
        gssencmode="disable",
        application_name="jcm-mrv local",
    )


def _answer(port: int, user: str, password: str, database: str) -> str | None:
    """Return why the server does not answer, or nothing when it does."""
    try:
        with psycopg.connect(_login(port, user, password, database), autocommit=True) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return None
