"""The command line in a process of its own, without the second and a half that its imports take.

A child of the test process, which has pandas and pvlib already, becomes the command: its own environment, folder,
standard streams and exit status. What a fresh interpreter does is tested by the tests that start one.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import mrv.periods  # noqa: F401 - what a child shall not have to import


def run_command(
    *arguments: object,
    environment: Mapping[str, str],
    cwd: Path,
    text: bool = True,
    timeout_s: float = 60,
    until: Callable[[], bool] | None = None,
) -> subprocess.CompletedProcess:
    """As `subprocess.run([python, "-m", "deploy.cli", …], capture_output=True)`.

    `until` is asked while the command runs; once it says so, the command is told to end (SIGTERM).
    """
    given = [str(argument) for argument in arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # From 3.12 on: threads of the test process are not there in the child, and nothing of theirs is used.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _become(given, environment, cwd, out.fileno(), err.fileno())
        status = _await(child, timeout_s, until)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode() if text else stream.read())
    return subprocess.CompletedProcess(given, status, *said)


def _become(arguments: list[str], environment: Mapping[str, str], cwd: Path, out: int, err: int) -> None:
    status = 70
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8")
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        sys.argv = ["jcm-mrv", *arguments]
        from deploy.cli import main

        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001 - the interpreter would say so and exit with 1
        traceback.print_exc()
        status = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _await(child: int, timeout_s: float, until: Callable[[], bool] | None) -> int:
    end = time.monotonic() + timeout_s
    try:
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                child = 0
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("jcm-mrv", timeout_s)
            if until is not None and until():
                os.kill(child, signal.SIGTERM)
                until = None
            time.sleep(0.01)
    finally:
        # Also when the test itself is at its time limit.
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
