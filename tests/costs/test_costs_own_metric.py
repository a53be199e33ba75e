"""A closed form of one's own, in one file: rows, ends, windows, draws and searchers know it."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from tests.every_space import EVERY, drawn, space_named
from tests.frame_parts import hybrid_space

from vitsearch import Architecture, Cost, SearchSpace, build_space
from vitsearch.costs import (
    Constraint,
    CostModel,
    Metric,
    cost_table,
    forget_metric,
    reachable_range,
    register_metric,
)
from vitsearch.costs.metrics import cost_metrics
from vitsearch.errors import ConfigError, ConstraintError, SpaceError
from vitsearch.samplers import sample_within
from vitsearch.searchers import EvolutionSearcher, Nsga2Searcher
from vitsearch.spaces.cost import closed_forms
from vitsearch.spaces.parts import ClassifierPlan

NAME = "activation_bytes"
SMALL = {
    "patches": build_space("glit", num_blocks=1, embed_dims=[24, 48], patch_sizes=[4, 7]),
    "depths": build_space("vitas", num_blocks=2).restrict(
        {"*.num_heads": 2, "*.qkv_width": [72, 192], "*.mlp_hidden": [64, 192]}
    ),
    "empty slots": build_space(
        "vit_resnas", num_blocks=[1, 2, 1], skippable=[[], [1], [0]]
    ).restrict({"*.num_heads": 3, "stages.0.embed_dim": 48, "stages.2.embed_dim": 160}),
    "convolutions first": hybrid_space(),
}


@pytest.fixture
def token_uses() -> Iterator[str]:
    """A second one, which adds up: how often a token is read."""
    name = "token_uses"
    register_metric(
        Metric(
            name=name,
            kind="closed form",
            label="uses of tokens",
            piece=lambda piece, num_classes: getattr(piece, "num_tokens", 0) + num_classes,
        )
    )
    yield name
    forget_metric(name)


def brute_force(space: SearchSpace) -> set[Architecture]:
    genotypes = product(*(choice.options for choice in space.choices))
    names = [choice.name for choice in space.choices]
    return {space.canonical(dict(zip(names, values, strict=True))) for values in genotypes}


def pieces_of(space: SearchSpace, architecture: Architecture) -> list[Any]:
    """Every piece of a network but the head, by another way than the library's."""
    plan = space.plan(architecture)
    pieces: list[Any] = [plan.stem]
    for stage in plan.stages:
        pieces += [] if stage.transition is None else [stage.transition]
        for block in stage.blocks:
            pieces += getattr(block, "pieces", lambda own=block: [own])()
    return pieces


@pytest.mark.parametrize("num_classes", [0, 1000])
@pytest.mark.parametrize("name", EVERY)
def test_a_plan_is_as_hungry_as_its_hungriest_piece(
    name: str, num_classes: int, activations: Metric, token_uses: str
) -> None:
    space = space_named(name)
    assert activations.piece is not None
    for architecture in drawn(space, 10):
        pieces = pieces_of(space, architecture)
        cost = space.plan(architecture).cost(num_classes)
        last = space.plan(architecture).head  # the example knows classifiers, no maps of classes
        head = 4 * (last.embed_dim + num_classes) if isinstance(last, ClassifierPlan) else 0
        assert cost[NAME] == max(head, *(activations.piece(piece, 0) for piece in pieces))
        tokens = [getattr(piece, "num_tokens", 0) for piece in pieces]
        assert cost[token_uses] == sum(tokens) + num_classes


@pytest.mark.parametrize("num_classes", [0, 1000])
@pytest.mark.parametrize("name", EVERY)
def test_tables_and_rows_equal_plans(
    name: str, num_classes: int, activations: Metric, token_uses: str
) -> None:
    space = space_named(name)
    chosen = drawn(space, 60)
    expected = [space.plan(architecture).cost(num_classes) for architecture in chosen]
    table = cost_table(space, chosen, num_classes)
    assert tuple(table) == closed_forms() == ("macs", "params", NAME, token_uses)
    for metric, column in table.items():
        assert column.tolist() == [cost[metric] for cost in expected]
    model = CostModel(space, num_classes)
    assert [model.cost(architecture) for architecture in chosen] == expected


@pytest.mark.parametrize("num_classes", [0, 30_000])
@pytest.mark.parametrize("name", SMALL)
def test_ends_are_exact(name: str, num_classes: int, activations: Metric, token_uses: str) -> None:
    space = SMALL[name]
    every = list(brute_force(space))
    costs = [space.plan(architecture).cost(num_classes) for architecture in every]
    assert len(costs) == space.size()
    model = CostModel(space, num_classes)
    assert [model.cost(architecture) for architecture in every] == costs
    for metric in closed_forms():
        numbers = [cost[metric] for cost in costs]
        assert cost_table(space, every, num_classes)[metric].tolist() == numbers
        assert reachable_range(space, metric, num_classes) == (min(numbers), max(numbers))
        for largest in (False, True):
            architecture, cost = space.extreme(metric, largest=largest, num_classes=num_classes)
            assert space.plan(architecture).cost(num_classes) == cost


@pytest.mark.parametrize("name", EVERY)
def test_draws_keep_windows(name: str, activations: Metric) -> None:
    space = space_named(name)
    low, high = reachable_range(space, NAME, 1000)
    budget = Constraint(activation_bytes=(low, (low + 3 * high) / 4))
    found = sample_within(space, budget, 5, random.Random(0))
    assert len(set(found)) == 5
    for architecture in found:
        assert low <= space.plan(architecture).cost()[NAME] <= (low + 3 * high) / 4


def test_narrow_windows_are_walked_to(activations: Metric) -> None:
    space = build_space("glit")
    low, high = reachable_range(space, NAME, 10)
    assert low < high
    budget = Constraint(activation_bytes=(None, low), macs=(None, "8M"))
    found = sample_within(space, budget, 3, random.Random(0), num_classes=10)
    assert {space.plan(architecture).cost(10)[NAME] for architecture in found} == {low}
    with pytest.raises(ConstraintError, match=f"space glit reaches {low} to {high} {NAME}"):
        Constraint(activation_bytes=(high + 1, None)).check_reachable(space, 10)


def test_searchers_keep_windows_and_find_fronts(activations: Metric) -> None:
    space = build_space("glit", num_blocks=2, embed_dims=[24, 48])
    low, high = reachable_range(space, NAME, 10)
    budget = Constraint(activation_bytes=(None, (low + high) / 2))
    settings = {"population": 8, "generations": 3, "mutations": 4, "crossovers": 4}
    for searcher in (
        EvolutionSearcher(space, budget, num_classes=10, **settings),
        Nsga2Searcher(space, budget, num_classes=10, minimise=[NAME], **settings),
    ):
        seen = {}
        while candidates := searcher.ask():
            for candidate in candidates:
                seen[candidate.architecture] = space.plan(candidate.architecture).cost(10)
                assert budget.holds(seen[candidate.architecture])
            searcher.tell([float(seen[c.architecture].macs) for c in candidates])
        if isinstance(searcher, Nsga2Searcher):
            front = [seen[architecture][NAME] for architecture in searcher.front()]
            assert front == sorted(front)
            assert front[0] == min(cost[NAME] for cost in seen.values())


def test_windows_are_values_with_the_others(activations: Metric) -> None:
    constraint = Constraint(activation_bytes=("10K", None), macs=(1, 2), latency_ms=(None, 5))
    assert list(constraint.all_windows()) == ["macs", NAME, "latency_ms"]
    assert constraint.activation_bytes == (10_000, float("inf"))
    assert str(constraint) == "MACs 1 to 2, activations 10 K to any B, latency 0 to 5 ms"
    assert pickle.loads(pickle.dumps(constraint)) == copy.deepcopy(constraint) == constraint
    assert constraint.with_window(NAME, None) == Constraint(macs=(1, 2), latency_ms=(None, 5))
    assert Constraint.from_settings({NAME: None}) == Constraint()
    with pytest.raises(ConstraintError, match=r"constraint\.activation_bytes=\[3, 2\] is empty"):
        Constraint(activation_bytes=(3, 2))


def test_spaces_that_were_there_before_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    space = build_space("glit", num_blocks=1)
    assert space.extreme("macs", largest=True)[1] == space.plan(space.largest()).cost(0)
    with pytest.raises(SpaceError, match="pieces has no closed form; legal: macs, params"):
        space.extreme("pieces", largest=True)
    counted = Metric(name="pieces", kind="closed form", label="pieces", piece=lambda piece, _: 1)
    register_metric(counted)
    try:
        # Stem, two norms as one piece, mixer, MLP, final norm, head.
        assert space.extreme("pieces", largest=True)[1]["pieces"] == 6
        assert space.extreme("macs", largest=True)[1]["pieces"] == 6
    finally:
        forget_metric("pieces")
    assert space.extreme("macs", largest=True)[1].to_dict().keys() == {"macs", "params"}


def test_costs_with_further_numbers_join_and_compare(activations: Metric, token_uses: str) -> None:
    one = Cost(1, 2, ((NAME, 5), (token_uses, 5)))
    other = Cost(3, 4, ((NAME, 3), (token_uses, 3)))
    assert one + other == Cost(4, 6, ((NAME, 5), (token_uses, 8)))
    assert one + Cost(1, 1) == Cost(2, 3, one.further)
    assert Cost(1, 1) + one == Cost(2, 3, one.further)
    assert sorted([other, one]) == [one, other]
    assert one.to_dict() == {"macs": 1, "params": 2, NAME: 5, token_uses: 5}


@pytest.mark.parametrize("value", [1.5, -1, None, "3"])
def test_numbers_that_are_none(value: Any) -> None:
    bad = Metric(name="bad", kind="closed form", label="bad", piece=lambda piece, _: value)
    register_metric(bad)
    try:
        with pytest.raises(ConfigError, match=r"metric bad: .* must be a whole number, 0 or more"):
            CostModel(SMALL["patches"]).cost(SMALL["patches"].largest())
    finally:
        forget_metric("bad")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "macs"}, "metric macs is registered already"),
        ({"name": "top1"}, "metric top1 is registered already"),
        ({"name": "digest"}, "metric digest is the name of something else"),
        ({"name": "Energy (J)"}, "must be small letters, digits and _"),
        ({"kind": "score"}, "kind=score cannot be registered; legal: closed form, measured"),
        ({"kind": "guessed"}, "kind=guessed cannot be registered"),
        ({"kind": "measured"}, "a metric of kind measured needs measure="),
        ({"piece": None}, "a metric of kind closed form needs piece="),
        ({"joining": "mean"}, "joining=mean is unknown; legal: sum, max"),
    ],
)
def test_metrics_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    before = cost_metrics()
    given = {"name": "own", "kind": "closed form", "label": "own", "piece": lambda piece, _: 1}
    with pytest.raises(ConfigError) as info:
        register_metric(Metric(**{**given, **changes}))
    assert words in str(info.value)
    assert "\n" not in str(info.value)
    assert cost_metrics() == before


def test_the_librarys_own_stay() -> None:
    with pytest.raises(ConfigError, match="metric macs is the library's own"):
        forget_metric("macs")
    forget_metric("never_there")
