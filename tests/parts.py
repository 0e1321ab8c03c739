"""`make test`: the suite in parts side by side, for most of it waits on brokers and databases.

Each part is a pytest of its own with servers or topics of its own. Its lines are told as they come, what it has to say
at its end as one block, and the last line sums up all parts as pytest does.
"""

import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_ALONE = ("tests/integration", "tests/fault")


def parts() -> dict[str, list[str]]:
    """What pytest is given for each part: the two halves of the integration tests, the faults, and all others."""
    integration = sorted(str(path.relative_to(_ROOT)) for path in (_ROOT / "tests/integration").glob("test_*.py"))
    first = [path for path in integration if Path(path).name < "test_n"]
    return {
        "integration-a-m": first,
        "integration-n-z": [path for path in integration if path not in first],
        "fault": ["tests/fault"],
        "others": ["tests", *(f"--ignore={folder}" for folder in _ALONE)],
    }


_SUMMARY = re.compile(r"=+ .+ in [\d.]+s( \([\d:]+\))? =+")
_NO_TESTS = 5
_INTERRUPTED = 2
_KINDS = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")


class Part:
    """One pytest and what it says."""

    _telling = threading.Lock()

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self.said: list[str] = []
        # -u: a line is told when it is whole, and not when a buffer is full.
        command = [
            sys.executable, "-u", "-m", "pytest", "-m", "not long", "-o", f"cache_dir=.pytest_cache/{name}", *arguments
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait(self) -> int:
        """Return the exit status when everything is told."""
        status = self.process.wait()
        self._reader.join()
        return 0 if status == _NO_TESTS else status

    def counts(self) -> Counter[str]:
        """The numbers of its own last line; what an ending interpreter says may come after it."""
        ends = [line for line in self.said if _SUMMARY.fullmatch(line.strip())]
        return counted(ends[-1] if ends else "")

    def _read(self) -> None:
        assert self.process.stdout is not None
        closing = False
        for line in self.process.stdout:
            self.said.append(line)
            closing = closing or (line.startswith("===") and "test session starts" not in line)
            if not closing and line.startswith("tests/"):
                self._tell(line)
        begin = next((n for n, line in enumerate(self.said) if line.startswith("===") and n), 0)
        self._tell(f"\n{f' {self.name} ':#^80}\n" + "".join(self.said[begin:]))

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
    running = [Part(name, arguments) for name, arguments in parts().items()]
    try:
        statuses = [part.wait() for part in running]
    except KeyboardInterrupt:
        # Every part heard it as well and says so at its end.
        statuses = [part.wait() for part in running] + [_INTERRUPTED]
    total: Counter[str] = sum((part.counts() for part in running), Counter())
    failed = [part.name for part, status in zip(running, statuses, strict=False) if status]
    print()
    if failed:
        print("not passed: " + ", ".join(failed))
    print(summary(total, time.monotonic() - begin))
    return max(statuses, key=abs)


if __name__ == "__main__":
    sys.exit(main())
