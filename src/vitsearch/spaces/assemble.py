"""From a list of blocks to an architecture: published networks, genotypes with identities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from vitsearch.errors import SpaceError
from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.choice import Value

if TYPE_CHECKING:
    from vitsearch.spaces.bodies.stage import Stage
    from vitsearch.spaces.space import SearchSpace

Block = Mapping[str, Value] | None


def assemble(
    space: SearchSpace, shared: Mapping[str, Value], blocks: Sequence[Sequence[Block]]
) -> Architecture:
    """The architecture with these blocks; see `SearchSpace.assemble`."""
    if len(blocks) != len(space.stages):
        raise SpaceError(
            f"space {space.name} has {len(space.stages)} stages, not {len(blocks)}: give a list of "
            f"blocks for each"
        )
    values = dict(shared)
    for stage, listed in zip(space.stages, blocks, strict=True):
        placed = _placed(stage, listed)
        if stage.depths:
            values[f"{stage.prefix}.depth"] = sum(block is not None for block in placed)
        for slot, block in enumerate(placed):
            keep = stage.keep_name(slot)
            if keep is not None:
                values[keep] = block is not None
            for name, value in (block or {}).items():
                values[f"{stage.block_prefix(slot)}.{name}"] = value
    return space.canonical(values)


def _placed(stage: Stage, listed: Sequence[Block]) -> list[Block]:
    """A block, or `None`, for each slot."""
    if len(listed) > stage.num_blocks:
        raise SpaceError(
            f"stage {stage.index} has {stage.num_blocks} slots, not {len(listed)} blocks"
        )
    if stage.depths:
        shifted = [block for block in listed if block is not None]
        return shifted + [None] * (stage.num_blocks - len(shifted))
    if len(listed) < stage.num_blocks:  # which slots are empty is not said: the last that can be
        missing = stage.num_blocks - len(listed)
        empty = stage.skippable[-missing:]
        rest = iter(listed)
        listed = [None if slot in empty else next(rest, None) for slot in range(stage.num_blocks)]
    for slot, block in enumerate(listed):
        if block is None and slot not in stage.skippable:
            raise SpaceError(
                f"stage {stage.index}: slot {slot} of {stage.num_blocks} cannot be empty; "
                f"skippable slots: {', '.join(map(str, stage.skippable)) or 'none'}"
            )
    return _shifted(stage, listed)


def _shifted(stage: Stage, listed: Sequence[Block]) -> list[Block]:
    """The same blocks; of skippable slots side by side, the empty ones come last."""
    placed: list[Block] = []
    for _, run in groupby(range(stage.num_blocks), key=stage.skippable.__contains__):
        placed += sorted([listed[slot] for slot in run], key=lambda block: block is None)
    return placed
