"""Peak memory of a network on a CPU, measured in processes that do nothing else.

A process that has trained and searched says little: its allocator answers from memory that earlier
work left behind. So a helper process imports what is needed and waits; for each architecture it
forks a child, which runs the network and reports how far its resident memory rose. Forking a clean
process is fast, and exact to about a tenth of a megabyte.

Not `ru_maxrss` of a new process: Linux hands the parent's peak on through `exec`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from vitsearch.errors import ConstraintError
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet.measuring.latency import make_run

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from vitsearch.supernet.measuring.peak_memory import serve; serve()"
)


class PeakMemory:
    """The helper process; it starts when it is first needed and ends with `close`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> PeakMemory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def measure(
        self,
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
            ConstraintError: The system cannot fork processes, or the network did not run.
        """
        if not hasattr(os, "fork"):
            raise ConstraintError(
                "constraint.memory_mb cannot be measured on the CPU of this system, which does "
                "not fork processes; measure on a GPU, or use constraint.params"
            )
        request = {
            "space": space.config,
            "architecture": architecture.to_dict(),
            "num_classes": num_classes,
            "batch_size": batch_size,
            "dtype": dtype,
            "threads": torch.get_num_threads(),
        }
        answer = self._ask(json.dumps(request))
        if "bytes" not in answer:
            raise ConstraintError(
                f"the memory of architecture {architecture.digest} could not be measured: "
                f"{answer['error']}"
            )
        return float(answer["bytes"]) / 1e6

    def close(self) -> None:
        """End the helper process, if there is one."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _ask(self, line: str) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for the search, which ends this process
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        if not answer:
            return {"error": "the process that measures has ended"}
        found: dict[str, Any] = json.loads(answer)
        return found


def serve() -> None:
    """What the helper process does: a child for each request, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        answers.write(json.dumps(_in_child(json.loads(line))) + "\n")
        answers.flush()


def _in_child(request: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer: dict[str, Any]
        try:
            answer = {"bytes": _peak_bytes(**request)}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(text) if text else {"error": "its process was killed"}
    return found


def _peak_bytes(
    space: dict[str, Any],
    architecture: dict[str, Any],
    num_classes: int,
    batch_size: int,
    dtype: str,
    threads: int,
) -> int:
    torch.set_num_threads(threads)
    described = SearchSpace(space), Architecture.from_dict(architecture)
    _run_any_network()
    before = _resident("VmRSS")
    run = make_run(
        *described,
        num_classes=num_classes,
        batch_size=batch_size,
        device=torch.device("cpu"),
        dtype=getattr(torch, dtype),
    )
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # gives back what making and converting it took
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    for _ in range(2):
        run()
    return max(_resident("VmHWM") - before, 0)


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
