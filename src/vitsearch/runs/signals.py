"""Ctrl-C and SIGTERM as a wish: granted at the next point where nothing is half done.

A command listens (`listening`). Loops that can be left at certain points only say so (`deferred`),
ask there whether an end is wished (`wished`), write what they have, and raise `Interrupted`.
Anywhere else the first signal raises it at once. The second signal ends the process, whatever it
is doing. Where nobody listens (a `Trainer` of a user's own) all of this does nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ECHO_SECONDS = 0.5  # a launcher may pass on what the terminal has sent already


class Interrupted(BaseException):
    """The run ends before its time, as somebody wished; all that is needed to go on is on disk.

    No `Exception`, so that nothing on the way takes it for a failure.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """What a shell reports for a process that ended by the signal: 130 for Ctrl-C."""
        return 128 + self.signum


class _Listener:
    def __init__(self, *, speaks: bool) -> None:
        self.speaks = speaks
        self.wished = 0
        self.deferred = 0
        self._pid = os.getpid()
        self._first = 0.0
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def install(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def remove(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.wished and now - self._first < _ECHO_SECONDS:
            return
        if self.wished:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.wished, self._first = signum, now
        if os.getpid() != self._pid:
            return  # a worker of a loader: it ends when its loader does
        if not self.deferred:
            raise Interrupted(signum)
        if self.speaks:
            line = "\nvitsearch: ending at the next safe point; once more ends at once\n"
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line.encode())


_listener: _Listener | None = None


@contextmanager
def listening(*, speaks: bool = True) -> Iterator[None]:
    """Take the signals of this process over; only its main thread can.

    Args:
        speaks: Whether to acknowledge a signal on the standard error stream.
    """
    global _listener
    if _listener is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _listener = _Listener(speaks=speaks)
    _listener.install()
    try:
        yield
    finally:
        _listener.remove()
        _listener = None


def wished() -> int:
    """The signal that asked for an end, or 0."""
    return 0 if _listener is None else _listener.wished


def end_if_wished() -> None:
    """End where nothing is half done, if a signal came.

    A signal outside `deferred` raises at once, but Python drops what is raised in a finaliser:
    a long loop asks again where it goes round.

    Raises:
        Interrupted: One came.
    """
    if wished():
        raise Interrupted(wished())


def defer() -> None:
    """From here on an end waits until the code asks for it; pairs with `undefer`."""
    if _listener is not None:
        _listener.deferred += 1
        _listener.install()  # Lightning puts handlers of its own before a training


def undefer() -> None:
    """From here on a signal ends at once again."""
    if _listener is not None:
        _listener.deferred = max(_listener.deferred - 1, 0)


@contextmanager
def deferred() -> Iterator[None]:
    """`defer`, and `undefer` however the block ends."""
    defer()
    try:
        yield
    finally:
        undefer()
