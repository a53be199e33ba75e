from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch.elastic.calibration import CrossMoments, Moments, PrefixRepair, fold, refit
from vitsearch.errors import ConfigError


def layer(dim=12, out=5, rows=200, seed=0):
    """Weights, bias and inputs whose entries depend on each other and have large means."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs = (draw(rows, dim) @ draw(dim, dim)).relu() + draw(dim)
    return draw(out, dim), draw(out), inputs


def lstsq(inputs, targets, *, intercept):
    """Predictions of numpy's least squares on raw rows."""
    x = inputs.numpy()
    if intercept:
        x = np.concatenate([x, np.ones((len(x), 1))], 1)
    return x @ np.linalg.lstsq(x, targets.numpy(), rcond=None)[0]


def outputs(inputs, weight, bias):
    return inputs @ weight.T + (0 if bias is None else bias)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.booleans(), st.booleans())
def test_fold_is_least_squares_on_raw_activations(seed, size, intercept, rotated):
    weight, bias, inputs = layer(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    if rotated:
        basis = torch.randn(12, size, generator=generator, dtype=torch.float64)
        cut, what = inputs @ basis, {"basis": basis}
    else:
        kept = torch.randperm(12, generator=generator)[:size]
        cut, what = inputs[:, kept], {"kept": kept}
    bias = bias if intercept else None
    folded = fold(weight, bias, Moments.of(inputs), **what, ridge=0.0)
    expected = lstsq(cut, outputs(inputs, weight, bias), intercept=intercept)
    np.testing.assert_allclose(outputs(cut, *folded), expected, rtol=1e-6, atol=1e-6)
    assert folded[0].shape == (5, size)
    assert (folded[1] is None) == (bias is None)


@pytest.mark.parametrize("intercept", [True, False])
def test_fold_with_dead_and_equal_channels_and_few_rows(intercept):
    weight, bias, inputs = layer(rows=9)
    inputs[:, 3] = 0.0
    inputs[:, 5] = inputs[:, 6]
    kept = torch.tensor([3, 5, 6, 0, 1, 2, 8, 9, 10, 11])
    bias = bias if intercept else None
    new, shift = fold(weight, bias, Moments.of(inputs), kept=kept, ridge=0.0)
    expected = lstsq(inputs[:, kept], outputs(inputs, weight, bias), intercept=intercept)
    np.testing.assert_allclose(outputs(inputs[:, kept], new, shift), expected, atol=1e-6)
    assert torch.equal(new[:, 0], weight[:, 3])
    assert new.abs().max() < 100


@pytest.mark.parametrize("ridge", [0.0, 0.1, 100.0])
def test_nothing_removed_leaves_the_layer_as_it_is(ridge):
    weight, bias, inputs = layer()
    moments = Moments.of(inputs)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    new, shift = fold(weight, bias, moments, kept=order, ridge=ridge)
    torch.testing.assert_close(new, weight[:, order])
    torch.testing.assert_close(shift, bias)
    basis = torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    new, shift = fold(weight, bias, moments, basis=basis, ridge=ridge)
    torch.testing.assert_close(new @ basis.T, weight)
    torch.testing.assert_close(shift, bias)


def test_a_large_ridge_leaves_the_kept_columns_and_corrects_the_mean():
    weight, bias, inputs = layer()
    kept = torch.tensor([2, 7, 1])
    new, shift = fold(weight, bias, Moments.of(inputs), kept=kept, ridge=1e12)
    torch.testing.assert_close(new, weight[:, kept])
    wanted = outputs(inputs, weight, bias).mean(0)
    torch.testing.assert_close(outputs(inputs[:, kept], new, shift).mean(0), wanted)


def test_fold_returns_the_precision_of_the_layer():
    weight, bias, inputs = layer()
    new, shift = fold(weight.float(), bias.half(), Moments.of(inputs), kept=torch.tensor([0, 1]))
    assert (new.dtype, shift.dtype) == (torch.float32, torch.float16)


def test_fold_refuses_bad_arguments():
    weight, bias, inputs = layer()
    moments = Moments.of(inputs)
    with pytest.raises(ConfigError, match="exactly one of"):
        fold(weight, bias, moments)
    with pytest.raises(ConfigError, match=r"ridge: -1\.0; must be"):
        fold(weight, bias, moments, kept=torch.tensor([0]), ridge=-1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_refit_is_least_squares_on_raw_activations(seed, intercept):
    weight, bias, inputs = layer(seed=seed)
    targets = outputs(inputs.abs(), weight, bias) + 3.0
    observed = CrossMoments.empty(12, 5)
    for x, t in zip(inputs.split(70), targets.split(70), strict=True):
        observed.update(x, t)
    new = refit(weight, bias if intercept else None, observed, ridge=0.0)
    expected = lstsq(inputs, targets, intercept=intercept)
    np.testing.assert_allclose(outputs(inputs, *new), expected, rtol=1e-6, atol=1e-6)
    rest = torch.from_numpy(expected) - targets
    assert observed.error(*new) == pytest.approx(float(rest.square().sum(1).mean()), rel=1e-6)
    stiff, _ = refit(weight, bias, observed, ridge=1e12)
    torch.testing.assert_close(stiff, weight)


def test_refit_of_the_original_targets_is_fold():
    weight, bias, inputs = layer()
    kept = torch.tensor([5, 1, 8, 3])
    observed = CrossMoments.empty(4, 5)
    observed.update(inputs[:, kept], outputs(inputs, weight, bias))
    torch.testing.assert_close(
        refit(weight[:, kept], bias, observed, ridge=0.0),
        fold(weight, bias, Moments.of(inputs), kept=kept, ridge=0.0),
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 12), st.booleans(), st.sampled_from([0.0, 0.03, 1.0]))
def test_prefixes_are_folds(seed, size, intercept, ridge):
    weight, bias, inputs = layer(seed=seed, rows=500)
    inputs += torch.randn(
        inputs.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    bias = bias if intercept else None
    moments = Moments.of(inputs)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    prefixes = PrefixRepair.of(weight, bias, moments, order, ridge=ridge)
    new, shift = prefixes.fold(size)
    expected, expected_shift = fold(weight, bias, moments, kept=order[:size], ridge=ridge)
    torch.testing.assert_close(new, expected, rtol=1e-6, atol=1e-8)
    if intercept:
        torch.testing.assert_close(shift, expected_shift, rtol=1e-6, atol=1e-8)
    if ridge == 0:
        rest = outputs(inputs, weight, bias) - outputs(inputs[:, order[:size]], new, shift)
        error = float(rest.square().sum(1).mean())
        assert float(prefixes.errors[size]) == pytest.approx(error, rel=1e-6, abs=1e-9)


def test_prefixes_refuse_bad_sizes_and_singular_covariances():
    weight, bias, inputs = layer()
    prefixes = PrefixRepair.of(weight, bias, Moments.of(inputs), torch.arange(12))
    with pytest.raises(ConfigError, match="size: 13; must be from 0 to 12"):
        prefixes.fold(13)
    inputs[:, 4] = inputs[:, 5]
    with pytest.raises(ConfigError, match=r"ridge: 0\.0; must be above 0"):
        PrefixRepair.of(weight, bias, Moments.of(inputs), torch.arange(12), ridge=0.0)
