"""The facts about spaces are complete, exact and plain."""

from __future__ import annotations

import io
import json
import random
import re
from itertools import product
from typing import Any

import pytest
from rich.console import Console

from vitsearch import build_space, cost, list_spaces
from vitsearch.reports.facts.choice_groups import group_choices
from vitsearch.reports.facts.space import choice_facts, family_of, list_facts, space_facts
from vitsearch.reports.terminal.space_table import choice_table, list_table, space_panel
from vitsearch.spaces import Choice, Condition, SearchSpace

TINY = build_space("glit", num_blocks=1, embed_dims=[24, 48])


def facts_of(space: SearchSpace, **settings: int) -> dict[str, Any]:
    return space_facts(space, **{"num_classes": 10, "num_samples": 20, "seed": 0} | settings)


def printed(*renderables: Any) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=1000)
    for renderable in renderables:
        console.print(renderable)
    return stream.getvalue()


def choice_of(facts: dict[str, Any]) -> Choice:
    return Choice(
        name=facts["name"],
        options=tuple(facts["options"]),
        active_when=tuple(Condition(c["name"], tuple(c["values"])) for c in facts["active_when"]),
        otherwise=facts["otherwise"],
        weights=None if facts["weights"] is None else tuple(facts["weights"]),
    )


@pytest.mark.parametrize("name", list_spaces())
def test_json_holds_the_whole_space(name: str) -> None:
    space = build_space(name)
    facts = json.loads(json.dumps(facts_of(space), allow_nan=False))
    assert facts == facts_of(space)
    assert tuple(choice_of(choice) for choice in facts["choices"]) == space.choices
    assert SearchSpace(facts["config"]) == space
    assert facts["size"] == space.size()
    for metric in ("macs", "params"):
        costs = facts["costs"][metric]
        assert 0 < costs["smallest"] < costs["mean"] < costs["largest"]


def test_weights_and_conditions_of_a_choice() -> None:
    choice = Choice(
        name="stages.0.depth",
        options=(1, 2.5, "all"),
        active_when=(Condition("stem.kind", (1, "x")),),
        otherwise=1,
        weights=(1.0, 2.0, 0.5),
    )
    assert choice_of(json.loads(json.dumps(choice_facts(choice)))) == choice


@pytest.mark.parametrize("num_classes", [0, 10, 1000])
def test_ends_equal_brute_force(num_classes: int) -> None:
    names = [choice.name for choice in TINY.choices]
    genotypes = product(*(choice.options for choice in TINY.choices))
    found = {TINY.canonical(dict(zip(names, values, strict=True))) for values in genotypes}
    costs = [cost(TINY, architecture, num_classes) for architecture in found]
    facts = facts_of(TINY, num_classes=num_classes)
    assert facts["size"] == len(found)
    for metric in ("macs", "params"):
        values = [getattr(cost, metric) for cost in costs]
        assert facts["costs"][metric]["smallest"] == min(values)
        assert facts["costs"][metric]["largest"] == max(values)


def test_mean_is_that_of_the_seeded_draws() -> None:
    rng = random.Random(3)
    macs = [cost(TINY, TINY.sample(rng), 10).macs for _ in range(50)]
    mean = sum(macs) / 50
    variance = sum((value - mean) ** 2 for value in macs) / 49
    costs = facts_of(TINY, num_samples=50, seed=3)["costs"]["macs"]
    assert costs["mean"] == pytest.approx(mean)
    assert costs["standard_error"] == pytest.approx((variance / 50) ** 0.5)
    assert facts_of(TINY, num_samples=50, seed=4)["costs"]["macs"] != costs


def test_one_draw_has_no_standard_error() -> None:
    facts = facts_of(TINY, num_samples=1)
    assert facts["costs"]["macs"]["standard_error"] is None
    assert "standard error" not in printed(space_panel(facts))


def test_a_space_without_a_choice() -> None:
    fixed = build_space("glit", num_blocks=1, mixer="attention").restrict(
        {"*.num_heads": 2, "*.mlp_ratio": 4}
    )
    facts = facts_of(fixed)
    costs = facts["costs"]["macs"]
    assert facts["size"] == 1
    assert facts["free_choices"] == 0
    assert costs["smallest"] == costs["mean"] == costs["largest"]
    assert costs["standard_error"] == 0
    rows = choice_table(group_choices(fixed.choices)).row_count
    assert printed(choice_table(group_choices(fixed.choices))).count("(fixed)") == rows


@pytest.mark.parametrize("name", list_spaces())
def test_the_table_has_each_choice_once(name: str) -> None:
    space = build_space(name)
    groups = group_choices(space.choices)
    text = printed(space_panel(facts_of(space)), choice_table(groups))
    for group in groups:
        assert len(re.findall(rf"(?m)^│ {re.escape(group.label)}(?!\S)", text)) == 1
        assert ", ".join(map(str, group.choices[0].options)) in text
    weighted = any(choice.weights is not None for choice in space.choices)
    assert ("sampling weights" in text) == weighted


def test_the_table_shows_weights_and_depth() -> None:
    depth = Choice(name="stages.0.depth", options=(1, 2), weights=(1.0, 0.25))
    blocks = [
        Choice(
            name=f"stages.0.blocks.{slot}.ratio",
            options=("[bold]2", "4"),
            active_when=(Condition("stages.0.depth", (1, 2)[slot:]),),
        )
        for slot in range(2)
    ]
    text = printed(choice_table(group_choices([depth, *blocks])))
    for words in ("sampling weights", "1, 0.25", "blocks.0-1.ratio", "stages.0.depth > slot"):
        assert words in text
    assert "[bold]2, 4" in text
    assert "slot: the number after blocks" in text
    assert "otherwise" not in text


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("glit", "glit"),
        ("glit_tiny", "glit"),
        ("glit_tiny_wide", "glit"),
        ("glitter", "glitter"),
        ("vit_resnas", "vit_resnas"),
        ("vit_resnas_tiny", "vit_resnas"),
        ("wide_glit", "wide_glit"),
    ],
)
def test_families(name: str, family: str) -> None:
    names = ["glit", "glit_tiny", "glit_tiny_wide", "glitter", "vit_resnas", "vit_resnas_tiny"]
    assert family_of(name, [*names, "wide_glit"]) == family


def test_the_list_has_every_space() -> None:
    facts = list_facts()
    assert {space["name"] for space in facts} == set(list_spaces())
    families = [space["family"] for space in facts]
    assert families == sorted(families)
    assert all(space["error"] is None and space["description"] for space in facts)
    demo = next(space for space in facts if space["name"] == "glit")
    assert demo["description"] == "GLiT in demo size, for 28 px or 32 px images."
    assert demo["free_choices"] == 30
    assert demo["size"] == 36**6
    assert json.loads(json.dumps(facts)) == facts
    text = printed(list_table(facts))
    assert all(space["name"] in text and space["description"] in text for space in facts)
