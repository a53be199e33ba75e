"""High-resolution spaces: what is asked of all architectures at once, sizes of images, errors."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
import torch
from tests.every_space import drawn, perturbed
from torch.utils.flop_counter import FlopCounterMode

from vitsearch import SearchSpace, SuperTransformer, build_space
from vitsearch.costs import CostModel, cost_table
from vitsearch.errors import SpaceError

TINY = {
    "image_size": 16,
    "body.branches": [[2], [2, 3]],
    "body.blocks": [[1], [1, 1]],
    "body.widen": [3, 4],
    "body.features": 5,
    "stem.width": 2,
    "block.kernel_sizes": [3, 5],
    "block.expansion": 1,
    "block.num_tokens": 0,
}


def tiny(**settings: Any) -> SearchSpace:
    return build_space("hr_nas", **{**TINY, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"block.squeeze_ratio": 0.5, "block.kernel_sizes": 3, "block.expansion": 2},
        {"block.unused_norms": True, "block.kernel_sizes": 3, "block.num_tokens": [0, 2]},
    ],
)
def test_equals_brute_force(settings: dict[str, Any]) -> None:
    whole = tiny(**settings)
    fixed = {c.name: c.options[-1] for c in whole.choices if not c.name.startswith("stages.1")}
    space = whole.restrict(fixed)
    options = product(*(choice.options for choice in space.choices))
    names = [choice.name for choice in space.choices]
    every = {space.canonical(dict(zip(names, values, strict=True))) for values in options}
    assert space.size() == len(every)
    assert whole.size() == len(every) * _options_of_others(whole)
    costs = {one: space.plan(one).cost(7) for one in every}
    model, table = CostModel(space, 7), cost_table(space, list(every), 7)
    for number, one in enumerate(every):
        assert model.cost(one) == costs[one]
        assert (table["macs"][number], table["params"][number]) == costs[one].numbers
    for metric in ("macs", "params"):
        for largest, pick in ((True, max), (False, min)):
            _, end = space.extreme(metric, largest=largest, num_classes=7)
            assert end[metric] == pick(cost[metric] for cost in costs.values())


def _options_of_others(space: SearchSpace) -> int:
    count = 1
    for choice in space.choices:
        if not choice.name.startswith("stages.1"):
            count *= len(choice.options)
    return count


def test_a_block_without_anything_is_its_shortcut() -> None:
    space = tiny()
    smallest = space.smallest()
    network = perturbed(SuperTransformer(space, 3)).extract(smallest).eval()
    block = network.get_submodule("stages.0.branches.0.0")
    x = torch.randn(2, 2, 4, 4)
    plan = next(n.plan for n in network.plan.nodes if n.name == "stages.0.branches.0.0")
    assert block(x, plan) is x
    assert not list(block.parameters())
    assert sum(1 for _ in network.parameters()) > 0


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 40), (24, 17), (30, 30)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    space = build_space(
        "hr_nas", image_size=list(size), **{"body.branches": [[4], [4, 6], [4, 6, 8]]}
    )
    assert space.input_shape == (1, *size)
    assert SearchSpace(space.config) == space
    supernet = perturbed(SuperTransformer(space, 3)).double().eval()
    images = torch.randn(2, *space.input_shape, dtype=torch.float64)
    for architecture in drawn(space, 4):
        network = supernet.extract(architecture)
        with FlopCounterMode(display=False) as counter:
            logits = network(images[:1])
        assert counter.get_total_flops() == 2 * network.cost().macs
        expected = supernet(images[:1], architecture)
        torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)


def test_features_are_the_branches() -> None:
    space = build_space("hr_nas", image_size=64)
    network = SuperTransformer(space, 3).extract(space.sample(random.Random(0))).eval()
    images = torch.randn(1, *space.input_shape)
    shapes = [tuple(f.shape[1:]) for f in network.forward_intermediates(images)[1]]
    assert shapes == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert [info["reduction"] for info in network.feature_info] == [4, 8, 16]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"body.branches": [[2], [2, 3, 4]]},
            r"body.blocks=\[\[1\], \[1, 1\]\] must have a number",
        ),
        (
            {"body.branches": [[2], [2, 3, 4]], "body.blocks": [[1], [1, 1, 1]]},
            "each module has as many branches as the one before it, or one more",
        ),
        ({"body.branches": [[2], [2, 0]]}, r"body.branches=\[2, 0\] must be whole numbers from 1"),
        ({"body.branches": 3}, "body.branches=3 must be a list with a list for each module"),
        (
            {"body.widen": [3]},
            r"body.widen=\[3\] must have a width for each of the last 2 branches",
        ),
        ({"stem": "resnet"}, "body high_resolution needs space/stem=convs"),
        ({"head": "token"}, "body high_resolution needs a head that takes a map"),
        ({"block.kernel_sizes": [3, 4]}, r"kernel_sizes=\[3, 4\]: 4 must be odd"),
        ({"block.dropout": 1}, r"space.block.dropout=1 must lie in \[0, 1\)"),
        ({"stem.strides": [2, 3]}, r"space.stem.strides=\[2, 3\] must be a list of 1 and 2"),
        ({"image_size": [16, 16, 3]}, "must be one number, or height and width"),
        ({"image_size": [16, 0]}, "image_size"),
    ],
)
def test_what_does_not_fit(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        tiny(**settings)


def test_what_bodies_do_not_take() -> None:
    with pytest.raises(SpaceError, match="body high_resolution needs space/block=searching"):
        build_space("hr_nas", **{"block": "basic", "block.stride": 1})
    with pytest.raises(SpaceError, match="it needs space"):
        build_space("glit", block="searching")
    with pytest.raises(SpaceError, match="body stages takes square images; give one number"):
        build_space("glit", image_size=[28, 32])
