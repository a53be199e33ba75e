from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch.elastic.calibration import (
    Moments,
    backward_order,
    fold,
    forward_order,
    variance_order,
)
from vitsearch.errors import ConfigError

DOUBLE = torch.float64


def layer(dim, out=4, seed=0, rows=400):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=generator, dtype=DOUBLE)
    inputs = torch.randn(rows, dim, generator=generator, dtype=DOUBLE) @ mix + 5.0
    weight = torch.randn(out, dim, generator=generator, dtype=DOUBLE)
    return weight, inputs


def error(weight, inputs, kept):
    """Error of the layer repaired for the inputs `kept`, on the rows themselves."""
    kept = torch.tensor(kept, dtype=torch.long)
    zeros = torch.zeros(len(weight), dtype=DOUBLE)
    new, bias = fold(weight, zeros, Moments.of(inputs), kept=kept, ridge=0.0)
    rest = inputs @ weight.T - inputs[:, kept] @ new.T - bias
    return float(rest.square().sum(1).mean())


def inputs_of(units, size):
    return [unit * size + i for unit in units for i in range(size)]


def greedy(weight, inputs, size, *, forward):
    num = inputs.shape[1] // size
    chosen, rest = [], list(range(num))
    while rest:
        if forward:
            tried = {u: error(weight, inputs, inputs_of([*chosen, u], size)) for u in rest}
        else:
            tried = {
                u: error(weight, inputs, inputs_of([v for v in rest if v != u], size)) for u in rest
            }
        best = min(tried, key=tried.__getitem__)
        chosen.append(best)
        rest.remove(best)
    return chosen if forward else chosen[::-1]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 3]), st.booleans())
def test_orders_are_the_greedy_ones_of_brute_force(seed, size, forward):
    weight, inputs = layer(6 * size, seed=seed)
    before = weight.clone()
    function = forward_order if forward else backward_order
    order = function(weight, Moments.of(inputs), ridge=0.0, group_size=size, block=1, dtype=DOUBLE)
    assert order.units.tolist() == greedy(weight, inputs, size, forward=forward)
    assert torch.equal(weight, before)
    total = error(weight, inputs, [])
    assert order.total == pytest.approx(total, rel=1e-6)
    for kept in range(7):
        expected = error(weight, inputs, order.inputs(kept).tolist())
        assert float(order.errors[kept]) * total == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("function", [forward_order, backward_order])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_blocks_come_close_to_one_by_one(function, dtype):
    weight, inputs = layer(96, out=24, rows=2000)
    moments = Moments.of(inputs)
    exact = function(weight, moments, block=1, dtype=DOUBLE)
    blocks = function(weight, moments, block=8, dtype=dtype)
    assert sorted(blocks.units.tolist()) == list(range(96))
    for kept in (24, 48, 72):
        assert blocks.errors[kept] < 1.05 * exact.errors[kept] + 1e-6
        chosen = error(weight, inputs, blocks.units[:kept].tolist())
        by_variance = error(weight, inputs, variance_order(weight, moments)[:kept].tolist())
        assert chosen < by_variance


@pytest.mark.parametrize("function", [forward_order, backward_order])
@pytest.mark.parametrize("block", [1, 8])
def test_equal_and_dead_inputs_come_last(function, block):
    weight, inputs = layer(20)
    inputs[:, 7] = 2.0
    inputs[:, 3] = inputs[:, 11]
    order = function(weight, Moments.of(inputs.float()), block=block)
    assert sorted(order.units.tolist()) == list(range(20))
    assert 7 in order.units[-2:].tolist()
    assert {3, 11} & set(order.units[-2:].tolist())
    constant = function(weight, Moments.of(torch.ones(10, 20)), block=block)
    assert sorted(constant.units.tolist()) == list(range(20))


def test_variance_order_weighs_activation_by_outgoing_weights():
    _, inputs = layer(12, seed=3)
    weight = torch.randn(4, 12, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))
    scores = inputs.var(0) * weight.square().sum(0)
    order = variance_order(weight, Moments.of(inputs))
    assert order.tolist() == scores.argsort(descending=True).tolist()
    scores = torch.stack(
        [(inputs[:, i : i + 3] @ weight[:, i : i + 3].T).var(0).sum() for i in range(0, 12, 3)]
    )
    heads = variance_order(weight, Moments.of(inputs), group_size=3)
    assert heads.tolist() == scores.argsort(descending=True).tolist()


def test_groups_that_do_not_divide_are_refused():
    weight, inputs = layer(12)
    for function in (variance_order, forward_order, backward_order):
        with pytest.raises(ConfigError, match="group_size: 5; must divide the 12 inputs"):
            function(weight, Moments.of(inputs), group_size=5)
