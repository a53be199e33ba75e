from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch.elastic.calibration import CrossMoments, Moments


def rows_of(sizes, dim, seed, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return [
        torch.randn(size, dim, generator=generator, dtype=torch.float64) @ mix + offset + i
        for i, size in enumerate(sizes)
    ]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 1000), st.booleans())
def test_batches_and_processes_equal_one_batch(sizes, seed, apart):
    sizes = [*sizes, 3]
    batches = rows_of(sizes, 5, seed)
    moments = Moments.empty(5)
    for batch in batches:
        if apart:
            moments.merge(Moments.of(batch))
        else:
            moments.update(batch)
    rows = torch.cat(batches).numpy()
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12, atol=1e-12)
    expected = np.cov(rows.T, bias=True)
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(moments.second_moment, rows.T @ rows / len(rows), rtol=1e-10)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_single_precision_at_a_large_mean(offset):
    batches = [batch.float() for batch in rows_of([64, 17, 1, 33], 6, 0, offset)]
    moments = Moments.empty(6)
    for batch in batches:
        moments.update(batch)
    expected = np.cov(torch.cat(batches).double().numpy().T, bias=True)
    assert moments.scatter.dtype == torch.float64
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-5, atol=1e-5)


def test_tokens_of_images_are_rows_and_half_precision_is_not_squared():
    tokens = (torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(1)) * 300).half()
    moments = Moments.of(tokens)
    assert moments.count == 21
    expected = np.cov(tokens.double().reshape(21, 4).numpy().T, bias=True)
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-4)


def test_select_and_transform_are_moments_of_changed_rows():
    (rows,) = rows_of([40], 6, 3)
    kept, basis = torch.tensor([4, 0, 1]), torch.randn(6, 2, dtype=torch.float64)
    for changed, expected in (
        (Moments.of(rows).select(kept), Moments.of(rows[:, kept])),
        (Moments.of(rows).transform(basis), Moments.of(rows @ basis)),
    ):
        torch.testing.assert_close(changed.mean, expected.mean)
        torch.testing.assert_close(changed.scatter, expected.scatter)


def test_state_returns_the_same_moments(tmp_path):
    (rows,) = rows_of([40], 6, 3)
    moments = Moments.of(rows)
    torch.save(moments.state_dict(), tmp_path / "moments.pt")
    again = Moments.from_state(torch.load(tmp_path / "moments.pt", weights_only=True))
    assert again.count == 40
    assert torch.equal(again.scatter, moments.scatter)
    again.update(rows)
    assert moments.count == 40


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 1000))
def test_cross_moments_know_the_error_of_any_weights(sizes, seed):
    inputs, targets = rows_of(sizes, 5, seed, 50.0), rows_of(sizes, 3, seed + 1, -20.0)
    observed = CrossMoments.empty(5, 3)
    for index, (x, t) in enumerate(zip(inputs, targets, strict=True)):
        if index % 2:
            observed.update(x, t)
        else:
            other = CrossMoments.empty(5, 3)
            other.update(x, t)
            observed.merge(other)
    x, t = torch.cat(inputs), torch.cat(targets)
    expected = (t - t.mean(0)).T @ (x - x.mean(0))
    torch.testing.assert_close(observed.cross, expected, rtol=1e-9, atol=1e-9)
    weight = torch.randn(3, 5, dtype=torch.float64)
    for bias in (None, torch.randn(3, dtype=torch.float64)):
        rest = t - x @ weight.T - (0 if bias is None else bias)
        error = float(rest.square().sum(1).mean())
        assert observed.error(weight, bias) == pytest.approx(error, rel=1e-8)


def test_cross_moments_in_single_precision():
    x = torch.cat(rows_of([200, 100], 5, 0, 100.0))
    t = torch.cat(rows_of([200, 100], 3, 1, -70.0)) + x[:, :3]
    observed = CrossMoments.empty(5, 3)
    for part in (slice(0, 130), slice(130, 300)):
        observed.update(x[part].float(), t[part].float())
    expected = (t - t.mean(0)).T @ (x - x.mean(0))
    torch.testing.assert_close(observed.cross, expected, rtol=1e-4, atol=1e-2)


def test_a_weight_counts_rows_that_often():
    (x,), (t,) = rows_of([30], 5, 0), rows_of([30], 3, 1)
    weighted, repeated = CrossMoments.empty(5, 3), CrossMoments.empty(5, 3)
    for observed, classes, weight in ((weighted, slice(0, 4), 5), (repeated, [0, 1, 2, 3] * 5, 1)):
        observed.update(x, t)
        observed.update(x[classes], t[classes], weight=weight)
    assert weighted.inputs.count == repeated.inputs.count == 50
    torch.testing.assert_close(weighted.inputs.scatter, repeated.inputs.scatter)
    torch.testing.assert_close(weighted.cross, repeated.cross)
    torch.testing.assert_close(weighted.target_mean, repeated.target_mean)
    torch.testing.assert_close(weighted.target_scatter, repeated.target_scatter)
    moments = Moments.of(x)
    moments.update(x[:4], weight=5)
    torch.testing.assert_close(moments.covariance, repeated.inputs.covariance)


def test_long_rows_have_the_same_moments():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 1100, generator=generator, dtype=torch.float64)
    expected = np.cov(rows.numpy().T, bias=True)
    np.testing.assert_allclose(Moments.of(rows).covariance, expected, rtol=1e-10, atol=1e-12)
