"""Choices put together say exactly what each choice says alone."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch import build_space, list_spaces
from vitsearch.reports.facts.choice_groups import ChoiceGroup, group_choices, slot_ranges
from vitsearch.spaces import Choice, Condition


def expanded(group: ChoiceGroup) -> list[str]:
    """The names that a label stands for."""
    runs = r"(.+\.(?:blocks|(?:branches|fusion)\.\d+|widen|down)\.)"
    found = re.fullmatch(runs + r"([\d,-]+)(\.[a-z].*)", group.label)
    if found is None:
        return [group.label]
    slots: list[int] = []
    for run in found[2].split(","):
        first, _, last = run.partition("-")
        slots += range(int(first), int(last or first) + 1)
    return [f"{found[1]}{slot}{found[3]}" for slot in slots]


def holds(condition: str, name: str, values: dict[str, int]) -> bool:
    """What a condition in words says of one choice."""
    found = re.fullmatch(r"(\S+) (?:in ([\d, ]+)|> slot)", condition)
    assert found is not None, condition
    slot = re.search(r"\.blocks\.(\d+)\.", name)
    block = name[: slot.end()] if slot else ""
    value = values[found[1]] if found[1] in values else values[block + found[1]]
    if found[2] is None:
        assert slot is not None, condition
        return value > int(slot[1])
    return value in [int(legal) for legal in found[2].split(", ")]


def check_partition(choices: list[Choice] | tuple[Choice, ...]) -> list[ChoiceGroup]:
    groups = group_choices(choices)
    names = [name for group in groups for name in expanded(group)]
    assert sorted(names) == sorted(choice.name for choice in choices)
    assert names == [choice.name for group in groups for choice in group.choices]
    assert len({group.label for group in groups}) == len(groups)
    for group in groups:
        assert len({(c.options, c.otherwise, c.weights) for c in group.choices}) == 1
    return groups


def deep(
    depths: tuple[int, ...], slots: int, always: int = 0, **more: tuple[float, ...]
) -> list[Choice]:
    """A stage with a choice of depth; slots from `always` on need one that reaches them."""
    choices = [Choice(name="stages.0.depth", options=depths, **more)]
    for slot in range(slots):
        legal = tuple(depth for depth in depths if depth > slot)
        conditions = (Condition("stages.0.depth", legal),) if slot >= always else ()
        choices.append(
            Choice(name=f"stages.0.blocks.{slot}.mlp_ratio", options=(2, 4), active_when=conditions)
        )
    return choices


def shown(choices: list[Choice]) -> list[tuple[str, tuple[str, ...]]]:
    return [(group.label, group.conditions) for group in check_partition(choices)]


@pytest.mark.parametrize(
    ("slots", "text"), [([], ""), ([3], "3"), ([0, 1], "0-1"), ([0, 1, 2, 5, 7, 8], "0-2,5,7-8")]
)
def test_ranges(slots: list[int], text: str) -> None:
    assert slot_ranges(slots) == text


@pytest.mark.parametrize("name", list_spaces())
def test_every_choice_of_a_space_is_in_one_group(name: str) -> None:
    space = build_space(name)
    groups = check_partition(space.choices)
    assert len(groups) < len(space.choices)


def test_demo_space() -> None:
    assert shown(list(build_space("glit").choices)) == [
        ("stem.patch_size", ()),
        ("stages.0.embed_dim", ()),
        ("stages.0.blocks.0-5.global_heads", ()),
        ("stages.0.blocks.0-5.kernel_size", ("global_heads in 0",)),
        ("stages.0.blocks.0-5.local_expansion", ("global_heads in 0, 1, 2",)),
        ("stages.0.blocks.0-5.qkv_expansion", ("global_heads in 3",)),
        ("stages.0.blocks.0-5.mlp_ratio", ("global_heads in 1, 2, 3",)),
    ]


def test_a_slot_with_other_options_is_shown_apart() -> None:
    space = build_space("glit").restrict({"stages.0.blocks.2.mlp_ratio": [2, 4]})
    labels = [group.label for group in check_partition(space.choices)]
    at = labels.index("stages.0.blocks.0-1,3-5.mlp_ratio")
    assert labels[at + 1] == "stages.0.blocks.2.mlp_ratio"


def test_stages_are_shown_apart() -> None:
    space = build_space("glit", num_stages=2, num_blocks=[2, 3], mlp={"ratios": [[2, 3], [4]]})
    labels = [group.label for group in check_partition(space.choices)]
    assert "stages.0.blocks.0-1.mlp_ratio" in labels
    assert "stages.1.blocks.0-2.mlp_ratio" in labels


def test_a_condition_on_a_choice_that_is_not_there_is_left_out() -> None:
    space = build_space("glit", mixer="attention")
    assert all(group.conditions == () for group in check_partition(space.choices))
    assert any(choice.active_when for choice in space.choices)


@pytest.mark.parametrize("always", [0, 1, 2])
def test_depth_that_reaches_a_slot(always: int) -> None:
    choices = deep((2, 3, 5), 5, always)
    assert shown(choices) == [
        ("stages.0.depth", ()),
        ("stages.0.blocks.0-4.mlp_ratio", ("stages.0.depth > slot",)),
    ]


def test_depth_and_a_choice_of_the_block() -> None:
    choices = deep((1, 2), 2)
    for slot in range(2):
        block = f"stages.0.blocks.{slot}"
        conditions = (*choices[1 + slot].active_when, Condition(f"{block}.mlp_ratio", (4,)))
        choices.append(Choice(name=f"{block}.kernel", options=(3, 5), active_when=conditions))
    assert shown(choices)[-1] == (
        "stages.0.blocks.0-1.kernel",
        ("stages.0.depth > slot", "mlp_ratio in 4"),
    )


def test_depths_that_do_not_follow_the_slots_are_listed() -> None:
    choices = deep((1, 2, 3), 3)
    odd = Condition("stages.0.depth", (1, 3))
    choices[2] = Choice(name=choices[2].name, options=(2, 4), active_when=(odd,))
    assert shown(choices)[1:] == [
        ("stages.0.blocks.0.mlp_ratio", ("stages.0.depth in 1, 2, 3",)),
        ("stages.0.blocks.1.mlp_ratio", ("stages.0.depth in 1, 3",)),
        ("stages.0.blocks.2.mlp_ratio", ("stages.0.depth in 3",)),
    ]


def test_a_depth_that_can_be_absent_is_not_compared() -> None:
    first, *others = deep((1, 2), 2)
    switch = Choice(name="stages.0.switch", options=(0, 1))
    depth = Choice(
        name=first.name,
        options=first.options,
        active_when=(Condition("stages.0.switch", (1,)),),
    )
    assert shown([switch, depth, *others])[2:] == [
        ("stages.0.blocks.0.mlp_ratio", ("stages.0.depth in 1, 2",)),
        ("stages.0.blocks.1.mlp_ratio", ("stages.0.depth in 2",)),
    ]


def test_one_condition_of_all_slots_keeps_its_words() -> None:
    wide = Choice(name="stages.0.embed_dim", options=(48, 96))
    choices = [
        Choice(
            name=f"stages.0.blocks.{slot}.heads",
            options=(1, 2),
            active_when=(Condition("stages.0.embed_dim", (48, 96)),),
        )
        for slot in range(3)
    ]
    assert shown([wide, *choices])[1] == (
        "stages.0.blocks.0-2.heads",
        ("stages.0.embed_dim in 48, 96",),
    )


def test_weights_keep_slots_apart() -> None:
    choices = [
        Choice(name=f"stages.0.blocks.{slot}.heads", options=(1, 2), weights=weights)
        for slot, weights in enumerate([None, (1.0, 3.0), (1.0, 3.0), None])
    ]
    assert [group.label for group in check_partition(choices)] == [
        "stages.0.blocks.0,3.heads",
        "stages.0.blocks.1-2.heads",
    ]


@st.composite
def stages(draw: st.DrawFn) -> list[Choice]:
    depths = tuple(sorted(draw(st.sets(st.integers(1, 5), min_size=1, max_size=3))))
    choices = [
        Choice(name="stem.kind", options=(0, 1)),
        Choice(name="stages.0.depth", options=depths),
    ]
    for slot in range(draw(st.integers(1, 5))):
        block = f"stages.0.blocks.{slot}"
        reach = Condition("stages.0.depth", tuple(d for d in range(1, 6) if d > slot))
        some = Condition(
            "stages.0.depth", tuple(draw(st.sets(st.sampled_from(depths), min_size=1)))
        )
        legal = [(), (reach,), (reach,), (some,), (Condition("stem.kind", (1,)), reach)]
        outside = draw(st.sampled_from(legal))
        inside = draw(st.sampled_from([(), (Condition(f"{block}.op", (1,)),)]))
        choices += [
            Choice(name=f"{block}.op", options=(0, 1), active_when=outside, otherwise=0),
            Choice(
                name=f"{block}.ratio",
                options=draw(st.sampled_from([(2, 4), (4,)])),
                active_when=(*outside, *inside, Condition("stages.9.nowhere", (1,))),
            ),
        ]
    return choices


@settings(max_examples=150, deadline=None)
@given(stages())
def test_words_hold_exactly_where_the_conditions_do(choices: list[Choice]) -> None:
    groups = check_partition(choices)
    depth = next(choice for choice in choices if choice.name == "stages.0.depth")
    operations = [choice.name for choice in choices if choice.name.endswith(".op")]
    for kind, reached, operation in product((0, 1), depth.options, (0, 1)):
        values = dict.fromkeys(operations, operation)
        values |= {"stem.kind": kind, "stages.0.depth": reached}
        for group in groups:
            for choice in group.choices:
                said = all(holds(words, choice.name, values) for words in group.conditions)
                assert said == choice.is_active(values), (group, choice)
