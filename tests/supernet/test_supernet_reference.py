"""GLiT once more, in plain tensor operations from the paper's description."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional as F


def layer_norm(x, state, name):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def attention(x, state, name, num_heads):
    batch, tokens, _ = x.shape
    q, k, v = linear(x, state, f"{name}.qkv").chunk(3, -1)
    q, k, v = (t.reshape(batch, tokens, num_heads, -1).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    return linear((weights @ v).transpose(1, 2).flatten(2), state, f"{name}.proj")


def local(x, state, name, grid):
    x = F.glu(linear(x, state, f"{name}.expand"), dim=-1).mT
    weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
    options = {"padding": weight.shape[-1] // 2, "groups": weight.shape[0]}
    if weight.dim() == 3:
        x = F.conv1d(x, weight, bias, **options)
    else:
        patches = F.conv2d(x[..., 1:].unflatten(2, grid), weight, bias, **options).flatten(2)
        x = torch.cat([x[..., :1], patches], 2)
    mean, var = state[f"{name}.norm.running_mean"], state[f"{name}.norm.running_var"]
    x = (x - mean[:, None]) / (var[:, None] + 1e-5).sqrt()
    x = x * state[f"{name}.norm.weight"][:, None] + state[f"{name}.norm.bias"][:, None]
    return linear(F.silu(x).mT, state, f"{name}.project")


def glit(images, state, architecture, *, num_heads, pool="token"):
    patch = architecture["stem.patch_size"]
    stem = f"stem.embeds.{patch}"
    x = F.conv2d(images, state[f"{stem}.weight"], state[f"{stem}.bias"], stride=patch)
    grid = x.shape[2:]
    x = torch.cat([state[f"{stem}.cls_token"].expand(len(x), -1, -1), x.flatten(2).mT], 1)
    x = x + state[f"{stem}.pos_embed"]
    slots = [n for n in architecture if n.endswith("global_heads")]
    for slot, choice in enumerate(slots):
        block = f"stages.0.blocks.{slot}"
        thirds = architecture[choice]
        seam = x.shape[-1] * thirds // 3
        y = layer_norm(x, state, f"{block}.norm1")
        halves = []
        if thirds:
            heads = num_heads * thirds // 3
            halves.append(attention(y[..., :seam], state, f"{block}.mixer.attn", heads))
        if thirds < 3:
            halves.append(local(y[..., seam:], state, f"{block}.mixer.local", grid))
        x = x + torch.cat(halves, -1)
        y = layer_norm(x, state, f"{block}.norm2")
        x = x + linear(F.gelu(linear(y, state, f"{block}.mlp.fc1")), state, f"{block}.mlp.fc2")
    x = layer_norm(x, state, "norm")
    return linear(x[:, 0] if pool == "token" else x[:, 1:].mean(1), state, "head")


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "num_heads", "pool"),
    [("glit", 3, "token"), ("grid", 3, "token"), ("tiny", 3, "token"), ("avg", 3, "avg")],
)
def test_networks_are_the_papers(name, num_heads, pool, supernet, images):
    network, rng = supernet(name), random.Random(0)
    x = images(network)
    for _ in range(8):
        architecture = network.space.sample(rng)
        state = network.extract(architecture).state_dict()
        expected = glit(x, state, architecture, num_heads=num_heads, pool=pool)
        torch.testing.assert_close(network(x, architecture), expected, rtol=0, atol=1e-11)
