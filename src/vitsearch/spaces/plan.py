"""The plan: an architecture as typed sizes. Forward, extraction, cost and pictures read only this.

Each part of a space contributes its own piece (`PatchStemPlan`, `GlitMixerPlan`, `MlpPlan`, ...);
this file has the frame that holds them, and the catalogue of every piece that a supernet serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from vitsearch.spaces.cost import Cost, linear_cost


@runtime_checkable
class PiecePlan(Protocol):
    """Anything with sizes and a cost: the plan of a stem, a mixer, an MLP, a transition."""

    @property
    def embed_dim(self) -> int:
        """Width of the tokens that come out, C."""

    def cost(self) -> Cost:
        """MACs of one image, and parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """A pre-norm block: x + mixer(norm1(x)), then x + mlp(norm2(x)), on (B, N, C).

    Attributes:
        slot: Which block of the supernet's stage lends its weights.
        embed_dim: C.
        norm_eps: Of both LayerNorms.
        mixer: What mixes tokens.
        mlp: What mixes channels.
    """

    slot: int
    embed_dim: int
    norm_eps: float
    mixer: PiecePlan
    mlp: PiecePlan

    def cost(self) -> Cost:
        """Mixer, MLP and two LayerNorms."""
        return self.mixer.cost() + self.mlp.cost() + Cost(0, 4 * self.embed_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """A run of blocks at one width and one token grid.

    Attributes:
        embed_dim: C.
        grid: Rows and columns of patch tokens.
        transition: What leads from the stage before; `None` in the first.
        blocks: In order; skipped slots are absent.
    """

    embed_dim: int
    grid: tuple[int, int]
    transition: PiecePlan | None
    blocks: tuple[BlockPlan, ...]

    def cost(self) -> Cost:
        """Transition and blocks."""
        start = Cost() if self.transition is None else self.transition.cost()
        return sum((block.cost() for block in self.blocks), start)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlan:
    """Final LayerNorm, pooling and classifier.

    Attributes:
        embed_dim: C of the last stage.
        pool: `token` (class token) or `avg` (mean of the patch tokens), as timm names them.
        norm_eps: Of the final LayerNorm.
        num_prefix_tokens: Tokens in front of the patches.
        distillation: A second classifier on the second token; logits are the mean of both.
        patch_head: The supernet has a classifier of patch tokens, for training only.
    """

    embed_dim: int
    pool: str
    norm_eps: float
    num_prefix_tokens: int
    distillation: bool
    patch_head: bool

    def cost(self, num_classes: int) -> Cost:
        """LayerNorm and classifiers; 0 classes mean none. The patch head is not counted."""
        total = Cost(0, 2 * self.embed_dim)
        if num_classes:
            for _ in range(1 + self.distillation):
                total = total + linear_cost(self.embed_dim, num_classes)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole network in sizes.

    Attributes:
        image_size: Side of the square input, pixels.
        in_chans: Channels of the input.
        stem: Image to tokens.
        stages: One or more.
        head: Tokens to logits.
    """

    image_size: int
    in_chans: int
    stem: PiecePlan
    stages: tuple[StagePlan, ...]
    head: HeadPlan

    def cost(self, num_classes: int = 1000) -> Cost:
        """The network's closed-form cost with a classifier of `num_classes`."""
        stages = sum((stage.cost() for stage in self.stages), self.stem.cost())
        return stages + self.head.cost(num_classes)

    def renumbered(self) -> Plan:
        """The same sizes with slots counted from 0 in each stage: the extracted network's plan."""
        stages = tuple(
            replace(
                stage,
                blocks=tuple(replace(block, slot=i) for i, block in enumerate(stage.blocks)),
            )
            for stage in self.stages
        )
        return replace(self, stages=stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCatalogue:
    """Every piece that one block slot may be asked for."""

    embed_dims: tuple[int, ...]
    norm_eps: float
    mixers: tuple[PiecePlan, ...]
    mlps: tuple[PiecePlan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCatalogue:
    """Every piece that one stage may be asked for; a slot that nothing uses is `None`."""

    transitions: tuple[PiecePlan, ...]
    slots: tuple[SlotCatalogue | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCatalogue:
    """Every piece that a network may be asked for, which its layers must be large enough for."""

    stems: tuple[PiecePlan, ...]
    stages: tuple[StageCatalogue, ...]
    heads: tuple[HeadPlan, ...]

    @staticmethod
    def of(plan: Plan) -> PlanCatalogue:
        """The catalogue with one plan in it: an extracted network."""
        return PlanCatalogue(
            stems=(plan.stem,),
            stages=tuple(
                StageCatalogue(
                    transitions=() if stage.transition is None else (stage.transition,),
                    slots=tuple(
                        SlotCatalogue(
                            embed_dims=(block.embed_dim,),
                            norm_eps=block.norm_eps,
                            mixers=(block.mixer,),
                            mlps=(block.mlp,),
                        )
                        for block in stage.blocks
                    ),
                )
                for stage in plan.stages
            ),
            heads=(plan.head,),
        )


def widths_of(plans: Sequence[PiecePlan], attribute: str) -> tuple[int, ...]:
    """Every positive value of an integer attribute over plans, ascending: a shared layer's sizes.

    A size of 0 means that the plan does without.
    """
    return tuple(sorted({int(getattr(plan, attribute)) for plan in plans} - {0}))
