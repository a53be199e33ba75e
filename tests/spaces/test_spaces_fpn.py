"""Pyramids over the maps of a ResNet: the counts of the papers, and what is measured."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.every_space import perturbed
from torch.utils.flop_counter import FlopCounterMode

from vitsearch import SuperTransformer, build_space
from vitsearch.errors import SpaceError
from vitsearch.spaces import SearchSpace
from vitsearch.spaces.parts import FpnPlan
from vitsearch.spaces.parts.vt.fpn import Level

RESNET50 = (256, 512, 1024, 2048)


def small(kind: str, **settings: Any) -> SearchSpace:
    sizes = {"width": 16, "num_tokens": 4, "token_dim": 32, "num_heads": 2}
    groups = {"pixel_group_size": 4, "kqv_group_size": 16}
    space = build_space(
        "resnet18",
        image_size=32,
        num_blocks=1,
        depths=None,
        embed_dims=[[8, 12], [12, 16], [16, 24], [24, 32]],
        **{"stem.widths": [8]},
    )
    own = {"width": 16} if kind == "fpn" else {**sizes, **groups}
    return SearchSpace({**space.config, "head": {"kind": kind, **own, **settings}})


def pyramid(kind: str, height: int, width: int) -> FpnPlan:
    """At a paper's size; maps of strides 4 to 32, rounded up."""
    space = build_space("resnet50", image_size=64)
    head = SearchSpace({**space.config, "head": {"kind": kind}}).head
    levels = [
        Level(in_dim=dim, grid=(-(-height // stride), -(-width // stride)))
        for dim, stride in zip(RESNET50, (4, 8, 16, 32), strict=True)
    ]
    return head.of_levels(tuple(levels))


@pytest.mark.parametrize(
    ("size", "laterals", "outputs", "published", "within"),
    [((800, 1216), 7.47, 47.63, 8.5, 0.1), ((473, 473), 1.75, 11.14, 2.0, 0.1)],
)
def test_costs_are_those_of_the_paper(
    size: tuple[int, int], laterals: float, outputs: float, published: float, within: float
) -> None:
    plain, own = pyramid("fpn", *size), pyramid("vt_fpn", *size)
    assert plain.lateral_cost().macs / 1e9 == pytest.approx(laterals, abs=0.005)
    assert plain.output_cost().macs / 1e9 == pytest.approx(outputs, abs=0.005)
    assert own.lateral_cost() == plain.lateral_cost()  # they stay
    assert own.cost(0).macs / 1e9 == pytest.approx(published, abs=within)


@pytest.mark.parametrize("kind", ["fpn", "vt_fpn"])
@pytest.mark.parametrize("classes", [0, 3])
def test_what_is_counted_is_what_is_computed(kind: str, classes: int) -> None:
    space = small(kind)
    network = perturbed(SuperTransformer(space, classes)).double().eval()
    rng, images = random.Random(0), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    for architecture in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(8))):
        extracted = network.extract(architecture)
        with torch.no_grad():
            said = extracted(images)
            assert said.shape == (2, classes or 16, 8, 8)
            assert (said - network(images, architecture)).abs().max() < 1e-12
            with FlopCounterMode(display=False) as counter:
                extracted(images[:1])
        cost = space.plan(architecture).cost(classes)
        assert counter.get_total_flops() / 2 == cost.macs
        assert sum(p.numel() for p in extracted.parameters()) == cost.params


def test_a_pyramid_is_what_the_paper_draws() -> None:
    space = small("fpn")
    head = perturbed(SuperTransformer(space, 3)).head
    sizes = space.plan(space.largest()).head
    maps = [torch.randn(2, level.in_dim, *level.grid) for level in sizes.levels]
    lateral = [
        F.conv2d(x, conv.weight, conv.bias) for x, conv in zip(maps, head.lateral, strict=True)
    ]
    for i in (2, 1, 0):
        rows = lateral[i + 1].repeat_interleave(2, 2).repeat_interleave(2, 3)
        lateral[i] = lateral[i] + rows
    out = [
        F.conv2d(x, conv.weight, conv.bias, padding=1)
        for x, conv in zip(lateral, head.output, strict=True)
    ]
    total = sum(F.interpolate(x, size=(8, 8), mode="bilinear") for x in out)
    expected = F.conv2d(total, head.classifier.weight, head.classifier.bias)
    torch.testing.assert_close(head(*maps, sizes), expected)


def test_tokens_of_one_level_reach_the_others() -> None:
    space = small("vt_fpn")
    network = perturbed(SuperTransformer(space, 3)).double().eval()
    sizes = space.plan(space.largest()).head
    maps = [torch.randn(1, level.in_dim, *level.grid).double() for level in sizes.levels]
    changed = [maps[0] + 1, *maps[1:]]  # the finest level; nothing else hears of it but by tokens
    coarsest: list[torch.Tensor] = []
    network.head.projectors[3].register_forward_hook(
        lambda module, given, output: coarsest.append(output)
    )
    network.head(*maps, sizes)
    network.head(*changed, sizes)
    assert (coarsest[0] - coarsest[1]).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_heads": 3}, "space.head.num_heads=3 must divide width, 16"),
        ({"pixel_group_size": 5}, "space.head.pixel_group_size=5 must divide width, 16"),
        ({"kqv_group_size": 12}, "space.head.kqv_group_size=12 must divide token_dim, 32"),
        ({"norm": "batch"}, "space.head.norm=batch is unknown"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError) as error:
        small("vt_fpn", **settings)
    assert message in str(error.value)


def test_tokens_of_patches_make_no_pyramid() -> None:
    with pytest.raises(SpaceError, match=r"gives tokens, but the head takes a map"):
        SearchSpace({**build_space("glit").config, "head": {"kind": "fpn"}})
