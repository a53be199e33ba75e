"""Peak memory of a network on a CPU, measured in a process of its own for each network.

A process that has trained and searched says little: its allocator answers from memory that earlier
work left behind. A new process takes seconds to start and says it to about a tenth of a megabyte.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path

import torch

from vitsearch.errors import ConstraintError
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet.measuring.latency import make_run

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from vitsearch.supernet.measuring.peak_memory import answer; answer()"
)


def cpu_memory_mb(
    space: SearchSpace,
    architecture: Architecture,
    *,
    num_classes: int,
    batch_size: int,
    dtype: str,
) -> float:
    """Peak memory of an inference, weights included, in 10^6 bytes.

    Without Python, the libraries, and what they allocate for any network.

    Args:
        space: Where the architecture is legal.
        architecture: Whose network.
        num_classes: Of its classifier.
        batch_size: Images that run together.
        dtype: Of weights and images, by name.

    Raises:
        ConstraintError: The network did not run.
    """
    request = {
        "space": space.config,
        "architecture": architecture.to_dict(),
        "num_classes": num_classes,
        "batch_size": batch_size,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
    }
    process = subprocess.run(
        [sys.executable, "-c", _CODE, json.dumps(sys.path)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C is for the search, which waits for this process
    )
    said = (process.stdout if process.returncode == 0 else process.stderr).strip()
    last = said.splitlines()[-1] if said else "its process was killed"
    if process.returncode != 0:
        raise ConstraintError(
            f"the memory of architecture {architecture.digest} could not be measured: {last}"
        )
    return float(last) / 1e6


def answer() -> None:
    """What that process does: it reads a request and prints bytes."""
    request = json.load(sys.stdin)
    torch.set_num_threads(request["threads"])
    _run_any_network()
    before = _resident("VmRSS")
    run = make_run(
        SearchSpace(request["space"]),
        Architecture.from_dict(request["architecture"]),
        num_classes=request["num_classes"],
        batch_size=request["batch_size"],
        device=torch.device("cpu"),
        dtype=getattr(torch, request["dtype"]),
    )
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # gives back what making and converting it took
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    for _ in range(2):
        run()
    print(max(_resident("VmHWM") - before, 0))


def _run_any_network() -> None:
    """Bring the code and the workspaces that every network needs into memory."""
    layer = torch.nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, activation="gelu").eval()
    stem = torch.nn.Conv2d(1, 8, 3)
    with torch.inference_mode():
        for _ in range(2):
            layer(stem(torch.zeros(1, 1, 6, 6)).flatten(2).mT)


def _resident(key: str) -> int:
    """Resident memory of this process in bytes: now (`VmRSS`) or at its peak (`VmHWM`)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
