"""A wall clock that can be stepped from outside, for a collector's process with this folder on its PYTHONPATH.

`time.time()` is the one clock of the collector that can step; it reads the monotonic one for everything else. (Debian's
libfaketime breaks Python's own sleeping: clock_nanosleep answers EINVAL.)
"""

import os
import time
from pathlib import Path

_file = Path(os.environ["STEPPED_CLOCK"])
_time = time.time


def _stepped() -> float:
    return _time() + float(_file.read_text() or 0)


time.time = _stepped
