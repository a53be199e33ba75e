"""Genotypes with identities, as ViTAS has them: networks that are equal are equal values."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import product

import pytest
from tests.every_space import space_named

from vitsearch import SearchSpace, build_space

NAMES = ("num_heads", "qkv_width", "mlp_hidden")


def small_space(num_blocks: int) -> SearchSpace:
    return build_space(
        "vitas",
        num_blocks=num_blocks,
        min_depth=0,
        patch_sizes=[8],
        embed_dims=[24, 48],
        **{"mixer.num_heads": [2, 3], "mixer.qkv_widths": [36, 72], "mlp.hidden": [48, 96]},
    )


def genotypes(space: SearchSpace):
    """Each slot an identity or a number of heads; identities have genes for their widths, too."""
    stage = space.stages[0]
    by_name = {choice.name: choice.options for choice in stage.block.choices()}
    operations = [None, *by_name["num_heads"]]
    slots = list(product(operations, by_name["qkv_width"], by_name["mlp_hidden"]))
    return product(stage.embed_dims, *[slots] * stage.num_blocks)


def assembled(space: SearchSpace, width: int, slots):
    blocks = [None if slot[0] is None else dict(zip(NAMES, slot, strict=True)) for slot in slots]
    patch_size = space.stem.patch_sizes[0]
    shared = {"stem.patch_size": patch_size, "stages.0.embed_dim": width}
    return space.assemble(shared, [blocks])


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
def test_all_genotypes(num_blocks: int) -> None:
    space = small_space(num_blocks)
    found = Counter(assembled(space, width, slots) for width, *slots in genotypes(space))
    assert len(found) == space.size() == 2 * sum(8**depth for depth in range(num_blocks + 1))
    assert len({space.plan(architecture) for architecture in found}) == len(found)
    assert len({architecture.digest for architecture in found}) == len(found)
    # An architecture of d blocks stands for every place of its identities, and all their genes.
    for architecture, count in found.items():
        depth = architecture["stages.0.depth"]
        identities = num_blocks - depth
        assert count == math.comb(num_blocks, depth) * 4**identities
        space.validate(architecture)
        plan = space.plan(architecture)
        assert list(plan.stages[0].slots) == list(range(depth))
    assert sum(found.values()) == 2 * 12**num_blocks


def test_known_sizes() -> None:
    space = space_named("vitas_small")
    genotypes = 500**16 * 30
    assert round(math.log10(genotypes), 1) == 44.7
    assert space.size() == 30 * sum(400**depth for depth in range(17))
    genes = 3 * 10 * ((4 + 1) * 10 * 10) ** 16
    assert genes == genotypes
    assert space_named("vitas_base").size() == 30 * 400**13  # without identities
    assert space_named("vitas").size() == 6 * sum(18**depth for depth in range(2, 7))


def test_identities_anywhere_in_the_papers_space() -> None:
    space, rng = space_named("vitas_small"), random.Random(0)
    for _ in range(30):
        depth = rng.randint(0, 16)
        blocks = [
            {
                "num_heads": rng.choice([3, 6, 12, 16]),
                "qkv_width": 144 * rng.randint(1, 10),
                "mlp_hidden": 144 * rng.randint(1, 10),
            }
            for _ in range(depth)
        ]
        shared = {"stem.patch_size": 16, "stages.0.embed_dim": 192}
        expected = space.assemble(shared, [blocks])
        for _ in range(3):
            places = sorted(rng.sample(range(16), depth))
            rest = iter(blocks)
            slots = [next(rest) if slot in places else None for slot in range(16)]
            assert space.assemble(shared, [slots]) == expected
        plan = space.plan(expected)
        sizes = [
            (b.mixer.num_heads, 3 * b.mixer.inner_dim, b.mlp.hidden_dim)
            for b in plan.stages[0].blocks
        ]
        assert sizes == [tuple(block.values()) for block in blocks]


def test_sampled_values_are_canonical_already() -> None:
    space, rng = small_space(3), random.Random(0)
    seen = {space.sample(rng) for _ in range(3000)}
    assert len({space.plan(architecture) for architecture in seen}) == len(seen)
    part = space.restrict({"*.depth": [0, 1, 2]})
    known = {part.sample(rng) for _ in range(3000)}
    assert len(known) == part.size() == 2 * (1 + 8 + 64)


def test_a_network_without_blocks() -> None:
    space = space_named("vitas_small")
    architecture = space.assemble({"stem.patch_size": 14, "stages.0.embed_dim": 38}, [[None] * 16])
    assert space.plan(architecture).stages[0].blocks == ()
    assert architecture == space.smallest()
    assert len(architecture) == 3
