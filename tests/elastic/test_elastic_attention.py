from __future__ import annotations

import pytest
import torch

from vitsearch.elastic import AttentionSizes, ElasticAttention


def attend(x, qkv_weight, qkv_bias, proj_weight, proj_bias, num_heads):
    """Multi-head attention in plain matrix products; rows ordered q, k, v, each by head."""
    inner = qkv_weight.shape[0] // 3
    head_dim = inner // num_heads
    outputs = []
    for head in range(num_heads):
        rows = [
            slice(part * inner + head * head_dim, part * inner + (head + 1) * head_dim)
            for part in range(3)
        ]
        q, k, v = (x @ qkv_weight[r].T + (0 if qkv_bias is None else qkv_bias[r]) for r in rows)
        scores = q @ k.transpose(1, 2) / head_dim**0.5
        outputs.append(scores.softmax(-1) @ v)
    return torch.cat(outputs, -1) @ proj_weight.T + proj_bias


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize(
    ("dim", "num_heads", "head_dim"), [(1, 1, 1), (4, 1, 8), (8, 2, 4), (12, 3, 2), (12, 3, 8)]
)
def test_equals_attention_by_hand(dim, num_heads, head_dim, qkv_bias, randomised):
    layer = randomised(ElasticAttention(12, 3, 8, qkv_bias=qkv_bias))
    rows = [
        24 * part + 8 * head + c
        for part in range(3)
        for head in range(num_heads)
        for c in range(head_dim)
    ]
    columns = [8 * head + c for head in range(num_heads) for c in range(head_dim)]
    x = torch.randn(2, 7, dim, dtype=torch.float64)
    expected = attend(
        x,
        layer.qkv.weight[rows][:, :dim],
        layer.qkv.bias[rows] if qkv_bias else None,
        layer.proj.weight[:dim][:, columns],
        layer.proj.bias[:dim],
        num_heads,
    )
    found = layer(x, AttentionSizes(dim, num_heads, head_dim))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_one_head_is_multihead_attention_of_torch(randomised):
    layer = randomised(ElasticAttention(12, 3, 4))
    plain = torch.nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        plain.in_proj_weight.copy_(layer.qkv.weight)
        plain.in_proj_bias.copy_(layer.qkv.bias)
        plain.out_proj.weight.copy_(layer.proj.weight)
        plain.out_proj.bias.copy_(layer.proj.bias)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    found = layer(x, AttentionSizes(12, 3, 4))
    torch.testing.assert_close(found, plain(x, x, x)[0], rtol=0, atol=1e-12)
