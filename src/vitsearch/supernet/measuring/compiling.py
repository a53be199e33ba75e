"""`torch.compile`, with one line where it cannot work."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from vitsearch.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


def check_compiling(device: torch.device) -> None:
    """Compile something small, which takes seconds, before a long run counts on it.

    Raises:
        ConfigError: What torch compiles with is not here.
    """
    compiled(_something)(torch.ones(8, device=device))


def _something(x: torch.Tensor) -> torch.Tensor:
    return 2 * x + 1


def compiled(call: Callable[P, R]) -> Callable[P, R]:
    """The same function, compiled for each kind of input when it first comes.

    What was compiled before is forgotten. Torch keeps compiled code by function, 256 versions of
    it: after as many networks in a process it would run further ones as they are.

    Raises:
        ConfigError: At a call: what torch compiles with, such as a C++ compiler, is not here.
    """
    torch.compiler.reset()
    run = torch.compile(call)
    from torch._dynamo.exc import BackendCompilerFailed  # slow to import, and loaded by now

    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return run(*args, **kwargs)
        except BackendCompilerFailed as error:
            why = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"compile=true: torch.compile does not work here: {why}; install what it misses, "
                f"or leave compile out"
            ) from error

    return checked
