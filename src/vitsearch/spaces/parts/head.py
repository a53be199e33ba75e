"""The head of classifiers: final LayerNorm, pooling, linear classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitsearch.spaces.cost import Cost, linear_cost
from vitsearch.spaces.parts.base import HEADS, HeadPart, StageContext, Values
from vitsearch.spaces.plan import Node
from vitsearch.spaces.settings import Settings

POOLS = ("token", "avg")


@dataclass(frozen=True, slots=True, kw_only=True)
class NormPlan:
    """The final LayerNorm.

    Attributes:
        embed_dim: C.
        norm_eps: Added to the variance.
    """

    embed_dim: int
    norm_eps: float

    def cost(self) -> Cost:
        """Scale and shift."""
        return Cost(0, 2 * self.embed_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierPlan:
    """Pooling and classifiers.

    Attributes:
        embed_dim: C of the last stage.
        grid: Rows and columns of patch tokens.
        pool: `token` (class token) or `avg` (mean of the patch tokens), as timm names them.
        num_prefix_tokens: Tokens in front of the patches.
        distillation: A second classifier on the second token; logits are the mean of both.
        patch_head: The supernet has a classifier of patch tokens, for training only.
    """

    embed_dim: int
    grid: tuple[int, int]
    pool: str
    num_prefix_tokens: int
    distillation: bool
    patch_head: bool

    def cost(self, num_classes: int) -> Cost:
        """Classifiers; 0 classes mean none. The patch head is not counted."""
        total = Cost()
        if num_classes:
            for _ in range(1 + self.distillation):
                total = total + linear_cost(self.embed_dim, num_classes)
        return total

    def words(self, *, short: bool = False) -> str:
        """What is pooled."""
        return "class token" if self.pool == "token" else "mean of the patch tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(HeadPart):
    """What follows the last stage.

    Attributes:
        pool: `token` (class token) or `avg` (mean of the patch tokens).
        norm_eps: Of the final LayerNorm.
        distillation: A second token with a classifier of its own; the logits are the mean of both
            (DeiT, section 4).
        patch_head: A classifier of patch tokens in the supernet, for training (ViT-ResNAS,
            section 3.3); networks taken out do without.
    """

    pool: str
    norm_eps: float
    distillation: bool
    patch_head: bool

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches."""
        return 1 + self.distillation

    @property
    def node_names(self) -> tuple[str, ...]:
        """The final LayerNorm."""
        return ("norm",)

    def nodes(self, ends: Sequence[Node]) -> tuple[Node, ...]:
        """The final LayerNorm."""
        last = ends[-1]
        plan = NormPlan(embed_dim=last.shape.embed_dim, norm_eps=self.norm_eps)
        return (Node(name="norm", plan=plan, reads=(last.name,), shape=last.shape),)

    def plan(self, values: Values, nodes: Sequence[Node]) -> ClassifierPlan:
        """The sizes for one architecture."""
        shape = nodes[-1].shape
        return ClassifierPlan(
            embed_dim=shape.embed_dim,
            grid=shape.grid,
            pool=self.pool,
            num_prefix_tokens=self.num_prefix_tokens,
            distillation=self.distillation,
            patch_head=self.patch_head,
        )


@HEADS.register("classifier")
def _head(settings: Settings, context: StageContext) -> Head:
    return Head(
        pool=settings.word("pool", POOLS, "token"),
        norm_eps=settings.number("norm_eps", 1e-6),
        distillation=settings.flag("distillation", False),
        patch_head=settings.flag("patch_head", False),
    )
