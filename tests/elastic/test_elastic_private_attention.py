"""ViTAS's attention: against plain attention, and which weights a number of heads shares."""

from __future__ import annotations

import pytest
import torch
from tests.elastic.family_cases import vitas_plan
from timm.models.vision_transformer import Attention
from torch import nn

from vitsearch.elastic import Axis, Context, ElasticPrivateAttention

HEADS, INNER = (1, 2, 3), (6, 12, 18)


@pytest.fixture(params=["none", "v", "qk"])
def private(request):
    return request.param


@pytest.fixture
def layer(private, randomised):
    axes = Axis((5, 12)), Axis(INNER)
    return randomised(ElasticPrivateAttention(*axes, HEADS, private=private))


def parts(layer, heads):
    """The projections that a number of heads uses: to q and k, to v."""
    own = str(heads)
    return (
        layer.qk[own if layer.private == "qk" else "shared"],
        layer.v[own if layer.private == "v" else "shared"],
    )


def attend(q, k, v, heads):
    """(B, N, channels) each; a head is a run of channels, its scale that of its own width."""
    split = [part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v)]
    scores = split[0] @ split[1].transpose(2, 3) * split[0].shape[-1] ** -0.5
    return (scores.softmax(-1) @ split[2]).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("dim", [5, 12])
def test_equals_attention_with_the_cut_weights(dim, inner, heads, layer):
    qk, v = parts(layer, heads)
    x = torch.randn(2, 10, dim, dtype=torch.float64)

    def projected(linear, start):
        rows = slice(start, start + inner)
        return x @ linear.weight[rows, :dim].T + linear.bias[rows]

    mixed = attend(projected(qk, 0), projected(qk, 18), projected(v, 0), heads)
    expected = mixed @ layer.proj.weight[:dim, :inner].T + layer.proj.bias[:dim]
    found = layer(x, vitas_plan(dim, heads, inner, layer.private))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("heads", HEADS)
def test_equals_the_attention_of_timm(heads, layer):
    qk, v = parts(layer, heads)
    plain = Attention(12, num_heads=heads, qkv_bias=True).double()
    rows = [*range(12), *range(18, 30)]
    with torch.no_grad():
        plain.qkv.weight.copy_(torch.cat([qk.weight[rows], v.weight[:12]]))
        plain.qkv.bias.copy_(torch.cat([qk.bias[rows], v.bias[:12]]))
        plain.proj.weight.copy_(layer.proj.weight[:, :12])
        plain.proj.bias.copy_(layer.proj.bias)
    x = torch.randn(2, 10, 12, dtype=torch.float64)
    found = layer(x, vitas_plan(12, heads, 12, layer.private))
    torch.testing.assert_close(found, plain(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("alignment", ["prefix", "suffix", "cyclic"])
def test_training_one_number_of_heads_leaves_the_private_weights_of_others(alignment, layer):
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    x = torch.randn(2, 10, 12, dtype=torch.float64)
    plan = vitas_plan(12, 2, 12, layer.private)
    layer(x, plan, Context(alignment=alignment)).square().sum().backward()
    optimizer.step()
    changed = {name for name, t in layer.state_dict().items() if not torch.equal(t, before[name])}
    used = {
        "none": ["qk.shared", "v.shared"],
        "v": ["qk.shared", "v.2"],
        "qk": ["qk.2", "v.shared"],
    }
    names = [*used[layer.private], "proj"]
    assert changed == {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    # Another number of heads still computes what it did, as far as its weights are its own.
    fresh = ElasticPrivateAttention(Axis((5, 12)), Axis(INNER), HEADS, private=layer.private)
    fresh.double().load_state_dict(before)
    other = vitas_plan(12, 3, 12, layer.private)
    pairs = zip(parts(layer, 3), parts(fresh, 3), strict=True)
    same = [torch.equal(one.weight, two.weight) for one, two in pairs]
    assert same == {"none": [False, False], "v": [False, True], "qk": [True, False]}[layer.private]
    assert not torch.allclose(layer(x, other), fresh(x, other))  # the output projection is shared


def test_projections(layer):
    counts = {"none": (1, 1), "v": (1, 3), "qk": (3, 1)}[layer.private]
    assert (len(layer.qk), len(layer.v)) == counts
    assert isinstance(layer.qk, nn.ModuleDict)
    numbers = sum(p.numel() for p in layer.parameters())
    qk, v, proj = 36 * 13, 18 * 13, 12 * 19
    assert numbers == counts[0] * qk + counts[1] * v + proj


def test_number_of_heads_matters_even_with_shared_weights(randomised):
    layer = randomised(ElasticPrivateAttention(12, 12, HEADS, private="none"))
    x = torch.randn(2, 10, 12, dtype=torch.float64)
    outputs = [layer(x, vitas_plan(12, heads, 12, "none")) for heads in HEADS]
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])
