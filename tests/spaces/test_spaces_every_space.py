"""Architectures of every space, at full size: values, sampling, mutation, crossover."""

from __future__ import annotations

import json
import math
import random
from collections import Counter

import pytest
from tests.every_space import EVERY, drawn, space_named

from vitsearch import Architecture, SearchSpace, build_space
from vitsearch.spaces.bodies.stage import Stage


def chains(stage: Stage) -> list[list[int]]:
    """Runs of skippable slots side by side."""
    runs: list[list[int]] = []
    for slot in stage.skippable:
        if runs and runs[-1][-1] == slot - 1:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return runs


def check(space: SearchSpace, architecture: Architecture) -> None:
    """An architecture is legal and canonical, and its blocks are where they belong."""
    space.validate(architecture)
    assert space.canonical(architecture) == architecture
    for stage, plan in zip(space.stages, space.plan(architecture).stages, strict=True):
        slots = list(plan.slots)
        if stage.depths:
            assert slots == list(range(int(architecture[f"{stage.prefix}.depth"])))
        else:
            assert set(slots) | set(stage.skippable) == set(range(stage.num_blocks))
        for run in chains(stage):
            present = [slot in slots for slot in run]
            assert present == sorted(present, reverse=True), "a slot after an empty one"
        for slot in range(stage.num_blocks):
            below = f"{stage.block_prefix(slot)}."
            named = {n.removeprefix(below) for n in architecture if n.startswith(below)}
            assert bool(named - {"keep"}) == (slot in slots)


@pytest.mark.parametrize("name", EVERY)
def test_architectures_are_values(name: str) -> None:
    space, rng = space_named(name), random.Random(0)
    for architecture in drawn(space, 100):
        check(space, architecture)
        shuffled = list(architecture.items())
        rng.shuffle(shuffled)
        for same in (
            Architecture.from_json(architecture.to_json()),
            Architecture.from_dict(architecture.to_dict()),
            Architecture.from_json(json.dumps(dict(shuffled))),
        ):
            space.validate(same)
            assert same == architecture
            assert hash(same) == hash(architecture)
            assert same.digest == architecture.digest
            assert space.plan(same) == space.plan(architecture)


@pytest.mark.parametrize("name", EVERY)
def test_inactive_genes_do_not_matter(name: str) -> None:
    space, rng = space_named(name), random.Random(1)
    for architecture in drawn(space, 30):
        genes = {choice.name: rng.choice(choice.options) for choice in space.choices}
        same = space.canonical({**genes, **architecture})
        assert same == architecture
        assert same.digest == architecture.digest


@pytest.mark.parametrize("name", EVERY)
def test_mutation_and_crossover_are_legal(name: str) -> None:
    space, rng = space_named(name), random.Random(2)
    first, second, *_ = drawn(space, 0)
    for _ in range(60):
        child = space.crossover(first, second, rng)
        check(space, child)
        for choice, value in child.items():
            offered = [parent[choice] for parent in (first, second) if choice in parent]
            assert value in (offered or space.choice(choice).options)
        mutated = space.mutate(child, rng.choice([0.1, 0.3, 1.0]), rng)
        check(space, mutated)
        assert space.mutate(child, 0.0, rng) == space.crossover(child, child, rng) == child
        first, second = mutated, space.sample(rng)


@pytest.mark.parametrize("name", EVERY)
def test_architectures_lead_back_to_themselves(name: str) -> None:
    space, rng = space_named(name), random.Random(3)
    for _ in range(3):
        architecture = space.sample(rng)
        part = space.restrict(architecture)
        assert part.size() == 1
        assert part.sample(rng) == part.largest() == part.smallest() == architecture
        assert part.plan(architecture) == space.plan(architecture)


def chi_square(counts: Counter[int], weights: dict[int, float]) -> tuple[float, int]:
    """The statistic and its degrees of freedom; options expected less than five times as one."""
    total, draws = sum(weights.values()), sum(counts.values())
    cells = [[0.0, 0.0]]
    for option, weight in weights.items():
        expected = draws * weight / total
        cell = cells[0] if expected < 5 else [0.0, 0.0]
        cell[0], cell[1] = cell[0] + counts[option], cell[1] + expected
        if cell is not cells[0]:
            cells.append(cell)
    cells = [cell for cell in cells if cell[1] > 0]
    return sum((seen - expected) ** 2 / expected for seen, expected in cells), len(cells) - 1


def assert_drawn_by(counts: Counter[int], weights: dict[int, float]) -> None:
    statistic, freedom = chi_square(counts, weights)
    assert freedom > 0
    assert statistic < freedom + 5 * math.sqrt(2 * freedom), counts


@pytest.mark.parametrize("identity", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", ["vitas", "vitas_small"])
def test_depths_are_as_if_each_slot_were_an_identity_by_itself(name: str, identity: float) -> None:
    space = space_named(name).with_identity_probability(identity)
    slots, rng = space.stages[0].num_blocks, random.Random(4)
    depth = "stages.0.depth"
    weights = {
        d: math.comb(slots, d) * (1 - identity) ** d * identity ** (slots - d)
        for d in range(2 if name == "vitas" else 0, slots + 1)  # the demo has min_depth 2
    }
    assert space.choice(depth).options == tuple(weights)
    start = space.largest()
    assert_drawn_by(Counter(int(space.sample(rng)[depth]) for _ in range(1500)), weights)
    mutated = Counter(int(space.mutate(start, 1.0, rng)[depth]) for _ in range(1500))
    assert_drawn_by(mutated, weights)


def test_depths_of_a_part_keep_their_odds() -> None:
    space = build_space("vitas", identity_probability=0.5, min_depth=0).restrict(
        {"*.depth": [0, 1, 5]}
    )
    rng = random.Random(5)
    counts = Counter(int(space.sample(rng)["stages.0.depth"]) for _ in range(1500))
    assert_drawn_by(counts, {0: 1, 1: 6, 5: 6})


def test_listed_depths_are_uniform() -> None:
    space, rng = space_named("autoformer"), random.Random(6)
    counts = Counter(int(space.sample(rng)["stages.0.depth"]) for _ in range(1500))
    assert_drawn_by(counts, {4: 1, 5: 1, 6: 1})


def test_skippable_slots_are_kept_every_other_time() -> None:
    space, rng = space_named("three skippable slots side by side"), random.Random(7)
    samples = [space.sample(rng) for _ in range(1500)]
    counts = Counter(len(space.plan(sample).stages[0].blocks) - 2 for sample in samples)
    assert_drawn_by(counts, {0: 4, 1: 2, 2: 1, 3: 1})
