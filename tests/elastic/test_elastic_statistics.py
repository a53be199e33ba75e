from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch.elastic import NormEstimator


def estimated(batches, name="here"):
    estimator = NormEstimator()
    for batch in batches:
        estimator.update(name, batch)
    return estimator.statistics()[name]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.sampled_from([(), (3,), (2, 4)]),
    st.integers(0, 1000),
)
def test_equals_one_large_batch(sizes, rest, seed):
    generator = torch.Generator().manual_seed(seed)
    batches = [
        torch.randn(size, 4, *rest, generator=generator, dtype=torch.float64) * (i + 1) + 3 * i
        for i, size in enumerate(sizes)
    ]
    mean, var = estimated(batches)
    flat = torch.cat(batches).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, flat.mean(1), rtol=1e-12, atol=1e-12)
    expected = flat.var(1) if flat.shape[1] > 1 else torch.zeros(4, dtype=torch.float64)
    torch.testing.assert_close(var, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("offset", [0, 100, -100])
def test_single_precision_at_a_large_mean(offset):
    # E[x^2] - mean^2 would be wrong in the third digit here.
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randn(size, 8, 50, generator=generator) + offset for size in (64, 17, 1, 33, 128)
    ]
    mean, var = estimated(batches)
    precise = torch.cat(batches).double()
    assert mean.dtype == var.dtype == torch.float32
    expected = precise.var((0, 2))
    assert ((var.double() - expected).abs() / expected).max() < 1e-5
    scale = precise.mean((0, 2)).abs().clamp(min=1)
    assert ((mean.double() - precise.mean((0, 2))).abs() / scale).max() < 1e-5


def test_batches_normalise_by_themselves():
    estimator = NormEstimator()
    estimator.update("here", torch.full((2, 3), 100.0))
    x = torch.randn(5, 3, dtype=torch.float64)
    mean, var = estimator.update("here", x)
    torch.testing.assert_close(mean, x.mean(0))
    torch.testing.assert_close(var, x.var(0, correction=0))


def test_layers_are_kept_apart():
    estimator = NormEstimator()
    one, other = torch.randn(5, 3), torch.randn(4, 7)
    estimator.update("one", one)
    estimator.update("other", other)
    found = estimator.statistics()
    assert set(found) == {"one", "other"}
    torch.testing.assert_close(found["one"][0], one.mean(0))
    torch.testing.assert_close(found["other"][1], other.var(0))


def test_half_precision_batches_are_collected_in_single():
    mean, var = estimated([torch.full((4, 3), 1000.0).bfloat16(), torch.ones(4, 3).bfloat16()])
    assert mean.dtype == var.dtype == torch.float32
    torch.testing.assert_close(mean, torch.full((3,), 500.5))


def test_nothing_seen():
    assert NormEstimator().statistics() == {}


def test_estimators_share_nothing():
    one, other = NormEstimator(), NormEstimator()
    one.update("here", torch.ones(2, 3))
    assert other.statistics() == {}
