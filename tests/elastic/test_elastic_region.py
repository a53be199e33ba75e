"""Parts of shared tensors: what is cut, and one gradient for all that was cut."""

from __future__ import annotations

import pytest
import torch

from vitsearch.elastic import Axis, Context, ElasticLinear, LinearSizes, take_together
from vitsearch.elastic.region import Region, cut_together

CHANNELS, HEADS, HEAD_DIM = Axis((4, 6, 9)), Axis((1, 2, 3)), Axis((2, 4))


def region(width, heads, head_dim, alignment="prefix"):
    ranges = (
        HEADS.range(0, heads, alignment),
        HEAD_DIM.range(1, head_dim, alignment),
        CHANNELS.range(2, width, alignment),
    )
    return Region(ranges, (3, 4, 9), (heads * head_dim, width))


REGIONS = [
    region(4, 1, 2),
    region(9, 2, 4),
    region(6, 3, 2, "suffix"),
    region(6, 2, 4, "cyclic"),  # wraps around
    region(9, 3, 4),
    region(4, 1, 2),  # again
]


@pytest.fixture
def weight():
    return torch.randn(12, 9, dtype=torch.float64, requires_grad=True)


def test_the_whole_is_the_tensor_itself_and_parts_are_views(weight):
    whole, part = cut_together(weight, [REGIONS[4], Region((CHANNELS.range(1, 4, "prefix"),))])
    assert whole is weight
    assert part.data_ptr() == weight.data_ptr()
    assert torch.equal(part, weight[:, :4])


def test_gradients_are_those_of_plain_slices(weight):
    together = cut_together(weight, REGIONS)
    apart = [one.cut(weight) for one in REGIONS]
    factors = [torch.randn_like(part) for part in apart]
    found = []
    for parts in (together, apart):
        assert all(torch.equal(a, b) for a, b in zip(parts, apart, strict=True))
        loss = sum((part.square() * by).sum() for part, by in zip(parts, factors, strict=True))
        found.append(torch.autograd.grad(loss, weight)[0])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_parts_that_no_loss_sees_add_nothing(weight):
    parts = cut_together(weight, REGIONS[:4])
    (parts[1].sum() + parts[3].sum()).backward()
    expected = torch.zeros_like(weight)
    for one in (REGIONS[1], REGIONS[3]):
        one.add(expected, torch.ones_like(one.cut(expected)))
    assert torch.equal(weight.grad, expected)


def test_one_operation_returns_one_gradient(weight):
    parts = cut_together(weight, REGIONS[:4])
    assert len({part.grad_fn for part in parts}) == 1
    with torch.no_grad():
        assert all(part.grad_fn is None for part in cut_together(weight, REGIONS[:4]))


def test_a_layer_uses_what_was_taken_for_its_calls():
    layer = ElasticLinear(CHANNELS, (3, HEADS, HEAD_DIM)).double()
    calls = [
        (LinearSizes((width,), (3, heads, 2)), alignment)
        for width, heads, alignment in ((4, 1, "prefix"), (6, 2, "suffix"), (4, 1, "prefix"))
    ]
    taken = take_together(layer, calls)
    assert len(taken) == 2  # equal calls share
    found = []
    for known in (taken, None):
        layer.zero_grad()
        for sizes, alignment in calls:
            x = torch.ones(2, *sizes.in_shape, dtype=torch.float64)
            layer(x, sizes, Context(alignment=alignment, taken=known)).square().sum().backward(
                retain_graph=True
            )
        found.append([layer.weight.grad.clone(), layer.bias.grad.clone()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
