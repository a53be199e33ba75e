"""ViT-ResNAS's stem and reduction against plain layers, and a convolution with fewer channels."""

from __future__ import annotations

import pytest
import torch
from tests.elastic.family_cases import conv_stem_plan, reduction_plan
from torch import nn

from vitsearch.elastic import Context, ConvSizes, ElasticConv2d, NormEstimator
from vitsearch.supernet import make_layer


def copied(plain, elastic, **cuts):
    """A plain layer with an elastic one's tensors, each cut by its name."""
    with torch.no_grad():
        for name, tensor in plain.state_dict().items():
            if name != "num_batches_tracked":
                tensor.copy_(getattr(elastic, name)[cuts.get(name, ...)])
    return plain


@pytest.mark.parametrize(
    ("stride", "kernel_size", "bias"), [(1, 3, True), (2, 3, False), (2, 5, True)]
)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (4, 7), (6, 8)])
def test_convolution(inputs, outputs, stride, kernel_size, bias, randomised):
    layer = randomised(ElasticConv2d(6, 8, kernel_size, stride=stride, bias=bias))
    plain = nn.Conv2d(inputs, outputs, kernel_size, stride, kernel_size // 2, bias=bias).double()
    rows, columns = slice(outputs), slice(inputs)
    copied(plain, layer, weight=(rows, columns), bias=rows)
    for shape in ((5, 4), (8, 7)):
        x = torch.randn(3, inputs, *shape, dtype=torch.float64)
        found = layer(x, ConvSizes(inputs, outputs))
        torch.testing.assert_close(found, plain(x), rtol=0, atol=1e-12)
        assert found.shape[2:] == tuple(-(-side // stride) for side in shape)


def plain_stem(stem, patch_size, width):
    """The stem as the paper draws it; prefix and positions are added by the caller."""

    def unit(number, inputs, stride):
        conv = nn.Conv2d(inputs, 2, 3, stride, 1, bias=False).double()
        copied(conv, getattr(stem, f"conv{number}"))
        norm = copied(nn.BatchNorm2d(2).double(), getattr(stem, f"norm{number}"))
        return nn.Sequential(conv, norm, nn.ReLU())

    embed = stem.patch.embeds[str(patch_size)]
    project = nn.Conv2d(2, width, patch_size, patch_size).double()
    copied(project, embed, weight=slice(width), bias=slice(width))
    return unit(1, 3, 2), unit(2, 2, 1), unit(3, 2, 1), project


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("patch_size", "width"), [(4, 3), (4, 8), (6, 7)])
def test_stem(patch_size, width, training, randomised):
    plans = [conv_stem_plan(p, w) for p in (4, 6) for w in (3, 7, 8)]
    stem = randomised(make_layer(plans)).train(training)
    first, second, third, project = (m.train(training) for m in plain_stem(stem, patch_size, width))
    images = torch.randn(3, 3, 24, 24, dtype=torch.float64)
    y = first(images)
    patches = project(y + third(second(y))).flatten(2).transpose(1, 2)
    embed = stem.patch.embeds[str(patch_size)]
    token = embed.cls_token[..., :width].expand(3, 1, width)
    expected = torch.cat([token, patches], 1) + embed.pos_embed[..., :width]
    found = stem(images, conv_stem_plan(patch_size, width))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for number, unit in enumerate((first, second, third), 1):
        norm = getattr(stem, f"norm{number}")
        torch.testing.assert_close(norm.running_var, unit[1].running_var, rtol=0, atol=1e-12)


@torch.no_grad()
def test_statistics_of_the_stem(randomised):
    stem = randomised(make_layer([conv_stem_plan(4, 8)])).eval()
    for number in (1, 2, 3):
        getattr(stem, f"norm{number}").path = f"norm{number}"
    estimator, images = NormEstimator(), torch.randn(4, 3, 24, 24, dtype=torch.float64)
    stem(images, conv_stem_plan(4, 8), Context(estimator=estimator))
    mean, var = estimator.statistics()["norm1"]
    seen = stem.conv1(images, ConvSizes(3, 2)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, seen.mean(1), rtol=0, atol=1e-12)
    torch.testing.assert_close(var, seen.var(1), rtol=0, atol=1e-12)
    assert set(estimator.statistics()) == {"norm1", "norm2", "norm3"}


PAIRS = [(2, 4), (5, 5), (5, 12), (6, 12)]


def reduced(layer, x, in_dim, dim, grid, prefix, pooled):
    """The reduction in plain layers, from the pooled patches of the input as it came."""
    narrow, wide = slice(in_dim), slice(dim)
    norm = copied(nn.LayerNorm(in_dim, 1e-6).double(), layer.norm, weight=narrow, bias=narrow)
    conv = nn.Conv2d(in_dim, dim, 3, 2, 1).double()
    copied(conv, layer.conv, weight=(wide, narrow), bias=wide)
    linear = nn.Linear(in_dim, dim).double()
    copied(linear, layer.token, weight=(wide, narrow), bias=wide)
    normed = norm(x)
    patches = conv(normed[:, prefix:].transpose(1, 2).unflatten(2, grid))
    (positions,) = layer.pos_embed.values()
    patches = patches.flatten(2).transpose(1, 2) + positions[..., :dim]
    shortcut = torch.cat([x[:, :prefix], pooled.flatten(2).transpose(1, 2)], 1)
    zeros = x.new_zeros(*shortcut.shape[:2], dim - in_dim)
    return torch.cat([linear(normed[:, :prefix]), patches], 1) + torch.cat([shortcut, zeros], 2)


@pytest.mark.parametrize("prefix", [1, 2])
@pytest.mark.parametrize("grid", [(2, 2), (4, 4), (6, 8)], ids=str)
@pytest.mark.parametrize(("in_dim", "dim"), PAIRS)
def test_reduction_of_an_even_grid(in_dim, dim, grid, prefix, randomised):
    layer = randomised(make_layer([reduction_plan(*pair, *grid, prefix) for pair in PAIRS]))
    x = torch.randn(3, prefix + grid[0] * grid[1], in_dim, dtype=torch.float64)
    pooled = nn.AvgPool2d(2)(x[:, prefix:].transpose(1, 2).unflatten(2, grid))
    expected = reduced(layer, x, in_dim, dim, grid, prefix, pooled)
    found = layer(x, reduction_plan(in_dim, dim, *grid, prefix))
    assert found.shape == (3, prefix + grid[0] * grid[1] // 4, dim)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", [(3, 3), (5, 4), (1, 2), (7, 1)], ids=str)
@pytest.mark.parametrize(("in_dim", "dim"), PAIRS)
def test_reduction_of_an_odd_grid(in_dim, dim, grid, randomised):
    layer = randomised(make_layer([reduction_plan(*pair, *grid) for pair in PAIRS]))
    x = torch.randn(3, 1 + grid[0] * grid[1], in_dim, dtype=torch.float64)
    maps = x[:, 1:].transpose(1, 2).unflatten(2, grid)
    # The mean of those of the four that there are.
    rows = [
        torch.stack(
            [maps[:, :, i : i + 2, j : j + 2].mean((2, 3)) for j in range(0, grid[1], 2)], -1
        )
        for i in range(0, grid[0], 2)
    ]
    expected = reduced(layer, x, in_dim, dim, grid, 1, torch.stack(rows, 2))
    found = layer(x, reduction_plan(in_dim, dim, *grid))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_positions_of_a_reduction_are_private_to_a_grid(randomised):
    plans = [reduction_plan(5, 8, 6, 6), reduction_plan(5, 8, 3, 3), reduction_plan(5, 8, 4, 4)]
    layer = randomised(make_layer(plans))
    assert set(layer.pos_embed) == {"3x3", "2x2"}  # grids of 3 and of 4 both end at 2
    x = torch.randn(2, 37, 5, dtype=torch.float64)
    layer(x, plans[0]).sum().backward()
    assert layer.pos_embed["3x3"].grad is not None
    assert layer.pos_embed["2x2"].grad is None
