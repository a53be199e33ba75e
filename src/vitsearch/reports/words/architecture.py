"""An architecture in words, for people who read a terminal."""

from __future__ import annotations

from vitsearch.spaces import Architecture, Plan, SearchSpace
from vitsearch.spaces.parts import (
    AttentionPlan,
    GlitMixerPlan,
    RelativeAttentionPlan,
    VitasAttentionPlan,
)
from vitsearch.spaces.plan import BlockPlan


def describe_architecture(space: SearchSpace, architecture: Architecture) -> list[str]:
    """One line for the input side, then one for each block; stages have a line where several."""
    plan = space.plan(architecture)
    lines, first = [describe_input(plan)], 1
    for number, stage in enumerate(plan.stages, start=1):
        if len(plan.stages) > 1:
            rows, columns = stage.grid
            lines.append(f"stage {number}: {rows} x {columns} tokens, width {stage.embed_dim}")
        lines += [f"block {i}: {describe_block(b)}" for i, b in enumerate(stage.blocks, first)]
        first += len(stage.blocks)
    return lines


def describe_input(plan: Plan) -> str:
    """Image, patches and widths."""
    rows, columns = plan.stages[0].grid
    patch = plan.image_size // rows
    widths = " > ".join(str(stage.embed_dim) for stage in plan.stages)
    depth = sum(len(stage.blocks) for stage in plan.stages)
    return (
        f"{plan.image_size} px, patch {patch} ({rows} x {columns} tokens), width {widths}, "
        f"{depth} blocks"
    )


def describe_block(block: BlockPlan) -> str:
    """The mixer and the MLP of one block."""
    hidden = getattr(block.mlp, "hidden_dim", None)
    ratio = "" if hidden is None else f", MLP x{hidden / block.embed_dim:.3g}"
    return f"{describe_mixer(block.mixer)}{ratio}"


def describe_mlp(block: BlockPlan) -> str:
    """The width of the MLP of one block: `192 (x4)`."""
    hidden = getattr(block.mlp, "hidden_dim", None)
    if hidden is None:
        return type(block.mlp).__name__.removesuffix("Plan")
    return f"{hidden} (x{hidden / block.embed_dim:.3g})"


def describe_mixer(mixer: object, *, short: bool = False) -> str:
    """What mixes tokens; `short` where room is scarce."""
    if isinstance(mixer, AttentionPlan | RelativeAttentionPlan | VitasAttentionPlan):
        return _heads(mixer.num_heads, mixer.head_dim)
    if not isinstance(mixer, GlitMixerPlan):
        return type(mixer).__name__.removesuffix("Plan")
    halves = []
    kind = "" if short else "global "
    if mixer.global_dim:
        halves.append(_heads(mixer.num_heads, mixer.head_dim, kind))
    if mixer.local_dim:
        inner = f"x{mixer.local_inner / mixer.local_dim:.3g}"
        long = f"local on {mixer.local_dim} channels (kernel {mixer.kernel_size}, {inner})"
        halves.append(f"local {inner}" if short else long)
    return " + ".join(halves)


def _heads(count: int, head_dim: int, kind: str = "") -> str:
    return f"{count} {kind}{'head' if count == 1 else 'heads'} of {head_dim}"
