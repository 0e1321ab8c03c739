"""The fault suite's options, servers and table."""

import random
from collections.abc import Iterator

import pytest

from deploy.local import LocalServers
from tests.fault.world import Result, Servers
from tests.harness import exclusive

_RESULTS = pytest.StashKey[list[Result]]()
_SEED = pytest.StashKey[int]()
LONG_READINGS = 1_000_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="repeat a fault run")
    parser.addoption("--readings", type=int, default=LONG_READINGS, help="in all long runs together")


def pytest_configure(config: pytest.Config) -> None:
    given = config.getoption("seed", default=None)
    config.stash[_SEED] = random.SystemRandom().randrange(2**32) if given is None else given
    config.stash[_RESULTS] = []


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    chosen = request.config.stash[_SEED]
    print(f"seed {chosen}")
    return chosen


@pytest.fixture(scope="session")
def long_readings(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("readings", default=LONG_READINGS)


@pytest.fixture
def results(request: pytest.FixtureRequest) -> list[Result]:
    return request.config.stash[_RESULTS]


@pytest.fixture(scope="session")
def fault_servers() -> Iterator[Servers]:
    with exclusive("fault") as home:
        local = LocalServers(home / "fault", packages=home / "packages")
        # What an interrupted run left may be in any state.
        local.reset()
        local.start()
        servers = Servers(local)
        yield servers
        servers.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash[_RESULTS]
    if not results:
        return
    terminalreporter.section("faults")
    heads = ("hits", "published", "acknowledged", "stored", "duplicate", "conflict", "quarantined", "lost", "s")
    widths = [max(len(head), 9) for head in heads]
    first = max(len(result.kind) for result in results)
    write = terminalreporter.write_line
    write(f"{'readings':{first}}  " + "  ".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    total = [0] * len(heads)
    for result in results:
        numbers = [
            result.hits, result.published, result.acknowledged, result.stored, result.duplicate, result.conflict,
            result.quarantined, result.lost, round(result.seconds),
        ]  # fmt: skip
        total = [a + b for a, b in zip(total, numbers, strict=True)]
        write(f"{result.kind:{first}}  " + _line(numbers, widths) + f"  {result.note}")
    write(f"{'in all':{first}}  " + _line(total, widths))
    write(f"messages sent by the gateways: {sum(result.sent for result in results):,}; seed {config.stash[_SEED]}")


def _line(numbers: list[int], widths: list[int]) -> str:
    return "  ".join(f"{number:>{width},}" for number, width in zip(numbers, widths, strict=True))
