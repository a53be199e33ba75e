"""One run at a time in a run folder: the first process of a run holds a lock there while it works.

The lock is the kernel's (`flock`), on a file that says who holds it. It ends with the process,
however that ends, so a killed run goes on without anybody clearing up. Only first processes lock;
the other processes of a run that was started all at once look whose word is in the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitsearch.errors import ConfigError
from vitsearch.runs.files import read_json_or_empty
from vitsearch.runs.launch import is_first_process, launch_id
from vitsearch.runs.layout import LOCK_FILE

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FIRST_SECONDS = 60.0  # that the first process of a run may take longer to come here
_POLL_SECONDS = 0.2
_held: set[int] = set()


@contextmanager
def sole_run(folder: Path, command: str) -> Iterator[None]:
    """Hold the folder for this run while the block runs.

    Where locks are not possible, a note says so and the run goes on without one.

    Args:
        folder: The run folder; it exists.
        command: What runs, for those who find the folder taken.

    Raises:
        ConfigError: A run is going on there.
    """
    file = folder / LOCK_FILE
    if not is_first_process():
        _follow_the_first(file, folder)
        yield
        return
    descriptor = _take(file, folder)
    if descriptor is None:
        yield
        return
    _held.add(descriptor)
    _say_who(descriptor, command)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()  # while it is held: `_take` sees that the name is another file's, or gone
        _held.discard(descriptor)
        os.close(descriptor)


def _take(file: Path, folder: Path) -> int | None:
    """A descriptor that holds the lock; `None` where there are no locks."""
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:  # nothing can be written here; who has to, says so
            return None
        try:
            _lock(descriptor)
        except BlockingIOError:
            holder = read_json_or_empty(file)
            os.close(descriptor)
            raise _taken(folder, holder) from None
        except OSError as error:
            os.close(descriptor)
            file.unlink(missing_ok=True)
            print(
                f"vitsearch: note: the file system of {folder} has no locks "
                f"({error.strerror}); do not start a second run there",
                file=sys.stderr,
            )
            return None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                return descriptor
        os.close(descriptor)  # another run has just ended and taken its file away


def _lock(descriptor: int) -> None:
    if fcntl is None:
        raise OSError(0, "this system has no flock")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _say_who(descriptor: int, command: str) -> None:
    who = {
        "command": f"vitsearch.{command}",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "launch": launch_id(),
    }
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(who) + "\n").encode(), 0)


def _taken(folder: Path, holder: dict[str, Any]) -> ConfigError:
    known = {"command", "host", "pid"} <= set(holder)
    who = f" ({holder['command']}, process {holder['pid']} on {holder['host']})" if known else ""
    return ConfigError(
        f"run_dir={folder}: a run is going on there{who}; wait for its end, or choose another "
        f"run_dir"
    )


def _follow_the_first(file: Path, folder: Path) -> None:
    """Wait until the first process of this run has the folder.

    Raises:
        ConfigError: Another run keeps it.
    """
    own = launch_id()
    deadline = time.monotonic() + _FIRST_SECONDS
    while own is not None:
        holder = read_json_or_empty(file)
        if holder.get("launch", own) == own:  # or nobody's: the first one is yet to come
            return
        if time.monotonic() > deadline:
            raise _taken(folder, holder)
        time.sleep(_POLL_SECONDS)


def _leave_to_the_parent() -> None:
    """Close the descriptors in a forked child: a loader's worker must not outlive the lock."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)
