"""Commands in processes that can be killed, without the seconds that importing torch takes.

A fork server imports everything once; every command is a fork of it, a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the fork server reads it when it imports torch
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "vitsearch.train",
        "vitsearch.search",
        "vitsearch.shrink",
        "tests.commands.killing",
        "timm.scheduler",
    ]
)
PATIENCE = 120.0  # seconds that no test should need; a hang takes longer


def _run(
    name: str, overrides: tuple[str, ...], folder: str, output: str, environment: dict[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, file in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{output}.{file}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [f"vitsearch.{name}", *overrides]
    main = importlib.import_module(f"vitsearch.{name}").main
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def start(
    name: str, *overrides: str, folder: Path, output: str = "", **variables: str
) -> BaseProcess:
    """Start `python -m vitsearch.<name> overrides` in a folder, without waiting for its end.

    What it prints is appended to the files `<output>.out` and `<output>.err` there.
    """
    folder.mkdir(exist_ok=True, parents=True)
    hidden = ("PL_", "LOCAL_RANK", "WORLD_SIZE", "MASTER_", "HYDRA_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment = kept | {"OMP_NUM_THREADS": "1"} | variables
    process = _context.Process(
        target=_run, args=(name, overrides, str(folder), output, environment)
    )
    process.start()
    return process


def end(process: BaseProcess) -> int:
    """Wait for a process; its exit code, negative for a signal."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"process {process.pid} hangs")
    return process.exitcode


def kill_when(process: BaseProcess, condition: Callable[[], bool], signum: int) -> int:
    """Send a signal as soon as something holds, and wait; if the process ends before, its code."""
    assert process.pid is not None
    deadline = time.monotonic() + PATIENCE
    while process.is_alive() and not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.002)
    if process.is_alive():
        os.kill(process.pid, signum)
    return end(process)


def lines_of(run: Path) -> int:
    """How many candidates the history holds, a torn last line aside."""
    file = run / "search" / "history.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def results(run: Path) -> dict[str, bytes]:
    """What two runs must have in common, byte by byte."""
    names = ("search/history.jsonl", "search/best.json", "best/model.safetensors", "metrics.csv")
    return {name: (run / name).read_bytes() for name in names if (run / name).is_file()}


def weights(run: Path) -> str:
    """The supernet's weights as the search has seen them."""
    settings = json.loads((run / "search" / "settings.json").read_text())
    return str(settings["weights"])
