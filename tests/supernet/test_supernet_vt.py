"""A module of Visual Transformers against its equations, and networks with such stages."""

from __future__ import annotations

import math
import random

import pytest
import torch
from tests.every_space import perturbed
from tests.spaces.test_spaces_vt import tiny
from torch.utils.flop_counter import FlopCounterMode

from vitsearch import SearchSpace, SuperTransformer, VisionTransformer, build_space, cost
from vitsearch.costs import cost_table
from vitsearch.elastic.layers.vt.heads import MapWithTokens
from vitsearch.spaces.parts import VtPlan, VtSizes
from vitsearch.supernet.build import make_layer

C, PIXELS, TOKENS = 8, (3, 4), 6


def module_of(tokenizer: str, *, out_dim: int = C, scaled: bool = False, heads: int = 1):
    """One module with groups of all channels, equal widths and no norms: as printed."""
    sizes = VtSizes(
        in_dim=C,
        grid=PIXELS,
        out_dim=out_dim,
        token_dim=C,
        num_tokens=TOKENS,
        tokenizer=tokenizer,
        gives_map=True,
        gives_tokens=True,
        num_prefix_tokens=0,
    )
    plan = VtPlan(
        sizes=sizes,
        num_heads=heads,
        num_layers=1,
        hidden_dim=C,
        relation="transformer",
        renewed=TOKENS,
        pixel_group=C,
        token_group=C,
        norm="none",
        scaled=scaled,
    )
    return perturbed(make_layer([plan])).double(), plan


@pytest.mark.parametrize("tokenizer", ["filter", "recurrent"])
@pytest.mark.parametrize("scaled", [False, True])
def test_it_is_the_equations_of_the_paper(tokenizer, scaled):
    """Equations 1 to 5; K and Q are half as wide, and values have weights, as the counts say."""
    module, plan = module_of(tokenizer, scaled=scaled)
    x = torch.randn(2, C, *PIXELS, dtype=torch.float64)
    before = torch.randn(2, TOKENS, C, dtype=torch.float64)
    given = MapWithTokens(x, before) if tokenizer == "recurrent" else x
    found = module(given, plan)

    pixels = x.flatten(2).mT  # (B, HW, C)
    w = {name: p.detach() for name, p in module.named_parameters()}
    root = math.sqrt(C) if scaled else 1.0
    half = math.sqrt(C // 2) if scaled else 1.0
    values = pixels @ w["tokenizer.value.weight"].T
    if tokenizer == "filter":
        attention = (pixels @ w["tokenizer.filters.weight"].T / root).softmax(1)
    else:
        asked = before @ w["tokenizer.query.weight"].T
        keys = pixels @ w["tokenizer.key.weight"].T
        attention = torch.einsum("bpc,blc->bpl", keys, asked).div(root).softmax(1)
    torch.testing.assert_close(attention.sum(1), torch.ones_like(attention.sum(1)))
    tokens = torch.einsum("bpl,bpc->blc", attention, values) @ w["tokenizer.proj.weight"].T
    queries, keys = (tokens @ w[f"layers.0.{name}.weight"].T for name in ("query", "key"))
    relation = torch.einsum("blc,bmc->blm", queries, keys).div(half).softmax(2)
    tokens = tokens + relation @ (tokens @ w["layers.0.value.weight"].T)
    hidden = (tokens @ w["layers.0.fc1.weight"].T).relu()
    tokens = tokens + hidden @ w["layers.0.fc2.weight"].T
    queries = pixels @ w["projector.query.weight"].T
    keys, values = (tokens @ w[f"projector.{name}.weight"].T for name in ("key", "value"))
    asked = torch.einsum("bpc,blc->bpl", queries, keys).div(root).softmax(2)
    back = pixels + asked @ values
    torch.testing.assert_close(found.tokens, tokens)
    torch.testing.assert_close(found.map.flatten(2).mT, back)


def test_pixels_and_tokens_have_no_order():
    module, plan = module_of("filter", heads=2)
    x = torch.randn(2, C, *PIXELS, dtype=torch.float64)
    found = module(x, plan)
    order = torch.randperm(12)
    moved = module(x.flatten(2)[:, :, order].unflatten(2, PIXELS), plan)
    torch.testing.assert_close(moved.tokens, found.tokens)
    torch.testing.assert_close(moved.map.flatten(2), found.map.flatten(2)[:, :, order])
    rows = torch.randperm(TOKENS)
    with torch.no_grad():
        module.tokenizer.filters.weight.copy_(module.tokenizer.filters.weight[rows])
    renamed = module(x, plan)
    torch.testing.assert_close(renamed.tokens, found.tokens[:, rows])
    torch.testing.assert_close(renamed.map, found.map)


BEHIND_VIT = {
    "name": "vit, then tokens",
    "image_size": 16,
    "in_chans": 1,
    "patch_sizes": [4],
    "num_stages": 2,
    "num_blocks": [2, 2],
    "depths": [[1, 2], [1, 2]],
    "embed_dims": [[32], [32, 64]],
    "stem": {"kind": "patch"},
    "mixer": {"kind": "attention", "num_heads": [2, 4], "head_dim": 8},
    "mlp": {"kind": "mlp", "ratios": [1, 2]},
    "head": {"pool": "avg", "norm_place": "none"},
    "block": [
        {"kind": "transformer"},
        {
            "kind": "vt",
            "num_tokens": [4, 8],
            "token_dims": [64, 96],
            "num_heads": [2, 4],
            "num_layers": [1, 2],
            "projectors": [False, True],
            "pixel_group_size": 16,
            "kqv_group_size": 32,
        },
    ],
}
SPACES = {
    "vt": lambda: build_space("vt"),
    "behind ViT blocks": lambda: SearchSpace(BEHIND_VIT),
    "a map behind": lambda: tiny(vt={"output": "map", "renew": "half"}),
    "graph": lambda: tiny(vt={"relation": "graph", "norm": "none"}),
}


@pytest.mark.parametrize("name", SPACES)
def test_architectures_are_parts_and_cost_what_is_foretold(name):
    space, rng = SPACES[name](), random.Random(0)
    chosen = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(98))]
    network = perturbed(SuperTransformer(space, num_classes=5)).double().eval()
    x = torch.randn(3, 1, space.image_size, space.image_size, dtype=torch.float64)
    table = cost_table(space, chosen, 5)
    for number, architecture in enumerate(chosen):
        taken = network.extract(architecture)
        with torch.no_grad():
            assert (taken(x) - network(x, architecture)).abs().max() < 1e-12
        counted = taken.cost()
        assert counted == cost(space, architecture, 5)
        assert (counted.macs, counted.params) == (table["macs"][number], table["params"][number])
        assert sum(p.numel() for p in taken.parameters()) == counted.params
        if number % 3:
            continue
        taken.requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            taken(x[:1])
        assert counter.get_total_flops() == 2 * counted.macs


@pytest.mark.parametrize("name", SPACES)
def test_shares_of_a_batch_are_single_runs(name):
    space, rng = SPACES[name](), random.Random(1)
    chosen = [space.sample(rng), space.largest(), space.largest(), space.smallest()]
    network = perturbed(SuperTransformer(space, num_classes=5)).double().eval()
    x = torch.randn(8, 1, space.image_size, space.image_size, dtype=torch.float64)
    together = network.forward_heads(x, chosen)
    for part, architecture, own in zip(x.split(2), chosen, together, strict=True):
        torch.testing.assert_close(own.logits, network(part, architecture), rtol=0, atol=1e-12)


def test_it_learns_and_begins_as_its_shortcuts():
    space = tiny()
    network = VisionTransformer(space, space.largest(), num_classes=3)
    network.zero_init_residual(True)
    x = torch.randn(4, 1, 12, 12)
    maps = network.forward_intermediates(x, intermediates_only=True)
    assert [tuple(own.shape) for own in maps] == [(4, 8, 12, 12), (4, 6, 32)]
    network.train()
    torch.nn.functional.cross_entropy(network(x), torch.tensor([0, 1, 2, 0])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
