from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vitsearch.elastic import ElasticDepthwise, ElasticLocal
from vitsearch.elastic.layers.local import DepthwiseSizes, LocalSizes


def plain_depthwise(layer, channels, kernel):
    dims = layer.num_dims
    margin = (layer.weight.shape[-1] - kernel) // 2
    plain = (nn.Conv1d, nn.Conv2d)[dims - 1](
        channels, channels, kernel, padding=kernel // 2, groups=channels, dtype=torch.float64
    )
    middle = (slice(margin, margin + kernel),) * dims
    with torch.no_grad():
        plain.weight.copy_(layer.weight[(slice(channels), slice(None), *middle)])
        plain.bias.copy_(layer.bias[:channels])
    return plain


@pytest.mark.parametrize("num_dims", [1, 2])
@pytest.mark.parametrize(("channels", "kernel"), [(1, 1), (3, 5), (8, 3), (8, 7)])
def test_depthwise_equals_plain(channels, kernel, num_dims, randomised):
    layer = randomised(ElasticDepthwise(8, 7, num_dims=num_dims))
    assert layer.num_dims == num_dims
    plain = plain_depthwise(layer, channels, kernel)
    x = torch.randn(2, channels, *(9, 5)[:num_dims], dtype=torch.float64)
    own, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = layer(own, DepthwiseSizes(channels, kernel)), plain(other)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    found.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-11)
    margin = (7 - kernel) // 2
    inside = layer.weight.grad[
        (slice(channels), slice(None), *[slice(margin, margin + kernel)] * num_dims)
    ]
    torch.testing.assert_close(inside, plain.weight.grad, rtol=0, atol=1e-11)
    assert layer.weight.grad.abs().sum() == pytest.approx(plain.weight.grad.abs().sum().item())


def test_kernels_longer_than_the_sequence(randomised):
    layer = randomised(ElasticDepthwise(3, 15, num_dims=1))
    plain = plain_depthwise(layer, 3, 15)
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x, DepthwiseSizes(3, 15)), plain(x), rtol=0, atol=1e-12)


def local_by_hand(layer, x, dim, inner, kernel, grid):
    """GLiT, section 3.1, step by step. The last channels of the tokens come in and go out."""
    expand = torch.cat([layer.expand.weight[:inner], layer.expand.weight[24 : 24 + inner]])[
        :, -dim:
    ]
    bias = torch.cat([layer.expand.bias[:inner], layer.expand.bias[24 : 24 + inner]])
    values, gates = (x @ expand.T + bias).chunk(2, -1)
    y = (values * gates.sigmoid()).transpose(1, 2)
    conv = plain_depthwise(layer.conv, inner, kernel)
    if layer.on_grid:
        token, patches = y[..., :1], y[..., 1:]
        patches = conv(patches.reshape(*patches.shape[:2], *grid)).flatten(2)
        y = torch.cat([token, patches], -1)
    else:
        y = conv(y)
    norm = layer.norm
    y = F.batch_norm(
        y,
        norm.running_mean[:inner].clone(),
        norm.running_var[:inner].clone(),
        norm.weight[:inner],
        norm.bias[:inner],
        training=layer.training,
        eps=1e-5,
    )
    y = (y * y.sigmoid()).transpose(1, 2)
    return y @ layer.project.weight[-dim:, :inner].T + layer.project.bias[-dim:]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("on_grid", [True, False])
@pytest.mark.parametrize(("dim", "inner", "kernel"), [(2, 4, 3), (6, 24, 5), (4, 16, 1)])
def test_local_module_by_hand(dim, inner, kernel, on_grid, training, randomised):
    layer = randomised(ElasticLocal(6, 24, 5, on_grid=on_grid)).train(training)
    grid = (2, 4)
    x = torch.randn(3, 9, dim, dtype=torch.float64)
    expected = local_by_hand(layer, x, dim, inner, kernel, grid)
    found = layer(x, LocalSizes(dim, inner, kernel, grid))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_class_token_takes_part_in_the_sequence_and_passes_by_the_grid(randomised):
    x = torch.randn(1, 10, 6, dtype=torch.float64)
    changed = x.clone()
    changed[:, 0] += 1
    sizes = LocalSizes(6, 24, 5, (3, 3))
    sequence = randomised(ElasticLocal(6, 24, 5, on_grid=False)).eval()
    difference = (sequence(x, sizes) - sequence(changed, sizes)).abs().sum(-1)[0]
    assert (difference[:3] > 0).all()  # a kernel of 5 reaches two tokens far
    assert not difference[3:].any()
    grid = randomised(ElasticLocal(6, 24, 5, on_grid=True)).eval()
    difference = (grid(x, sizes) - grid(changed, sizes)).abs().sum(-1)[0]
    assert difference[0] > 0
    assert not difference[1:].any()


HALF = """
import torch
from vitsearch.elastic.layers.local import DepthwiseSizes, ElasticDepthwise
layer = ElasticDepthwise(16, 15, num_dims=1).to(torch.bfloat16)
tokens = torch.randn(2, 50, 16).to(torch.bfloat16)
found = layer(tokens.transpose(1, 2), DepthwiseSizes(16, 15))
found.float().sum().backward()
expected = layer.float()(tokens.float().transpose(1, 2), DepthwiseSizes(16, 15))
torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
"""


@pytest.mark.slow
def test_half_precision_on_the_cpu_returns():
    # A convolution along the width of few channels-last channels runs into an endless loop.
    subprocess.run([sys.executable, "-c", HALF], check=True, timeout=120)
