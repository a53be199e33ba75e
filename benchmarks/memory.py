"""How much more memory a call takes at its peak than before it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_megabytes(run: Callable[[], object], device: torch.device) -> float | None:
    """10^6 bytes: CUDA's allocations, or resident memory on Linux; `None` elsewhere."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # give back what earlier work left behind
        _CLEAR.write_text("5")  # the peak is forgotten
        before = _resident("VmRSS")
        run()
        return (_resident("VmHWM") - before) / 1e6
    except (OSError, AttributeError):
        return None


def _resident(key: str) -> int:
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:")]
    return 1024 * int(line.split()[1])
