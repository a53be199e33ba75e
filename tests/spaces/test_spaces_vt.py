"""Visual Transformers: counts of the paper's tables 2 to 7, conditions, what does not fit."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

import vitsearch
from vitsearch import Architecture, SearchSpace, build_space
from vitsearch.spaces import Plan
from vitsearch.spaces.parts import ResidualPlan, ResNetStemPlan, VtPlan

STAGE = "stages.3"
# MACs and weights in millions: published; "without" needs a typo in the paper, 3369 for 3269.
TABLES: dict[str, dict[str, Any]] = {
    "table 2": {},
    "pooling": {"tokenizer": "pool"},
    "without recurrent": {"recurrent": False},
    "relation none": {"relation": "pointwise"},
    "graph": {"relation": "graph"},
    "32 tokens": {"num_tokens": 32},
    "64 tokens": {"num_tokens": 64},
    "without projector": {"projector": False},
}
PUBLISHED = {
    "vt_resnet18": [
        (1579, 11.6),
        (1550, 11.0),
        (1564, 11.1),
        (1528, 8.5),
        (1528, 8.5),
        (1711, 11.6),
        (1979, 11.6),
        (1497, 9.3),
    ],
    "vt_resnet34": [
        (3299, 21.8),
        (3246, 20.6),
        (3269, 20.7),
        (3222, 17.1),
        (3223, 17.1),
        (3514, 21.8),
        (3951, 21.8),
        (3158, 17.3),
    ],
}
ROWS = [
    (name, row, *counts)
    for name, published in PUBLISHED.items()
    for row, counts in zip(TABLES, published, strict=True)
]


def changed(name: str, **values: Any) -> tuple[SearchSpace, Architecture]:
    """The published network with other values in its last stage."""
    space, architecture = vitsearch.published(name)
    relation = values.pop("relation", None)
    if relation is not None:
        config = space.config
        config["block"][3]["relation"] = relation
        space = SearchSpace(config)
    known = architecture.to_dict()

    def pick(choice):
        last = choice.name.rpartition(".")[2]
        if choice.name.startswith(STAGE) and last in values:
            return values[last]
        return known.get(choice.name, choice.options[-1])

    return space, space.complete(pick)


def weights(plan: Plan) -> int:
    """Without biases and the parameters of norms, as the paper counts."""
    total = plan.head.cost(1000).params - 1000
    for node in plan.nodes:
        own = node.plan
        if isinstance(own, VtPlan):
            total += replace(own, norm="none").cost().params
            continue
        convolutions = [own] if isinstance(own, ResNetStemPlan) else []
        if isinstance(own, ResidualPlan):
            convolutions = [*own.convolutions, *([own.shortcut] if own.shortcut else [])]
        widths = [getattr(c, "out_chans", own.embed_dim) for c in convolutions]
        total += own.cost().params - 2 * sum(widths)
    return total


@pytest.mark.parametrize(("name", "row", "macs", "params"), ROWS)
def test_counts_are_those_of_the_tables(name, row, macs, params):
    space, architecture = changed(name, **TABLES[row])
    plan = space.plan(architecture)
    assert plan.cost().macs == pytest.approx(macs * 1e6, abs=1e6)
    # Printed with one digit; 64 tokens have 11.6502 and 21.8493 million.
    assert weights(plan) == pytest.approx(params * 1e6, abs=0.0503e6)


@pytest.mark.parametrize(("name", "macs"), [("vt_resnet18", 1569.0), ("vt_resnet34", 3279.0)])
def test_half_of_the_tokens_renewed(name, macs):
    """Table 8 has 1569 M for VT-R18; for VT-R34 it has 3236 M, which fits nothing."""
    space, architecture = vitsearch.published(name)
    config = space.config
    config["block"][3]["renew"] = "half"
    plan = SearchSpace(config).plan(architecture)
    assert plan.cost().macs == pytest.approx(macs * 1e6, abs=0.1e6)


def tiny(**changes: Any) -> SearchSpace:
    """One residual stage and a stage of tokens whose choices can be enumerated."""
    vt = {
        "kind": "vt",
        "num_tokens": [4, 6],
        "token_dims": [32],
        "tokenizers": ["filter", "pool"],
        "projectors": [False, True],
        "recurrent": [False, True],
        "num_heads": [2],
        "pixel_group_size": 8,
        "kqv_group_size": 16,
    }
    return SearchSpace(
        {
            "name": "tiny",
            "image_size": 12,
            "in_chans": 1,
            "num_stages": 2,
            "num_blocks": [1, 3],
            "depths": [[1], [1, 2, 3]],
            "embed_dims": [[8], [16]],
            "stem": {"kind": "resnet", "small": True, "widths": [8]},
            "block": [{"kind": "basic"}, vt | changes.pop("vt", {})],
            "head": {"pool": "avg", "norm_place": "none"},
            **changes,
        }
    )


@pytest.mark.parametrize("vt", [{}, {"output": "map"}, {"tokenizers": ["filter"]}])
def test_the_size_is_that_of_brute_force(vt):
    space = tiny(vt=vt)
    genotypes = product(*(choice.options for choice in space.choices))
    names = [choice.name for choice in space.choices]
    found = {space.canonical(dict(zip(names, values, strict=True))) for values in genotypes}
    assert len(found) == space.size()
    plans = {space.plan(architecture) for architecture in found}
    assert len(plans) == len(found)  # equal networks are equal values


def test_modules_in_a_row():
    space = tiny()

    def ways(**values):
        def pick(choice):
            return values.get(choice.name.replace(".", "_"), choice.options[-1])

        plan = space.plan(space.complete(pick))
        return [(own.sizes.tokenizer, own.sizes.out_dim) for own in plan.stages[1].blocks]

    assert ways(stages_1_tokenizer="filter") == [
        ("filter", 16),
        ("recurrent", 16),
        ("recurrent", 0),
    ]
    assert ways(stages_1_tokenizer="pool") == [("pool", 16), ("pool", 16), ("pool", 0)]
    assert ways(stages_1_tokenizer="filter", stages_1_blocks_0_projector=False) == [
        ("filter", 0),
        ("none", 16),
        ("recurrent", 0),
    ]
    assert ways(
        stages_1_tokenizer="filter",
        stages_1_blocks_0_projector=False,
        stages_1_blocks_1_projector=False,
    ) == [("filter", 0), ("none", 0), ("none", 0)]
    assert ways(stages_1_depth=1, stages_1_tokenizer="filter") == [("filter", 0)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vt": {"num_tokens": [4, 150]}}, "num_tokens=150 is more than the 12 x 12 pixels"),
        ({"vt": {"num_tokens": [7]}}, "num_tokens=7 cannot be pooled"),
        ({"vt": {"num_tokens": [5], "tokenizers": "filter", "renew": "half"}}, "must be even"),
        ({"vt": {"num_heads": [3]}}, "num_heads=3 does not divide the 8 channels of the map"),
        ({"vt": {"token_dims": [24]}}, "token_dims=24 is no whole number of groups"),
        ({"vt": {"pixel_group_size": 16}}, "8 channels of a map are no whole groups"),
        ({"vt": {"projectors": []}}, "projectors is an empty list"),
        ({"vt": {"projectors": ["yes"]}}, "projectors=yes"),
        ({"vt": {"output": "both"}}, "output=both"),
        ({"head": {"pool": "avg", "norm_place": "none", "patch_head": True}}, "patch tokens"),
        ({"head": {"pool": "token", "norm_place": "none"}}, "needs a class token"),
        ({"depths": [[1], [0, 3]]}, "a depth is 1 or more"),
        ({"embed_dims": [[8], [24]]}, "8 channels cannot be divided into the 3 groups of 24"),
    ],
)
def test_what_does_not_fit_is_one_line(changes, words):
    changes = dict(changes)
    if "head" in changes and changes["head"]["pool"] == "avg":
        changes["stem"] = {"kind": "resnet", "small": True, "widths": [8], "class_token": False}
    with pytest.raises(vitsearch.errors.SpaceError) as caught:
        tiny(**changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tokens_without_places_end_the_network():
    config = build_space("vt").config
    config["block"] = [config["block"][2], config["block"][1], config["block"][2]]
    with pytest.raises(vitsearch.errors.SpaceError, match="stage 0 gives tokens without places"):
        SearchSpace(config)
