"""An architecture in words, for people who read a terminal."""

from __future__ import annotations

from vitsearch.spaces import Architecture, Plan, SearchSpace
from vitsearch.spaces.flow import Map
from vitsearch.spaces.plan import StagePlan
from vitsearch.spaces.words import (
    grid_in_words,
    pixels_in_words,
    shape_in_words,
    words_of,
)


def describe_architecture(space: SearchSpace, architecture: Architecture) -> list[str]:
    """One line for the input side, then one for each block; stages have a line where several."""
    plan = space.plan(architecture)
    lines, first = [describe_input(plan)], 1
    for number, stage in enumerate(plan.stages, start=1):
        if len(plan.stages) > 1:
            lines.append(f"stage {number}: {stage_in_words(stage)}")
        lines += [f"block {i}: {words_of(b)}" for i, b in enumerate(stage.blocks, first)]
        first += len(stage.blocks)
    return lines


def describe_input(plan: Plan) -> str:
    """Image, patches or stem, and widths."""
    first = plan.stages[0]
    if isinstance(plan.nodes[0].shape, Map):
        seen = words_of(plan.stem)
    else:
        patch = plan.input_shape[1] // first.grid[0]
        seen = f"patch {patch} ({grid_in_words(first.grid)} {first.unit})"
    widths = " > ".join("/".join(map(str, stage.widths)) for stage in plan.stages)
    depth = sum(len(stage.blocks) for stage in plan.stages)
    return f"{pixels_in_words(plan.image_size)}, {seen}, width {widths}, {depth} blocks"


def stage_in_words(stage: StagePlan) -> str:
    """What flows in a stage: rows and columns, and how wide."""
    if not stage.branches:
        return f"{shape_in_words(stage.shape)}, width {stage.embed_dim}"
    *finer, last = (grid_in_words(shape.grid) for shape in stage.branches)
    grids = f"{', '.join(finer)} and {last}" if finer else last
    return f"{grids} {stage.unit}, width {'/'.join(map(str, stage.widths))}"


def describe_mlp(mlp: object, embed_dim: int) -> str:
    """The width of an MLP behind C channels: `192 (x4)`."""
    hidden = getattr(mlp, "hidden_dim", None)
    return words_of(mlp) if hidden is None else f"{hidden} (x{hidden / embed_dim:.3g})"
