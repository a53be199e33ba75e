"""Relative positions: both forms, against a loop over all pairs of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from tests.elastic.family_cases import relative_plan
from torch.utils.flop_counter import FlopCounterMode

from vitsearch.elastic import Axis, ElasticRelativeAttention
from vitsearch.spaces.parts.attention import attention_cost_of


@dataclass(frozen=True)
class Sizes:
    """Sizes of a call in the form that the test says."""

    embed_dim: int
    num_heads: int
    head_dim: int
    grid: tuple[int, int]
    dense: bool


def by_pairs(layer, x, sizes, prefix):
    """Attention for each query and key by itself."""
    heads, head_dim, (_, columns) = sizes.num_heads, sizes.head_dim, sizes.grid
    of = layer.children_sizes(sizes)
    qkv, proj = layer.qkv.active(of["qkv"]), layer.proj.active(of["proj"])
    batch, tokens, _ = x.shape
    parts = (x @ qkv["weight"].T + qkv["bias"]).view(batch, tokens, 3, heads, head_dim)

    def embedding(table, query, key):
        if query < prefix or key < prefix:
            return table[0][0] + table[1][0]
        distances = (
            (key - prefix) // columns - (query - prefix) // columns,
            (key - prefix) % columns - (query - prefix) % columns,
        )
        limit = layer.max_distance
        row, column = (max(-limit, min(limit, d)) + limit + 1 for d in distances)
        return table[0][row] + table[1][column]

    outputs = torch.empty(batch, tokens, heads, head_dim, dtype=x.dtype)
    for query in range(tokens):
        scores = torch.stack(
            [
                (
                    parts[:, query, 0]
                    * (parts[:, key, 1] + embedding(layer.relative_keys, query, key))
                ).sum(-1)
                for key in range(tokens)
            ],
            dim=-1,
        )
        weights = (scores / head_dim**0.5).softmax(-1)  # (B, heads, N)
        outputs[:, query] = sum(
            weights[..., key, None]
            * (parts[:, key, 2] + embedding(layer.relative_values, query, key))
            for key in range(tokens)
        )
    return outputs.flatten(2) @ proj["weight"].T + proj["bias"]


GRIDS = [(1, 1), (3, 3), (5, 3), (2, 7), (4, 4)]


@pytest.fixture(params=[1, 2, 14], ids=lambda limit: f"distance {limit}")
def layer(request, randomised):
    return randomised(
        ElasticRelativeAttention(Axis((8, 12)), Axis((1, 3)), 4, max_distance=request.param)
    )


@torch.no_grad()
@pytest.mark.parametrize("prefix", [1, 2])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_both_forms_equal_a_loop_over_pairs(grid, prefix, layer):
    for dim, heads in ((8, 1), (12, 3), (12, 1)):
        x = torch.randn(2, prefix + grid[0] * grid[1], dim, dtype=torch.float64)
        expected = by_pairs(layer, x, Sizes(dim, heads, 4, grid, True), prefix)
        for dense in (True, False):
            found = layer(x, Sizes(dim, heads, 4, grid, dense))
            assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_forms_are_told_apart_by_position(layer):
    # Shuffled tables change the result: neither form ignores them.
    x = torch.randn(2, 10, 12, dtype=torch.float64)
    for dense in (True, False):
        sizes = Sizes(12, 3, 4, (3, 3), dense)
        before = layer(x, sizes)
        for table in (layer.relative_keys, layer.relative_values):
            with torch.no_grad():
                kept = table.clone()
                table.copy_(table.flip(1))
            assert not torch.allclose(layer(x, sizes), before)
            with torch.no_grad():
                table.copy_(kept)
        assert torch.equal(layer(x, sizes), before)


@pytest.mark.parametrize("prefix", [1, 2])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_gradients_of_both_forms_are_equal(grid, prefix, layer):
    found = []
    for dense in (True, False):
        layer.zero_grad()
        generator = torch.Generator().manual_seed(0)
        tokens = prefix + grid[0] * grid[1]
        x = torch.randn(2, tokens, 12, dtype=torch.float64, generator=generator).requires_grad_()
        weights = torch.randn(2, tokens, 12, dtype=torch.float64, generator=generator)
        (layer(x, Sizes(12, 3, 4, grid, dense)) * weights).sum().backward()
        found.append([x.grad, *(p.grad for p in layer.parameters())])
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-12 * max(one.abs().max(), 1)


def test_entries_that_no_pair_has_get_no_gradient(layer):
    limit = layer.max_distance
    for dense in (True, False):
        layer.zero_grad()
        layer(
            torch.randn(2, 7, 12, dtype=torch.float64), Sizes(12, 3, 4, (3, 2), dense)
        ).sum().backward()
        for table in (layer.relative_keys, layer.relative_values):
            for axis, count in enumerate((3, 2)):
                reach = min(limit, count - 1)
                met = {0, *range(limit + 1 - reach, limit + 2 + reach)}
                assert {i for i, row in enumerate(table.grad[axis]) if row.any()} <= met
                if table is layer.relative_values:
                    assert all(table.grad[axis][i].any() for i in met)


def test_names_and_shapes_of_the_tables():
    layer = ElasticRelativeAttention(240, 4, 64, max_distance=14)
    assert layer.relative_keys.shape == layer.relative_values.shape == (2, 30, 64)
    assert relative_plan(240, 4, max_distance=14).num_entries == 30


@pytest.mark.parametrize("max_distance", [1, 2, 14])
@pytest.mark.parametrize("grid", [(2, 2), (3, 3), (7, 7), (8, 8)], ids=str)
def test_the_form_that_runs_is_the_cheaper_one(grid, max_distance, randomised):
    plan = relative_plan(12, 3, grid=grid, max_distance=max_distance)
    tokens, met = plan.num_tokens, 4 * (max_distance + 1)
    layer = randomised(ElasticRelativeAttention(12, 3, 4, max_distance=max_distance))
    x = torch.zeros(1, tokens, 12, dtype=torch.float64)
    measured = {}
    for form in (True, False):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            layer(x, Sizes(12, 3, 4, grid, form))
        measured[form] = counter.get_total_flops() // 2
    plain = attention_cost_of(12, 12, tokens).macs
    assert measured == {True: plain + 24 * tokens**2, False: plain + 24 * tokens * met}
    assert plan.cost().macs == min(measured.values())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x, plan)
    assert counter.get_total_flops() == 2 * plan.cost().macs
    assert plan.cost().params == sum(p.numel() for p in layer.parameters())
