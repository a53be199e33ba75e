from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch.elastic.calibration import (
    Moments,
    PairFactors,
    fold,
    logit_maps,
    rotary_order,
    value_basis,
)

DOUBLE = torch.float64


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(shape[-1], shape[-1], generator=generator, dtype=DOUBLE)
    return torch.randn(*shape, generator=generator, dtype=DOUBLE) @ mix + 1.5


def centred(logits):
    """Softmax over the last dimension ignores its mean."""
    return logits - logits.mean(-1, keepdim=True)


def logit_error(q, k, maps):
    """Mean squared error over all pairs of one large image."""
    lost = centred(q @ k.T) - centred(q @ maps[0] @ maps[1].T @ k.T)
    return float(lost.square().mean())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 8))
def test_logit_error_is_the_one_promised_and_the_smallest(seed, rank):
    q, k = draw(60, 8, seed=seed), draw(50, 8, seed=seed + 1)
    maps = logit_maps(Moments.of(q), Moments.of(k))
    error = logit_error(q, k, (maps.queries[:, :rank], maps.keys[:, :rank]))
    assert float(maps.errors[rank]) * maps.total == pytest.approx(error, rel=1e-6, abs=1e-7)
    # No matrix of this rank comes closer to the centred logits (Eckart and Young).
    singular = torch.linalg.svdvals(centred(q @ k.T))
    assert error == pytest.approx(float(singular[rank:].square().sum()) / 3000, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("dead", [False, True])
def test_all_dimensions_are_exact(dead):
    q, k, o = draw(60, 8), draw(50, 8, seed=1), draw(40, 8, seed=2)
    if dead:
        q[:, 2] = k[:, 5] = o[:, 1] = 0.0
    maps = logit_maps(Moments.of(q), Moments.of(k))
    torch.testing.assert_close(q @ maps.queries @ maps.keys.T @ k.T, q @ k.T, rtol=1e-5, atol=1e-5)
    columns = draw(16, 8, seed=4)
    basis = value_basis(columns, Moments.of(o)).basis
    torch.testing.assert_close(o @ basis @ basis.T @ columns.T, o @ columns.T)


def test_a_head_without_queries_has_finite_maps():
    maps = logit_maps(Moments.of(torch.zeros(9, 4)), Moments.of(torch.zeros(9, 4)))
    assert maps.queries.isfinite().all()
    assert maps.keys.isfinite().all()
    assert value_basis(torch.zeros(6, 4), Moments.of(torch.zeros(9, 4))).basis.isfinite().all()


def test_maps_fold_into_layers_with_biases():
    x = draw(30, 10)
    w_q, w_k = draw(6, 10, seed=1), draw(6, 10, seed=2)
    b_q, b_k = draw(6, seed=3), draw(6, seed=4)
    q, k = x @ w_q.T + b_q, x @ w_k.T + b_k
    maps = logit_maps(Moments.of(q), Moments.of(k))
    a_q, a_k = maps.queries[:, :4], maps.keys[:, :4]
    cut_q, cut_k = x @ (a_q.T @ w_q).T + a_q.T @ b_q, x @ (a_k.T @ w_k).T + a_k.T @ b_k
    torch.testing.assert_close(cut_q @ cut_k.T, q @ a_q @ a_k.T @ k.T)


def turned(q):
    """Every pair of neighbours turned by 90 degrees."""
    return torch.stack([-q[:, 1::2], q[:, ::2]], -1).flatten(1)


def products(q, k):
    """(P, rows) what each pair of neighbours adds to each centred logit."""
    q, k = q.unflatten(1, (-1, 2)), (k - k.mean(0)).unflatten(1, (-1, 2))
    return torch.einsum("ipc,jpc->pij", q, k).flatten(1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 4))
def test_factors_of_pairs_are_least_squares(seed, count):
    q, k = draw(60, 8, seed=seed), draw(50, 8, seed=seed + 1)
    factors = PairFactors.of(Moments.of(q), Moments.of(k)).first(count, ridge=0)
    logits = products(q, k).sum(0)
    features = torch.cat([products(q, k)[:count], products(turned(q), k)[:count]])
    own = torch.einsum("pij,npj->npi", factors, q.unflatten(1, (-1, 2))[:, :count]).flatten(1)
    made = products(own, k[:, : 2 * count]).sum(0)
    best = torch.linalg.lstsq(features.T, logits[:, None]).solution[:, 0] if count else logits[:0]
    torch.testing.assert_close(made, best @ features, rtol=1e-5, atol=1e-5)


@given(st.integers(0, 1000), st.floats(-3, 3))
def test_factors_go_with_every_rotation(seed, angle):
    """So they may be folded into the weights, in front of the rotation."""
    moments = Moments.of(draw(60, 8, seed=seed)), Moments.of(draw(50, 8, seed=seed + 1))
    factors = PairFactors.of(*moments).first(3, ridge=0.01)
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = torch.tensor([[cos, -sin], [sin, cos]], dtype=DOUBLE)
    torch.testing.assert_close(factors @ rotation, rotation @ factors)


def test_all_pairs_need_no_factors():
    found = PairFactors.of(Moments.of(draw(60, 8)), Moments.of(draw(50, 8, seed=1)))
    torch.testing.assert_close(found.first(4, ridge=0.01), torch.eye(2).expand(4, 2, 2).double())


@pytest.mark.parametrize("size", [1, 2])
def test_rotary_order_knows_the_error_of_every_prefix(size):
    q, k = draw(60, 8), draw(50, 8, seed=1)
    order, errors = rotary_order(Moments.of(q), Moments.of(k), group_size=size)
    total = float(centred(q @ k.T).square().mean())
    for num in range(8 // size + 1):
        kept = [g * size + i for g in order[:num].tolist() for i in range(size)]
        unit = torch.eye(8, dtype=DOUBLE)[:, kept]
        error = logit_error(q, k, (unit, unit))
        assert float(errors[num]) * total == pytest.approx(error, rel=1e-6, abs=1e-7)
    # The first to go is the one whose removal costs least.
    alone = []
    for group in range(8 // size):
        rest = [i for i in range(8) if i // size != group]
        unit = torch.eye(8, dtype=DOUBLE)[:, rest]
        alone.append(logit_error(q, k, (unit, unit)))
    assert alone.index(min(alone)) == int(order[-1])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8), st.sampled_from([5, 20]))
def test_value_basis_keeps_most_of_the_output(seed, rank, channels):
    o, columns = draw(60, 8, seed=seed), draw(channels, 8, seed=seed + 1)
    found = value_basis(columns, Moments.of(o))
    basis = found.basis[:, :rank]
    torch.testing.assert_close(basis.T @ basis, torch.eye(rank, dtype=DOUBLE))
    bias = torch.zeros(channels, dtype=DOUBLE)
    new, shift = fold(columns, bias, Moments.of(o), basis=basis, ridge=0.0)
    rest = o @ columns.T - o @ basis @ new.T - shift
    error = float(rest.square().sum(1).mean())
    outputs = o @ columns.T
    singular = torch.linalg.svdvals(outputs - outputs.mean(0))
    best = float(singular[rank:].square().sum()) / 60
    assert error == pytest.approx(best, rel=1e-6, abs=1e-7)
    assert float(found.errors[rank]) * found.total == pytest.approx(best, rel=1e-6, abs=1e-7)
