"""Metrics that the library does not have, as somebody adds them: one file each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from vitsearch.costs import Metric, forget_metric, register_metric

EXTEND = Path(__file__).resolve().parents[1] / "examples" / "extend"


@contextmanager
def example(module: str, name: str) -> Iterator[Metric]:
    """A metric of `examples/extend`, registered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXTEND)
        metric = getattr(import_module(module), name)
        register_metric(metric)
        try:
            yield metric
        finally:
            forget_metric(metric.name)
            sys.modules.pop(module)


@pytest.fixture
def activations() -> Iterator[Metric]:
    """A closed form: bytes of activations, of which the largest piece counts."""
    with example("activation_bytes", "ACTIVATIONS") as metric:
        yield metric


@pytest.fixture
def cold_start() -> Iterator[Metric]:
    """A measured one: milliseconds to make a network and run it once."""
    with example("cold_start", "COLD_START") as metric:
        yield metric
