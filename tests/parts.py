"""`make test`: the suite in parts, three at a time, since for most of it waits on brokers and databases.

Each part is a pytest of its own with servers or topics of its own. Its lines are told as they come, what it has to say
at its end as one block, and the last line sums up all parts as pytest does.
"""

import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_ALONE = ("tests/integration", "tests/fault")


def parts() -> dict[str, list[str]]:
    """What pytest is given for each part, in the order in which they begin.

    The two halves of the integration tests wait, the others compute. The faults come when the others are through: they
    look at clocks.
    """
    integration = sorted(str(path.relative_to(_ROOT)) for path in (_ROOT / "tests/integration").glob("test_*.py"))
    first = [path for path in integration if Path(path).name < "test_n"]
    return {
        "integration-a-m": first,
        "integration-n-z": [path for path in integration if path not in first],
        "others": ["tests", *(f"--ignore={folder}" for folder in _ALONE)],
        "fault": ["tests/fault"],
    }


_SUMMARY = re.compile(r"=+ .+ in [\d.]+s( \([\d:]+\))? =+")
_AT_A_TIME = 3
_NO_TESTS = 5
_INTERRUPTED = 2
_KINDS = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")


class Part:
    """One pytest and what it says."""

    _telling = threading.Lock()

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self._arguments = arguments
        self._said: list[str] = []

    def run(self) -> int:
        """Run it and return its exit status when everything is told."""
        # -u: a line is told when it is whole, and not when a buffer is full.
        command = [
            sys.executable, "-u", "-m", "pytest", "-m", "not long", "-o", f"cache_dir=.pytest_cache/{self.name}",
            *self._arguments,
        ]  # fmt: skip
        with subprocess.Popen(
            command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            self._read(process.stdout)
        return 0 if process.returncode == _NO_TESTS else process.returncode

    def counts(self) -> Counter[str]:
        """The numbers of its own last line; what an ending interpreter says may come after it."""
        ends = [line for line in self._said if _SUMMARY.fullmatch(line.strip())]
        return counted(ends[-1] if ends else "")

    def _read(self, lines: Iterable[str]) -> None:
        closing = False
        for line in lines:
            self._said.append(line)
            closing = closing or (line.startswith("===") and "test session starts" not in line)
            if not closing and line.startswith("tests/"):
                self._tell(line)
        begin = next((n for n, line in enumerate(self._said) if line.startswith("===") and n), 0)
        self._tell(f"\n{f' {self.name} ':#^80}\n" + "".join(self._said[begin:]))

    def _tell(self, text: str) -> None:
        with self._telling:
            sys.stdout.write(text)
            sys.stdout.flush()


def counted(line: str) -> Counter[str]:
    """Read pytest's last line: `== 2 failed, 3 passed in 1.20s ==`."""
    found = re.findall(rf"(\d+) ({'|'.join(_KINDS)})s?\b", line)
    return Counter({kind: int(number) for number, kind in found})


def summary(counts: Counter[str], seconds: float) -> str:
    """Write such a line for all parts."""
    parts = [
        f"{counts[kind]} {kind}{'s' if kind in ('error', 'warning') and counts[kind] != 1 else ''}"
        for kind in _KINDS
        if counts[kind]
    ]
    minutes = f"({int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02})"
    told = f" {', '.join(parts) or 'no tests ran'} in {seconds:.2f}s {minutes} "
    return f"{told:=^80}"


def main() -> int:
    """Run all parts; 0 when every one of them passed."""
    begin = time.monotonic()
    all_parts = [Part(name, arguments) for name, arguments in parts().items()]
    with ThreadPoolExecutor(_AT_A_TIME) as executor:
        running = [executor.submit(part.run) for part in all_parts]
        try:
            wait(running)
        except KeyboardInterrupt:
            # Every part that runs heard it as well and says so at its end.
            executor.shutdown(cancel_futures=True)
    statuses = [_INTERRUPTED if one.cancelled() else one.result() for one in running]
    total: Counter[str] = sum((part.counts() for part in all_parts), Counter())
    failed = [part.name for part, status in zip(all_parts, statuses, strict=True) if status]
    print()
    if failed:
        print("not passed: " + ", ".join(failed))
    print(summary(total, time.monotonic() - begin))
    return max(statuses, key=abs)


if __name__ == "__main__":
    sys.exit(main())
