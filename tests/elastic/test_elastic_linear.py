from __future__ import annotations

import pytest
import torch
from torch import nn

from vitsearch.elastic import Axis, ElasticLinear, ElasticMlp, LinearSizes
from vitsearch.elastic.axis import cut
from vitsearch.spaces.parts import MlpPlan


def plain_linear(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 8), (6, 5), (6, 8)])
def test_equals_a_plain_layer(inputs, outputs, bias, randomised):
    layer = randomised(ElasticLinear(6, 8, bias=bias))
    plain = plain_linear(layer.weight[:outputs, :inputs], layer.bias[:outputs] if bias else None)
    x = torch.randn(2, 5, inputs, dtype=torch.float64)
    torch.testing.assert_close(
        layer(x, LinearSizes((inputs,), (outputs,))), plain(x), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("last_in", [False, True])
@pytest.mark.parametrize("last_out", [False, True])
def test_last_channels_instead_of_first(last_in, last_out, randomised):
    layer = randomised(ElasticLinear(6, 8))
    rows = slice(-5, None) if last_out else slice(5)
    columns = slice(-4, None) if last_in else slice(4)
    plain = plain_linear(layer.weight[rows, columns], layer.bias[rows])
    x = torch.randn(3, 4, dtype=torch.float64)
    sizes = LinearSizes(
        (4,),
        (5,),
        in_alignment="suffix" if last_in else None,
        out_alignment="suffix" if last_out else None,
    )
    torch.testing.assert_close(layer(x, sizes), plain(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("heads", "channels", "inputs"), [(1, 1, 1), (2, 5, 6), (4, 3, 4), (4, 5, 6)]
)
def test_rows_on_a_grid(heads, channels, inputs, randomised):
    # The first channels of the first heads of each of q, k and v.
    layer = randomised(ElasticLinear(6, (3, 4, 5)))
    rows = [
        20 * part + 5 * head + c
        for part in range(3)
        for head in range(heads)
        for c in range(channels)
    ]
    plain = plain_linear(layer.weight[rows][:, :inputs], layer.bias[rows])
    x = torch.randn(2, inputs, dtype=torch.float64)
    sizes = LinearSizes((inputs,), (3, heads, channels))
    torch.testing.assert_close(layer(x, sizes), plain(x), rtol=0, atol=1e-12)


def test_columns_on_a_grid(randomised):
    layer = randomised(ElasticLinear((4, 5), 7))
    columns = [5 * head + c for head in range(2) for c in range(3)]
    plain = plain_linear(layer.weight[:6][:, columns], layer.bias[:6])
    x = torch.randn(2, 6, dtype=torch.float64)
    output = layer(x, LinearSizes((2, 3), (6,)))
    torch.testing.assert_close(output, plain(x), rtol=0, atol=1e-12)


def test_gradients_equal_the_plain_layers(randomised):
    layer = randomised(ElasticLinear(6, 8))
    plain = plain_linear(layer.weight[:5, :3], layer.bias[:5])
    x = torch.randn(4, 3, dtype=torch.float64)
    layer(x, LinearSizes((3,), (5,))).square().sum().backward()
    plain(x).square().sum().backward()
    expected = torch.zeros(8, 6, dtype=torch.float64)
    expected[:5, :3] = plain.weight.grad
    torch.testing.assert_close(layer.weight.grad, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.bias.grad[:5], plain.bias.grad, rtol=0, atol=1e-12)
    assert not layer.bias.grad[5:].any()


def test_mlp_equals_plain_layers(randomised):
    mlp = randomised(ElasticMlp(6, 24))
    for dim, hidden in ((6, 24), (4, 10), (1, 1)):
        plain = nn.Sequential(
            plain_linear(mlp.fc1.weight[:hidden, :dim], mlp.fc1.bias[:hidden]),
            nn.GELU(),
            plain_linear(mlp.fc2.weight[:dim, :hidden], mlp.fc2.bias[:dim]),
        )
        x = torch.randn(2, 3, dim, dtype=torch.float64)
        sizes = MlpPlan(embed_dim=dim, hidden_dim=hidden, num_tokens=3)
        torch.testing.assert_close(mlp(x, sizes), plain(x), rtol=0, atol=1e-12)


def test_weight_is_an_ordinary_matrix():
    layer = ElasticLinear((2, 3), (3, 2, 4))
    assert layer.weight.shape == (24, 6)
    assert (layer.in_features, layer.out_features) == (6, 24)
    assert not layer.bias.any()
    assert "bias=True" in repr(layer)


def test_widths_of_an_axis():
    axis, channels = Axis((2, 3, 4)), torch.arange(4)
    assert axis.size == 4
    assert cut(channels, 0, axis, 4, "suffix") is channels
    assert cut(channels, 0, axis, 3, "prefix").tolist() == [0, 1, 2]
    assert cut(channels, 0, axis, 3, "suffix").tolist() == [1, 2, 3]
    assert cut(channels, 0, axis, 2, "prefix").data_ptr() == channels.data_ptr()
    # Cyclic: 0, 1 for the width of two; the width of three goes on from there, around the end.
    assert cut(channels, 0, axis, 2, "cyclic").tolist() == [0, 1]
    assert cut(channels, 0, axis, 3, "cyclic").tolist() == [2, 3, 0]
