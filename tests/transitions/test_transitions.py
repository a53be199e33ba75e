"""What a given architecture may become: never dearer, legal, reached, and nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from tests.every_space import EVERY, drawn, space_named
from tests.walks import all_walks, at_random, everything, staying
from vitsearch import Architecture, SearchSpace, build_space
from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError, ConstraintError, SpaceError
from vitsearch.transitions import changes, make_transitions
from vitsearch.transitions.by_rule import no_dearer

GOLDEN = json.loads((Path(__file__).parents[1] / "fixtures" / "nat_golden.json").read_text())
RULES = ["cheaper", "within"]
CLASSES = 10


def few_choices(space: SearchSpace, count: int) -> SearchSpace:
    """The first choices with their first and last option, the last option of the others."""
    ends = [list(dict.fromkeys((c.options[0], c.options[-1]))) for c in space.choices]
    free = [number for number, options in enumerate(ends) if len(options) > 1][:count]
    return space.restrict(
        {
            choice.name: options if number in free else options[-1:]
            for number, (choice, options) in enumerate(zip(space.choices, ends, strict=True))
        }
    )


SMALL = {
    "conditions": build_space("glit", num_blocks=2).restrict(
        {"*.mlp_ratio": [2, 4], "*.kernel_size": [9, 21], "*.local_expansion": 2}
    ),
    "depths": build_space("vitas", num_blocks=2).restrict(
        {"*.num_heads": 2, "*.qkv_width": [72, 192], "*.mlp_hidden": [64, 192]}
    ),
    "empty slots side by side": build_space(
        "glit", mixer="attention", num_blocks=3, skippable=[1, 2], embed_dims=[24, 48]
    ).restrict({"*.num_heads": 3, "*.mlp_ratio": [2, 4]}),
    "high resolution": few_choices(
        build_space(
            "hr_nas",
            **{
                "image_size": 16,
                "body.branches": [[6], [4, 6]],
                "body.blocks": [[1], [1, 1]],
                "body.widen": [6, 8],
                "body.features": 12,
                "stem.width": 6,
                "stem.strides": [2, 1],
                "block.kernel_sizes": [3, 5],
                "block.expansion": 1,
                "block.num_tokens": [0],
            },
        ),
        7,
    ),
}


def costs(space: SearchSpace, architecture: Architecture) -> tuple[int, int]:
    found = space.plan(architecture).cost(CLASSES)
    return found.macs, found.params


def is_dearer(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return any(a > b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", EVERY)
def test_no_walk_leads_to_a_dearer_network(name: str, rule: str) -> None:
    space, rng = space_named(name), random.Random(0)
    transitions = make_transitions(space, rule, num_classes=CLASSES)
    for given in drawn(space, 3, seed=1):
        assert staying(transitions.walk(given)) == given
        for _ in range(3):
            found = at_random(transitions.walk(given), rng)
            space.validate(found)
            assert not is_dearer(costs(space, found), costs(space, given))
            assert transitions.allows(given, found)


def test_smaller_options_alone_would_not_do() -> None:
    space, rng = build_space("glit"), random.Random(0)
    dearer = 0
    for _ in range(200):
        given = space.sample(rng)

        def smaller(choice, given=given):
            most = given.get(choice.name, choice.options[-1])
            return rng.choice([option for option in choice.options if option <= most])

        dearer += is_dearer(costs(space, space.complete(smaller)), costs(space, given))
    assert dearer > 0


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SMALL)
def test_what_is_allowed_is_what_walks_lead_to(name: str, rule: str) -> None:
    space = SMALL[name]
    transitions = make_transitions(space, rule, num_classes=CLASSES)
    rng = random.Random(2)
    others = list(everything(space))
    sample = others if len(others) < 300 else rng.sample(others, 300)
    for given in (space.largest(), space.sample(rng), space.smallest()):
        reached = {found for _, found in all_walks(transitions, given)}
        assert given in reached
        for other in {*sample, *list(reached)[:300]}:
            assert transitions.allows(given, other) == (other in reached)
        if rule == "within":
            limit = costs(space, given)
            inside = {one for one in sample if not is_dearer(costs(space, one), limit)}
            assert inside <= reached


@pytest.mark.parametrize("name", ["conditions", "empty slots side by side"])
def test_every_single_replacement_that_is_no_dearer_is_reached(name: str) -> None:
    """By brute force: the same block elsewhere, one block with another option, no dearer."""
    space = SMALL[name]
    transitions = make_transitions(space, "cheaper", num_classes=CLASSES)
    rng = random.Random(3)
    for given in [space.largest(), *(space.sample(rng) for _ in range(3))]:
        reached = {found for _, found in all_walks(transitions, given)}
        for slot in range(space.stages[0].num_blocks):
            prefix = f"stages.0.blocks.{slot}."
            for other in everything(space):
                rest = {n: v for n, v in given.items() if not n.startswith(prefix)}
                same = {n: v for n, v in other.items() if not n.startswith(prefix)} == rest
                keeps = given.get(f"{prefix}keep", True) == other.get(f"{prefix}keep", True)
                if same and keeps and not is_dearer(costs(space, other), costs(space, given)):
                    assert other in reached


def test_blocks_behind_one_that_goes_move_up() -> None:
    space = build_space("vitas", num_blocks=3)
    widths = space.choice("stages.0.blocks.0.mlp_hidden").options
    blocks = [
        {"qkv_width": 120, "num_heads": 2, "mlp_hidden": width}
        for width in (widths[-1], *widths[:2])
    ]
    shared = {choice.name: choice.options[-1] for choice in space.shared_choices}
    shared.pop("stages.0.depth")
    given = space.assemble(shared, [blocks])
    without_first = space.assemble(shared, [blocks[1:]])
    transitions = make_transitions(space, "cheaper")
    assert transitions.allows(given, without_first)
    assert not transitions.allows(without_first, given)


def test_the_table_of_the_paper_and_the_rule_of_costs() -> None:
    operations = GOLDEN["operations"]
    mask = np.array([GOLDEN["mask"][name] for name in operations], dtype=bool)
    prices = GOLDEN["cost_c128_32x32"]
    spent = np.array([[prices[n]["macs"], prices[n]["params"]] for n in operations])
    cheaper = np.array([no_dearer(spent, own) for own in spent])
    assert mask.sum() == 77
    assert cheaper.sum() == 93
    raised = [
        tuple(map(operations.index, pair)) for pair in GOLDEN["allowed_pairs_that_raise_macs"]
    ]
    more = [tuple(map(operations.index, pair)) for pair in GOLDEN["cheaper_pairs_not_allowed"]]
    assert set(zip(*np.nonzero(mask & ~cheaper), strict=True)) == set(raised)
    assert set(zip(*np.nonzero(cheaper & ~mask), strict=True)) == set(more)


def test_a_table_is_followed() -> None:
    space = build_space("glit")
    table = {"kernel_size": {21: [9]}, "*.mlp_ratio": {4: [2]}}
    transitions = make_transitions(space, "table", table=table)
    rng = random.Random(4)
    seen = set()
    for _ in range(30):
        given = space.sample(rng)
        found = at_random(transitions.walk(given), rng)
        assert transitions.allows(given, found)
        for change in changes(space, given, found):
            short = change.name.rpartition(".")[2]
            seen.add((short, change.before, change.after))
    assert seen == {("kernel_size", 21, 9), ("mlp_ratio", 4, 2)}


def test_a_budget_below_the_given_network() -> None:
    space, rng = build_space("vit_resnas"), random.Random(5)
    given = space.largest()
    most = costs(space, given)[0] // 2
    transitions = make_transitions(
        space, "within", constraint=Constraint(macs=(None, most)), num_classes=CLASSES
    )
    found = [at_random(transitions.walk(given), rng) for _ in range(20)]
    inside = [one for one in found if one != given]  # a walk that two budgets close comes back
    assert len(inside) > 10
    assert all(costs(space, one)[0] <= most for one in inside)
    nothing = make_transitions(
        space, "within", constraint=Constraint(macs=(None, 10)), num_classes=CLASSES
    )
    with pytest.raises(ConstraintError, match="at most 10 MACs"):
        next(nothing.walk(given))


def test_levels_of_changes() -> None:
    space = build_space("glit")
    given = space.largest()
    found = {
        change.name.rpartition(".")[2]: change.level
        for change in changes(space, given, space.smallest())
    }
    assert found["global_heads"] == "type"
    assert found["mlp_ratio"] == "size"


@pytest.mark.parametrize(
    ("rule", "table", "words"),
    [
        ("dearer", None, "rule=dearer.*cheaper, within, table"),
        ("table", None, "rule=table needs a table"),
        ("cheaper", {"*.mlp_ratio": {4: [2]}}, "table goes with rule=table"),
        ("table", {"*.mlp_rate": {4: [2]}}, "no choice .*mlp_rate"),
        ("table", {"*.mlp_ratio": {4: [5]}}, "names 5.*options"),
        ("table", {"*.mlp_ratio": [4]}, "must map values"),
    ],
)
def test_rules_that_are_none(rule: str, table: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_transitions(build_space("glit"), rule, table=table)  # type: ignore[arg-type]


def test_an_architecture_of_another_space() -> None:
    other = build_space("vitas").largest()
    with pytest.raises(SpaceError):
        next(make_transitions(build_space("glit")).walk(other))
