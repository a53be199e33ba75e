"""The frame holds other networks than chains of transformer blocks; see `frame_parts.py`."""

from __future__ import annotations

import random
from itertools import product

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.every_space import drawn, perturbed
from tests.frame_parts import hybrid_space
from vitsearch import Architecture, SearchSpace, SuperTransformer
from vitsearch.costs import Constraint, CostModel, cost_table
from vitsearch.errors import ConfigError, SpaceError
from vitsearch.reports import describe_architecture
from vitsearch.reports.facts.architecture_rows import architecture_rows
from vitsearch.samplers import sample_within

SPACES = {"residual stage": hybrid_space()}
SPACES["two nodes read"] = SearchSpace({**hybrid_space().config, "head": {"kind": "two_stages"}})


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


def supernet_of(space: SearchSpace, **settings: str) -> SuperTransformer:
    torch.manual_seed(0)
    return perturbed(SuperTransformer(space, 5, **settings)).double().eval()


def images_for(space: SearchSpace, count: int = 1) -> torch.Tensor:
    return torch.randn(count, space.in_chans, space.image_size, space.image_size).double()


def every(space: SearchSpace) -> set[Architecture]:
    """All architectures, from every combination of options."""
    names = [choice.name for choice in space.choices]
    options = product(*(choice.options for choice in space.choices))
    return {space.canonical(dict(zip(names, values, strict=True))) for values in options}


def test_nodes_say_what_they_read(space: SearchSpace) -> None:
    plan = space.plan(space.largest())
    names = ["image", *(node.name for node in plan.nodes)]
    for number, node in enumerate(plan.nodes):
        assert set(node.reads) <= set(names[: number + 1])
    assert names[1:6] == [
        "stem",
        "stages.0.blocks.0",
        "stages.0.blocks.1",
        "stages.1.transition",
        "stages.1.blocks.0",
    ]
    two = ("stages.0.blocks.1", "stages.1.blocks.1")
    assert plan.head_reads == (two if space == SPACES["two nodes read"] else ("norm",))


@torch.no_grad()
@pytest.mark.parametrize("sharing", ["prefix", "cyclic"])
def test_extracted_equals_supernet_at_the_cost_foretold(space: SearchSpace, sharing: str) -> None:
    supernet, images = supernet_of(space, sharing=sharing), images_for(space)
    for architecture in drawn(space, 40):
        network = supernet.extract(architecture)
        with FlopCounterMode(display=False) as counter:
            logits = network(images)
        assert counter.get_total_flops() == 2 * network.cost().macs
        assert sum(p.numel() for p in network.parameters()) == network.cost().params
        torch.testing.assert_close(logits, supernet(images, architecture), rtol=1e-12, atol=1e-12)


def test_a_mixed_batch_equals_single_runs(space: SearchSpace) -> None:
    supernet = supernet_of(space)
    architectures = drawn(space, 4)
    images = images_for(space, 2 * len(architectures))
    supernet(images, architectures).square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in supernet.named_parameters()}
    supernet.zero_grad()
    for share, one in zip(images.chunk(len(architectures)), architectures, strict=True):
        supernet(share, one).square().sum().backward()
    for name, parameter in supernet.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-10, atol=1e-12)


def test_sizes_ends_and_costs_are_exact(space: SearchSpace) -> None:
    found = every(space)
    assert space.size() == len(found)
    costs = {one: space.plan(one).cost(5) for one in found}
    for end, pick in ((space.smallest(), min), (space.largest(), max)):
        assert costs[end].macs == pick(cost.macs for cost in costs.values())
    model, table = CostModel(space, 5), cost_table(space, list(found), 5)
    for number, one in enumerate(found):
        assert model.cost(one) == costs[one]
        assert (table["macs"][number], table["params"][number]) == (
            costs[one].macs,
            costs[one].params,
        )
    middle = sorted(cost.macs for cost in costs.values())[len(costs) // 2]
    window = Constraint(macs=(0, middle))
    drawn_within = sample_within(space, window, 8, random.Random(0), num_classes=5)
    assert all(costs[one].macs <= middle for one in drawn_within)


def test_statistics_are_those_of_the_architecture(space: SearchSpace) -> None:
    supernet, images = supernet_of(space), images_for(space, 12)
    architecture = space.smallest()
    statistics = supernet.estimate_statistics(architecture, [images[:5], images[5:]])
    assert any("stages.0.blocks.0.norm" in name for name in statistics)
    network = supernet.extract(architecture, statistics=statistics)
    expected = supernet(images, architecture, statistics=[statistics])
    torch.testing.assert_close(network(images), expected)


def test_reports_show_what_they_do_not_know(space: SearchSpace) -> None:
    architecture = space.largest()
    lines = describe_architecture(space, architecture)
    assert "Residual" in " ".join(lines)
    assert "stage 1: 8 x 8 pixels, width 6" in lines
    rows = architecture_rows(space, architecture, 5)
    total = space.plan(architecture).cost(5)
    assert sum(row.cost.macs for row in rows) == total.macs


def test_features_are_maps_and_tokens() -> None:
    space = SPACES["residual stage"]
    network = supernet_of(space).extract(space.largest())
    shapes = [
        tuple(feature.shape)
        for feature in network.forward_intermediates(images_for(space), intermediates_only=True)
    ]
    assert shapes == [(1, 6, 8, 8), (1, 24, 4, 4)]
    assert [info["num_chs"] for info in network.feature_info] == [6, 24]


def test_what_timm_asks_of_classifiers_is_refused_of_other_heads() -> None:
    space = SPACES["two nodes read"]
    network = supernet_of(space).extract(space.largest())
    with pytest.raises(ConfigError, match="no classifier but a TwoStagesPlan"):
        network.reset_classifier(3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transition": {"kind": "none"}, "embed_dims": 12}, "stage 0 gives a map, but stage 1"),
        ({"stem": {"kind": "patch"}, "patch_sizes": [4]}, "the stem gives tokens, but stage 0"),
        ({"block": [{"kind": "transformer"}] * 3}, "space.block lists 3 sections for 2 stages"),
        ({"block": {"kind": "pool"}}, "space.block.kind=pool is unknown; legal: transformer"),
        ({"head": {"kind": "box"}}, "space.head.kind=box is unknown; legal: classifier"),
        ({"body": {"kind": "tree"}}, "space.body.kind=tree is unknown; legal: stages"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        SearchSpace({**SPACES["residual stage"].config, **changes})
