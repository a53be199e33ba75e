from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import vitsearch

FIXTURE = Path(__file__).parents[1] / "fixtures" / "published.json"
PUBLISHED = json.loads(FIXTURE.read_text(encoding="utf-8"))


def measured_macs(network, images):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", vitsearch.list_published())
def test_every_published_architecture_is_legal(name):
    space, architecture = vitsearch.published(name)
    space.validate(architecture)
    assert space.name == PUBLISHED[name]["space"]


def test_blocks_are_those_of_the_paper():
    entry = PUBLISHED["glit_tiny"]
    space, architecture = vitsearch.published("glit_tiny")
    assert space.image_size == entry["image_size"]
    assert architecture["stem.patch_size"] == entry["patch_size"]
    assert architecture["stages.0.embed_dim"] == entry["embed_dim"]
    for slot, block in enumerate(entry["blocks"]):
        prefix = f"stages.0.blocks.{slot}."
        found = {
            name.removeprefix(prefix): value
            for name, value in architecture.items()
            if name.startswith(prefix)
        }
        assert found == block


def test_glit_tiny_costs_what_it_costs():
    space, architecture = vitsearch.published("glit_tiny")
    cost = vitsearch.cost(space, architecture)
    assert cost.params == PUBLISHED["glit_tiny"]["params"] == 7_264_456
    assert cost.macs == PUBLISHED["glit_tiny"]["macs"] == 1_472_873_280


def test_glit_tiny_model_is_measured_to_cost_that():
    network = vitsearch.create_model("glit_tiny").eval()
    assert sum(p.numel() for p in network.parameters()) == 7_264_456
    assert measured_macs(network, torch.zeros(1, 3, 224, 224)) == 1_472_873_280
    assert network.cost() == vitsearch.Cost(1_472_873_280, 7_264_456)
    assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_importing_teaches_the_counter_the_fused_attention_of_the_cpu():
    # Without it, attention on the CPU counts as nothing.
    assert torch.ops.aten._scaled_dot_product_flash_attention_for_cpu in flop_registry
    q, k, v = torch.zeros(3, 2, 4, 10, 16).unbind(0)

    def attend():
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        attend()
    assert counter.get_total_flops() == 2 * (2 * 4) * (2 * 10 * 10 * 16)


def test_create_model_with_other_classes():
    network = vitsearch.create_model("glit_tiny", num_classes=7, drop_path_rate=0.1)
    assert network.num_classes == 7
    assert network.cost().params == 7_264_456 - 993 * 193
    assert network.space.name == "glit_tiny"
    assert network.architecture == vitsearch.published("glit_tiny")[1]
