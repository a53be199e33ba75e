"""ViTAS and AutoFormer once more, in plain tensor operations on the authors' own tensors."""

from __future__ import annotations

import pytest
import torch
from authors import PUBLISHED, authors_state, golden_images
from torch.nn import functional as F

from vitsearch import load_published_checkpoint


@pytest.fixture
def double():
    """Networks are built in float64, so that the import rounds nothing."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def double_state(name):
    return {theirs: tensor.double() for theirs, tensor in authors_state(name).items()}


def heads_of(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def vitas(images, state, entry):
    def get(module):
        return state[f"net.{module}.weight"], state[f"net.{module}.bias"]

    width, stem = entry["embed_dim"], "backbone_init_stem_Patch_init_0.0"
    x = F.conv2d(images, *get(f"{stem}.patch_embed.proj"), stride=16).flatten(2).mT
    x = torch.cat([state[f"net.{stem}.cls_token"].expand(len(x), -1, -1), x], 1)
    x = x + state[f"net.{stem}.pos_embed"]
    for slot, sizes in zip(entry["authors_tensor_slots"], entry["blocks"], strict=True):
        block, num_heads = f"backbone_Block_Block_{slot}.0", sizes["num_heads"]
        y = F.layer_norm(x, (width,), *get(f"{block}.norm1"), eps=1e-6)
        q, k, v = F.linear(y, *get(f"{block}.attn.qkv")).chunk(3, -1)
        q, k, v = (heads_of(t, num_heads) for t in (q, k, v))
        weights = (q @ k.mT * (width // num_heads) ** -0.5).softmax(-1)
        x = x + F.linear((weights @ v).transpose(1, 2).flatten(2), *get(f"{block}.attn.proj"))
        y = F.layer_norm(x, (width,), *get(f"{block}.norm2"), eps=1e-6)
        y = F.gelu(F.linear(y, *get(f"{block}.mlp.fc1")))
        x = x + F.linear(y, *get(f"{block}.mlp.fc2"))
    x = F.layer_norm(x, (width,), *get("backbone_Norm_Norm_0.0"), eps=1e-5)
    return F.linear(x[:, 0], *get("backbone_FC_FC_0.0.module.0"))


def relative(tables, side):
    """(N, N, 64): what is added for each query and key; index 0 belongs to the class token."""
    rows = torch.arange(side).repeat_interleave(side)
    columns = torch.arange(side).repeat(side)
    total = torch.zeros(())
    for table, places in zip(tables, (rows, columns), strict=True):
        distance = places[None, :] - places[:, None]  # key minus query
        index = F.pad(distance.clamp(-14, 14) + 15, (1, 0, 1, 0))
        total = total + table[index]
    return total


def autoformer(images, state, entry):
    width = entry["embed_dim"]

    def normalised(x, name):
        weight, bias = state[f"{name}.weight"][:width], state[f"{name}.bias"][:width]
        return F.layer_norm(x, (width,), weight, bias, eps=1e-5)

    weight, bias = state["patch_embed_super.proj.weight"], state["patch_embed_super.proj.bias"]
    x = F.conv2d(images, weight[:width], bias[:width], stride=16)
    side = x.shape[-1]
    token = state["cls_token"][..., :width].expand(len(x), -1, -1)
    x = torch.cat([token, x.flatten(2).mT], 1) + state["pos_embed"][..., :width]
    for index, sizes in enumerate(entry["blocks"]):
        block, heads, hidden = (
            f"blocks.{index}",
            sizes["num_heads"],
            int(width * sizes["mlp_ratio"]),
        )
        y = normalised(x, f"{block}.attn_layer_norm")
        weight, bias = state[f"{block}.attn.qkv.weight"], state[f"{block}.attn.qkv.bias"]
        q, k, v = (
            heads_of(F.linear(y, weight[role::3][: 64 * heads, :width], third), heads)
            for role, third in enumerate(bias[: 3 * 64 * heads].chunk(3))
        )
        keys, values = (
            relative(
                [state[f"{block}.attn.rel_pos_embed_{kv}.embeddings_table_{t}"] for t in "vh"], side
            )
            for kv in "kv"
        )
        weights = (q @ k.mT + torch.einsum("bhqd,qkd->bhqk", q, keys)) * 64**-0.5
        weights = weights.softmax(-1)
        y = weights @ v + torch.einsum("bhqk,qkd->bhqd", weights, values)
        weight, bias = state[f"{block}.attn.proj.weight"], state[f"{block}.attn.proj.bias"]
        x = x + F.linear(y.transpose(1, 2).flatten(2), weight[:width, : 64 * heads], bias[:width])
        y = normalised(x, f"{block}.ffn_layer_norm")
        weight, bias = state[f"{block}.fc1.weight"], state[f"{block}.fc1.bias"]
        y = F.gelu(F.linear(y, weight[:hidden, :width], bias[:hidden]))
        weight, bias = state[f"{block}.fc2.weight"], state[f"{block}.fc2.bias"]
        x = x + F.linear(y, weight[:width, :hidden], bias[:width])
    x = normalised(x, "norm")[:, 1:].mean(1)
    return F.linear(x, state["head.weight"][:, :width], state["head.bias"])


@torch.no_grad()
@pytest.mark.usefixtures("double", "quick_building")
@pytest.mark.parametrize(
    ("name", "paper"),
    [
        ("vitas_b", vitas),
        ("vitas_c", vitas),
        ("autoformer_tiny", autoformer),
    ],
)
def test_logits_are_the_papers(name, paper):
    state = double_state(name)
    network = load_published_checkpoint(name, state)
    images = golden_images()[:1]
    expected = paper(images, state, PUBLISHED[name])
    torch.testing.assert_close(network(images), expected, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "paper"), [("vitas_b", vitas), ("vitas_c", vitas), ("autoformer_tiny", autoformer)]
)
def test_the_papers_run_on_the_authors_tensors(name, paper):
    logits = paper(golden_images()[:1], double_state(name), PUBLISHED[name])
    assert logits.shape == (1, 1000)
    assert 0.5 < float(logits.std()) < 2
