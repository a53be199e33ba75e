"""Skippable slots: which may be empty together, and lists of blocks with holes."""

from __future__ import annotations

from itertools import product

import pytest

from vitsearch import Architecture, SearchSpace, build_space

SHARED = {"stem.patch_size": 4, "stages.0.embed_dim": 48}


def space_with(skippable: list[int], num_blocks: int = 4) -> SearchSpace:
    return build_space(
        "glit",
        num_blocks=num_blocks,
        skippable=skippable,
        mixer="attention",
        **{"mixer.num_heads": [1, 2, 3, 4, 5], "mixer.head_dim": 8, "mlp.ratios": [2]},
    )


def heads(space: SearchSpace, architecture) -> list[tuple[int, int]]:
    """Slot and heads of each block."""
    stage = space.plan(architecture).stages[0]
    numbers = [block.mixer.num_heads for block in stage.blocks]
    return list(zip(stage.slots, numbers, strict=True))


def assembled(space: SearchSpace, *listed: int | None):
    blocks = [None if n is None else {"num_heads": n, "mlp_ratio": 2} for n in listed]
    return space.assemble(SHARED, [blocks])


def test_a_slot_after_an_empty_one_is_empty() -> None:
    space = space_with([1, 2, 3])
    keep = [f"stages.0.blocks.{slot}.keep" for slot in range(4)]
    genes = {choice.name: choice.options[0] for choice in space.choices}
    for kept in product([False, True], repeat=3):
        architecture = space.canonical(genes | dict(zip(keep[1:], kept, strict=True)))
        present = [slot for slot, _ in heads(space, architecture)]
        length = next((i for i, one in enumerate(kept) if not one), 3)
        assert present == list(range(1 + length))
        named = [name for name in keep if name in architecture]
        assert named == keep[1 : min(length, 2) + 2]
    assert space.size() == 5 + 5**2 + 5**3 + 5**4


def test_an_empty_slot_between_others_takes_nothing_from_them() -> None:
    space = space_with([0, 2])
    assert heads(space, assembled(space, None, 2, None, 4)) == [(1, 2), (3, 4)]
    assert heads(space, assembled(space, 1, 2, None, 4)) == [(0, 1), (1, 2), (3, 4)]
    assert heads(space, assembled(space, None, 2, 3, 4)) == [(1, 2), (2, 3), (3, 4)]


def test_no_block_is_lost_where_empty_slots_stand_side_by_side() -> None:
    space = space_with([1, 2, 3], num_blocks=5)
    expected = [(0, 1), (1, 2), (2, 3), (4, 5)]
    for middle in ([2, 3, None], [2, None, 3], [None, 2, 3]):
        assert heads(space, assembled(space, 1, *middle, 5)) == expected
    expected = [(0, 1), (1, 2), (4, 5)]
    for middle in ([2, None, None], [None, 2, None], [None, None, 2]):
        assert heads(space, assembled(space, 1, *middle, 5)) == expected
    assert len({assembled(space, 1, *m, 5) for m in ([2, 3, None], [None, 2, 3])}) == 1


def test_runs_do_not_mix() -> None:
    space = space_with([0, 1, 3], num_blocks=4)
    assert heads(space, assembled(space, None, 2, 3, 4)) == [(0, 2), (2, 3), (3, 4)]
    assert heads(space, assembled(space, None, None, 3, 4)) == [(2, 3), (3, 4)]


@pytest.mark.parametrize(
    ("listed", "slots"),
    [
        ([1, 2, 3, 4, 5], [0, 1, 2, 3, 4]),
        ([1, 2, 3, 4], [0, 1, 2, 4]),
        ([1, 2, 3], [0, 2, 4]),
    ],
)
def test_fewer_blocks_leave_the_last_skippable_slots_empty(listed, slots) -> None:
    space = space_with([1, 3], num_blocks=5)
    assert heads(space, assembled(space, *listed)) == list(zip(slots, listed, strict=True))


def test_slots_that_cannot_be_empty(refused) -> None:
    space = space_with([1, 3], num_blocks=5)
    with refused("stage 0", "slot 0 of 5 cannot be empty", "skippable slots: 1, 3"):
        assembled(space, None, 2, 3, 4, 5)
    with refused("stage 0", "slot 4 of 5 cannot be empty"):
        assembled(space, 1, 2)
    with refused("stage 0", "cannot be empty", "skippable slots: none"):
        assembled(space_with([]), 1, 2, 3)
    with refused("stage 0 has 5 slots, not 6"):
        assembled(space, 1, 2, 3, 4, 5, 5)
    with refused("has 1 stages, not 2"):
        space.assemble(SHARED, [[], []])


def test_block_with_an_unknown_or_missing_value(refused) -> None:
    space = space_with([1])
    full = [{"num_heads": 1, "mlp_ratio": 2}] * 4
    with refused("stages.0.blocks.2.heads", "did you mean stages.0.blocks.2"):
        space.assemble(SHARED, [[*full[:2], {"heads": 1}, full[3]]])
    with refused("stages.0.blocks.2.num_heads is missing", "1, 2, 3, 4, 5"):
        space.assemble(SHARED, [[*full[:2], {"mlp_ratio": 2}, full[3]]])
    with refused("stages.0.blocks.2.num_heads=6", "1, 2, 3, 4, 5"):
        space.assemble(SHARED, [[*full[:2], {**full[0], "num_heads": 6}, full[3]]])
    with refused("stem.patch_size is missing"):
        space.assemble({"stages.0.embed_dim": 48}, [full])
    deep = build_space("autoformer")
    blocks = [{"num_heads": 2, "mlp_ratio": 2}] * 3
    with refused("stages.0.depth=3", "options: 4, 5, 6"):
        deep.assemble({"stem.patch_size": 4, "stages.0.embed_dim": 32}, [blocks])


def test_one_for_true_is_the_same_architecture() -> None:
    space = space_with([1])
    architecture = space.largest()
    same = Architecture.from_dict({**architecture, "stages.0.blocks.1.keep": 1})
    space.validate(same)
    assert same == architecture
    assert hash(same) == hash(architecture)
    assert same.digest == architecture.digest
    assert Architecture.from_json(architecture.to_json())["stages.0.blocks.1.keep"] is True
