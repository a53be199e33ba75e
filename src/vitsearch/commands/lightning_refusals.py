"""What Lightning refuses while a training is set up or runs, as a line for whoever asked for it."""

from __future__ import annotations

import linecache

_PACKAGES = ("pytorch_lightning", "lightning_fabric")


def refused_by_lightning(error: BaseException) -> str | None:
    """The line of an error that Lightning itself has raised; `None` for all others.

    Lightning raises errors of many types. Its own are those that a `raise` of its code made, and no
    deeper frame: what goes wrong in a module, a callback or in PyTorch keeps its traceback.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not _is_of_lightning(trace.tb_frame.f_globals.get("__name__", "")):
        return None
    statement = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    if not statement.strip().startswith("raise"):
        return None
    return f"Lightning refuses it: {' '.join(str(error).split())}"


def _is_of_lightning(module: str) -> bool:
    return module.partition(".")[0] in _PACKAGES
