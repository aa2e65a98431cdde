"""How much memory this process has used since a chosen moment, and how much is left."""

import contextlib
import ctypes
import ctypes.util
import gc
import sys
from pathlib import Path

import psutil


def reset_peak_memory() -> None:
    """Release memory that earlier work left behind, and count the peak from here."""
    gc.collect()
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes() -> int:
    """Largest resident set of this process since the last reset.

    Where the system keeps no such count it is the present one.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)


def available_memory_bytes() -> int:
    """Memory this process could still take: that of the machine, or of its control group if less.

    A group's caches of files count as free, as the machine's do.
    """
    available = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text(encoding="ascii"))  # "max" when there is none
        for line in (group / "memory.stat").read_text(encoding="ascii").splitlines():
            if line.startswith("anon "):
                available = min(available, max(0, limit - int(line.split()[1])))
    return available
