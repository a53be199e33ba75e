"""Every published architecture: its known cost, and the measured one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import vitsearch
from vitsearch.spaces.parts import RelativeAttentionPlan

FIXTURE = Path(__file__).parents[1] / "fixtures" / "published.json"
PUBLISHED = json.loads(FIXTURE.read_text(encoding="utf-8"))


def cost_of(name: str) -> vitsearch.Cost:
    return vitsearch.cost(*vitsearch.published(name))


def test_the_fixture_has_every_entry():
    assert sorted(PUBLISHED) == vitsearch.list_published()
    known = {key for entry in PUBLISHED.values() for key in entry if key in ("macs", "params")}
    assert known == {"macs", "params"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_parameters_and_macs(name):
    entry, cost = PUBLISHED[name], cost_of(name)
    assert cost.params == entry.get("params", cost.params)
    assert cost.macs == entry.get("macs", cost.macs)


@torch.no_grad()
@pytest.mark.parametrize("name", PUBLISHED)
def test_closed_form_is_what_is_measured(name):
    with torch.device("meta"):
        network = vitsearch.create_model(name).eval()
    with FlopCounterMode(display=False) as counter:
        logits = network(torch.zeros(1, 3, 224, 224, device="meta"))
    assert logits.shape == (1, 1000)
    assert counter.get_total_flops() == 2 * cost_of(name).macs
    assert sum(p.numel() for p in network.parameters()) == cost_of(name).params
    assert network.cost() == cost_of(name)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        # Millions; the authors' counter says 858, 990.6, 1303.0, 2706.8 and 4931.0.
        ("vitas_a", 833.5),
        ("vitas_b", 958.6),
        ("vitas_c", 1265.1),
        ("vitas_e", 2653.9),
        ("vitas_f", 4898.5),
        ("vit_resnas_tiny", 1782.6),
        ("glit_tiny", 1472.9),
    ],
)
def test_macs_in_millions(name, macs):
    assert round(cost_of(name).macs / 1e6, 1) == macs


@pytest.mark.parametrize(("name", "budget"), [("tiny", 1.7944), ("small", 2.9), ("medium", 4.6)])
def test_vit_resnas_lies_in_its_budget(name, budget):
    assert 0.975 * budget <= cost_of(f"vit_resnas_{name}").macs / 1e9 <= budget


def test_autoformer_tiny_is_counted_in_the_form_that_runs():
    space, architecture = vitsearch.published("autoformer_tiny")
    plan = space.plan(architecture)
    assert plan.cost().macs == 1_343_754_752
    dense = plan.cost().macs
    for block in plan.stages[0].blocks:
        mixer = block.mixer
        assert isinstance(mixer, RelativeAttentionPlan)
        assert not mixer.dense
        inner = mixer.num_heads * mixer.head_dim
        dense += 2 * mixer.num_tokens * (mixer.num_tokens - 2 * mixer.num_entries) * inner
    known = PUBLISHED["autoformer_tiny"]["macs_with_dense_relative_position"]
    assert dense == known == 1_481_938_432


@pytest.mark.parametrize("name", [n for n in PUBLISHED if "resnet" not in n and "hr_nas" not in n])
def test_blocks_are_those_of_the_paper(name):
    entry = PUBLISHED[name]
    space, architecture = vitsearch.published(name)
    plan = space.plan(architecture)
    assert architecture["stem.patch_size"] == entry["patch_size"]
    stages = entry.get("stages") or [{"width": entry["embed_dim"], "blocks": entry["blocks"]}]
    assert [stage.embed_dim for stage in plan.stages] == [stage["width"] for stage in stages]
    for stage, listed in zip(plan.stages, stages, strict=True):
        assert len(stage.blocks) == len(listed["blocks"])
        for block, expected in zip(stage.blocks, listed["blocks"], strict=True):
            if "mlp_hidden" in expected:
                assert block.mlp.hidden_dim == expected["mlp_hidden"]
            if "num_heads" in expected:
                assert block.mixer.num_heads == expected["num_heads"]
            if "head_dim" in expected:
                assert block.mixer.head_dim == expected["head_dim"]
            if "qkv_width" in expected:
                assert 3 * block.mixer.inner_dim == expected["qkv_width"]
                assert block.mixer.head_dim * expected["num_heads"] == block.mixer.inner_dim
            if "mlp_ratio" in expected and "kernel_size" not in expected:
                assert block.mlp.hidden_dim == round(expected["mlp_ratio"] * stage.embed_dim)
    if "stem" in entry:
        assert plan.stem.mid_chans == entry["stem"]["mid_channels"]
        assert plan.stem.half_size == 112
        assert [stage.grid for stage in plan.stages] == [(16, 16), (8, 8), (4, 4)]


def test_a_supernet_of_one_architecture_is_that_network():
    for name in ("vitas_a", "autoformer_tiny"):
        space, architecture = vitsearch.published(name)
        part = space.restrict(architecture)
        assert part.size() == 1
        with torch.device("meta"):
            supernet = vitsearch.SuperTransformer(part)
        assert sum(p.numel() for p in supernet.parameters()) == cost_of(name).params
