"""Windows on measured costs, and how they are measured, as settings."""

from __future__ import annotations

import math

import pytest

from vitsearch import Cost
from vitsearch.costs import Constraint, MeasureSettings
from vitsearch.errors import ConstraintError


def test_windows_on_measured_costs_stand_apart():
    constraint = Constraint(macs=(1, 2), latency_ms=(None, 5), memory_mb=("10", "2K"))
    assert constraint.windows() == {"macs": (1, 2)}
    assert constraint.measured_windows() == {"latency_ms": (0, 5), "memory_mb": (10, 2000)}
    assert constraint.holds(Cost(2, 10**9))  # of closed forms
    assert Constraint().measured_windows() == {}
    assert constraint.computed() == Constraint(macs=(1, 2))


def test_excess_of_measured_costs():
    constraint = Constraint(latency_ms=(4, 8), memory_mb=(None, 100))
    assert constraint.measured_excess({"latency_ms": 4, "memory_mb": 100}) == 0
    assert constraint.measured_excess({"latency_ms": 2, "memory_mb": 150}) == pytest.approx(1.0)
    assert constraint.measured_excess({"latency_ms": 12}) == pytest.approx(0.5)
    assert Constraint(latency_ms=(0, 0)).measured_excess({"latency_ms": 0.1}) > 0


@pytest.mark.parametrize("metric", ["latency_ms", "memory_mb"])
@pytest.mark.parametrize("window", [(2, 1), ("fast", None), 3, (-1, 2), (1, 2, 3), (math.nan, 1)])
def test_malformed_windows_name_themselves(metric, window):
    with pytest.raises(ConstraintError, match=f"constraint.{metric}"):
        Constraint(**{metric: window})


def test_text():
    constraint = Constraint(macs=("1G", None), latency_ms=(None, 2.5), memory_mb=(10, 20))
    assert str(constraint) == "MACs 1 G to any, latency 0 to 2.5 ms, memory 10 to 20 MB"


def test_settings_of_measuring_travel_with_the_windows():
    settings = {"device": "cuda:1", "batch_size": 8, "dtype": "bfloat16", "repeats": 3}
    constraint = Constraint.from_settings({"latency_ms": [1, 2], "measure": settings})
    assert constraint.measure == MeasureSettings(**settings)
    assert constraint.measure.to_dict()["warmup"] == 3
    assert Constraint().measure == MeasureSettings()
    assert hash(constraint) != hash(Constraint(latency_ms=(1, 2)))
    assert constraint == Constraint(latency_ms=(1, 2), measure=MeasureSettings(**settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 0}, "constraint.measure.batch_size=0 must be a whole number, 1 or more"),
        ({"batch_size": True}, "constraint.measure.batch_size=True"),
        ({"repeats": 0}, "constraint.measure.repeats=0"),
        ({"warmup": -1}, "constraint.measure.warmup=-1 must be a whole number, 0 or more"),
        ({"warmup": 1.5}, "constraint.measure.warmup=1.5"),
        ({"device": "toaster"}, "constraint.measure.device=toaster is unknown; legal: auto"),
        ({"device": "cuda:x"}, "constraint.measure.device=cuda:x"),
        ({"device": None}, "constraint.measure.device=None"),
        ({"dtype": "int8"}, "constraint.measure.dtype=int8 is unknown; legal: float32"),
        ({"compile": 1}, "constraint.measure.compile=1 must be true or false"),
        ({"runs": 1}, "constraint.measure.runs is no setting; legal: device, batch_size"),
        ("cpu", "constraint.measure=cpu must be settings by name"),
        (None, "constraint.measure=None must be settings by name"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ConstraintError) as info:
        Constraint(measure=settings)
    assert words in str(info.value)
    assert "\n" not in str(info.value)
