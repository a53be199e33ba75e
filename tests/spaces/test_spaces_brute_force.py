"""Size, ends and catalogue against all architectures of small spaces, each family's."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vitsearch import Architecture, SearchSpace, build_space

ATTENTION = {
    "mixer": "attention",
    "mixer.num_heads": [1, 2],
    "mixer.head_dim": 8,
    "mlp.ratios": [2, 4],
}
VITAS = {
    "min_depth": 0,
    "mixer.num_heads": [2, 3],
    "mixer.qkv_widths": [36],
    "mlp.hidden": [48, 96],
}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "glit in two depths": (
        "glit",
        {
            "num_blocks": 2,
            "depths": [1, 2],
            "mixer.global_heads": [0, 2],
            "mixer.kernel_sizes": [9, 15],
            "mixer.local_expansions": [1, 2],
            "mlp.ratios": [2, 4],
        },
    ),
    "glit with merged tokens": (
        "glit",
        {
            "num_blocks": 3,
            "depths": [1, 3],
            "mixer.global_heads": [0, 2],
            "mixer.kernel_sizes": [9],
            "mixer.local_expansions": [1],
            "mlp.ratios": [2, 4],
            "tokens": {"kind": "merge", "merged": [0, 3, 8]},
        },
    ),
    "attention with kept tokens": (
        "glit",
        {
            "num_blocks": 3,
            "depths": [1, 2, 3],
            "tokens": {"kind": "keep", "keep": [0.5, 0.8, 1], "slots": [0, 2]},
            **ATTENTION,
        },
    ),
    "attention with predicted tokens": (
        "glit",
        {
            "num_blocks": 3,
            "depths": [2, 3],
            "tokens": {"kind": "predict", "keep": [0.5, 1], "slots": [0, 1]},
            **ATTENTION,
        },
    ),
    "autoformer": (
        "autoformer",
        {
            "num_blocks": 3,
            "depths": [1, 3],
            "embed_dims": [24, 48],
            "mixer.num_heads": [2, 3],
            "mlp.ratios": [2, 4],
        },
    ),
    "autoformer of any depth": (
        "autoformer",
        {"num_blocks": 2, "depths": [0, 1, 2], "embed_dims": [24, 48], "mixer.num_heads": [2]},
    ),
    "vitas": ("vitas", {"num_blocks": 3, "embed_dims": [24, 48], "patch_sizes": [4, 8], **VITAS}),
    "vitas on conv stems": (
        "vitas",
        {"stem": "conv", "num_blocks": 2, "embed_dims": [24, 48], "patch_sizes": [4, 8], **VITAS},
    ),
    "vitas without identities": (
        "vitas",
        {"identity_probability": None, "num_blocks": 2, "embed_dims": [24, 48], **VITAS},
    ),
    "one skippable slot": ("glit", {**ATTENTION, "num_blocks": 3, "skippable": [1]}),
    "first and last skippable": ("glit", {**ATTENTION, "num_blocks": 3, "skippable": [0, 2]}),
    "two side by side": ("glit", {**ATTENTION, "num_blocks": 4, "skippable": [1, 2]}),
    "two and one": ("glit", {**ATTENTION, "num_blocks": 4, "skippable": [0, 1, 3]}),
    "three side by side": ("glit", {**ATTENTION, "num_blocks": 4, "skippable": [1, 2, 3]}),
    "all skippable": ("glit", {**ATTENTION, "num_blocks": 3, "skippable": [0, 1, 2]}),
    "glit with skippable slots": (
        "glit",
        {
            "num_blocks": 2,
            "skippable": [0, 1],
            "mixer.global_heads": [0, 3],
            "mixer.kernel_sizes": [9, 15],
            "mixer.local_expansions": [1],
        },
    ),
    "three stages": (
        "vit_resnas",
        {
            "num_blocks": [1, 2, 1],
            "skippable": [[], [1], [0]],
            "embed_dims": [[24, 32], [32, 48], [48, 64]],
            "mixer.num_heads": [[1, 2], [2], [1, 2]],
            "mlp.hidden": [[32], [32, 48], [64]],
        },
    ),
    "three stages of many depths": (
        "vit_resnas",
        {
            "num_blocks": [1, 2, 2],
            "skippable": None,
            "depths": [[0, 1], [1, 2], [2]],
            "embed_dims": [[24, 32], [32], [48, 64]],
            "patch_sizes": [2, 4],
            "mixer.num_heads": [[1, 2], [2, 3], [2]],
            "mlp.hidden": [[32], [32], [64, 96]],
        },
    ),
}


def small_space(name: str) -> SearchSpace:
    base, overrides = SMALL[name]
    return build_space(base, **overrides)


def brute_force(space: SearchSpace) -> set[Architecture]:
    """Every architecture, by going through all genotypes."""
    names = [choice.name for choice in space.choices]
    genotypes = product(*(choice.options for choice in space.choices))
    return {space.canonical(dict(zip(names, values, strict=True))) for values in genotypes}


def check_ends(space: SearchSpace, found: set[Architecture]) -> None:
    costs = [space.plan(architecture).cost(0) for architecture in found]
    by_macs = sorted((cost.macs, cost.params) for cost in costs)
    by_params = sorted((cost.params, cost.macs) for cost in costs)
    for metric, ranks in (("macs", by_macs), ("params", by_params)):
        for largest, (first, second) in ((False, ranks[0]), (True, ranks[-1])):
            architecture, cost = space.extreme(metric, largest=largest)
            assert architecture in found
            assert cost == space.plan(architecture).cost(0)
            own = (cost.macs, cost.params) if metric == "macs" else (cost.params, cost.macs)
            assert own == (first, second)
    assert space.smallest() == space.extreme("macs", largest=False)[0]
    assert space.largest() == space.extreme("macs", largest=True)[0]


def check_catalogue(space: SearchSpace, found: set[Architecture]) -> None:
    """Every piece that some plan has, each once, and nothing else."""
    plans = [space.plan(architecture) for architecture in found]
    catalogue = space.catalogue()

    def same(pieces: tuple[Any, ...], needed: set[Any]) -> None:
        assert len(set(pieces)) == len(pieces)
        assert set(pieces) == needed

    same(catalogue.heads, {plan.head for plan in plans})
    used: dict[str, set[Any]] = {name: set() for name in catalogue.nodes}
    for plan in plans:
        for node in plan.nodes:
            used[node.name].add(node.plan)
    for name, pieces in catalogue.nodes.items():
        if ".blocks." not in name:
            same(pieces, used[name])
            continue
        assert len(set(pieces)) == len(pieces)
        for attribute in ("mixer", "mlp", "embed_dim", "norm_eps"):
            needed = {getattr(block, attribute) for block in used[name]}
            assert {getattr(block, attribute) for block in pieces} == needed
        assert len(pieces) <= len(used[name])


def check(space: SearchSpace) -> None:
    found = brute_force(space)
    assert space.size() == len(found)
    assert len({space.plan(architecture) for architecture in found}) == len(found)
    check_ends(space, found)
    check_catalogue(space, found)


@pytest.mark.parametrize("name", SMALL)
def test_equals_brute_force(name: str) -> None:
    check(small_space(name))


@pytest.mark.parametrize("name", SMALL)
def test_parts_equal_brute_force(name: str) -> None:
    space = small_space(name)

    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def parts(data: st.DataObject) -> None:
        limits = {}
        for choice in space.choices:
            options = st.lists(st.sampled_from(choice.options), min_size=1, unique=True)
            limits[choice.name] = data.draw(options, label=choice.name)
        assume(prod(map(len, limits.values())) <= 300)
        part = space.restrict(limits)
        check(part)
        for architecture in brute_force(part):
            space.validate(architecture)
            assert space.plan(architecture) == part.plan(architecture)

    parts()


def test_all_parts_of_a_chain_equal_brute_force() -> None:
    """Four skippable slots side by side, each kept, empty, or either where it may be."""
    chain = {"num_blocks": 4, "skippable": [0, 1, 2, 3], "mixer.num_heads": [1], "mlp.ratios": [2]}
    space = build_space("glit", **{**ATTENTION, **chain})
    for options in product([False, True, [False, True]], repeat=4):
        keep = {f"*.blocks.{slot}.keep": kept for slot, kept in enumerate(options)}
        check(space.restrict(keep))
