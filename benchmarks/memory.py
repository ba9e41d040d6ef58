# SPDX-License-Identifier: Apache-2.0
"""Peak memory of one step, beyond what the process holds before it (Linux)."""

import contextlib
import ctypes
import gc
import re
import time
from collections.abc import Callable
from pathlib import Path

_PROCESS = Path("/proc/self")
# What proc(5) says to write so that the peak starts again from the present size.
_RESET_PEAK = "5"
_PAUSE, _PAUSES = 0.01, 300


def peak_bytes(step: Callable[[], object]) -> int | None:
    """Return the highest resident size during a step, less the size before it.

    What the step returns is held until the peak is read, so gradients count. None where the
    system does not say.
    """
    gc.collect()
    settle()
    _give_back()
    try:
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        before = _status("VmRSS")
    except OSError:
        return None
    held = step()
    peak = _status("VmHWM")
    del held
    return max(0, peak - before)


def settle() -> None:
    """Wait until the process has stopped freeing: XLA does so after its step has returned."""
    last = -1
    for _ in range(_PAUSES):
        try:
            size = _status("VmRSS")
        except OSError:
            return
        if size == last:
            return
        last = size
        time.sleep(_PAUSE)


def available_bytes() -> int | None:
    """Return how much memory the system could give now."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    return _kilobytes(text, "MemAvailable")


def _give_back() -> None:
    """Let malloc return what it keeps: a step that reuses it would look free of charge."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _status(field: str) -> int:
    return _kilobytes((_PROCESS / "status").read_text(encoding="ascii"), field)


def _kilobytes(text: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise OSError(f"no {field} in /proc")
    return 1024 * int(found[1])
