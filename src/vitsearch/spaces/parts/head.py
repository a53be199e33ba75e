"""The head of classifiers: final LayerNorm, pooling, linear classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitsearch.errors import SpaceError
from vitsearch.spaces.cost import Cost, linear_cost
from vitsearch.spaces.flow import Map, Shape, Tokens
from vitsearch.spaces.parts.base import HEADS, HeadPart, StageContext, Values
from vitsearch.spaces.parts.norms import NormKind, read_norm
from vitsearch.spaces.parts.pooling import AttentionPool, AttentionPoolPlan
from vitsearch.spaces.plan import Node
from vitsearch.spaces.settings import Settings

POOLS = ("token", "avg", "max", "avgmax", "map")
NORM_PLACES = ("before", "after", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class NormPlan:
    """The final norm.

    Attributes:
        embed_dim: C.
        norm_eps: Added to the variance.
        kind: `layer` or `rms`.
    """

    embed_dim: int
    norm_eps: float
    kind: str = "layer"

    def cost(self) -> Cost:
        """Scale and shift."""
        return NormKind(self.kind, self.norm_eps).cost(self.embed_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierPlan:
    """Pooling and classifiers.

    Attributes:
        embed_dim: C of the last stage.
        grid: Rows and columns of patch tokens, or of the map.
        pool: As timm names it: `token` (class token); `avg`, `max` or `avgmax` (mean, largest, or
            the mean of both, over the patch tokens); `map` (by attention).
        num_prefix_tokens: Tokens in front of the patches.
        distillation: A second classifier on the second token; logits are the mean of both.
        patch_head: The supernet has a classifier of patch tokens, for training only.
        pool_prefix: Whether the tokens in front of the patches are pooled with them.
        pool_norm: The norm of what is pooled (timm's `fc_norm`); `None` for none.
        attention_pool: The pool by attention; `None` for another pool.
        unit: What is pooled, in words.
    """

    embed_dim: int
    grid: tuple[int, int]
    pool: str
    num_prefix_tokens: int
    distillation: bool
    patch_head: bool
    pool_prefix: bool = False
    pool_norm: NormPlan | None = None
    attention_pool: AttentionPoolPlan | None = None
    unit: str = "patch tokens"

    def cost(self, num_classes: int) -> Cost:
        """Pool and classifiers; 0 classes mean none. The patch head is not counted."""
        total = Cost()
        for part in (self.pool_norm, self.attention_pool):
            total = total if part is None else total + part.cost()
        if num_classes:
            for _ in range(1 + self.distillation):
                total = total + linear_cost(self.embed_dim, num_classes)
        return total

    def words(self, *, short: bool = False) -> str:
        """What is pooled."""
        return {
            "token": "class token",
            "avg": f"mean of the {self.unit}",
            "max": f"maximum of the {self.unit}",
            "avgmax": f"mean and maximum of the {self.unit}",
            "map": f"attention over the {self.unit}",
        }[self.pool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(HeadPart):
    """What follows the last stage.

    Attributes:
        pool: See `ClassifierPlan`.
        norm: The final norm.
        norm_place: Where it stands: `before` the pool, `after` it, or `none`.
        distillation: A second token with a classifier of its own; the logits are the mean of both
            (DeiT, section 4).
        patch_head: A classifier of patch tokens in the supernet, for training (ViT-ResNAS,
            section 3.3); networks taken out do without.
        class_token: Whether there is one; it stands in the section of the stem.
        registers: Register tokens; the same.
        pool_prefix: See `ClassifierPlan`.
        attention_pool: Of pool `map`; else `None`.
    """

    pool: str
    norm: NormKind
    norm_place: str
    distillation: bool
    patch_head: bool
    class_token: bool
    registers: int
    pool_prefix: bool
    attention_pool: AttentionPool | None

    @property
    def takes(self) -> tuple[type[Shape], ...]:
        """Tokens; a map, too, if neither a token of it is asked for nor a norm in front."""
        of_tokens = self.pool == "token" or self.distillation or self.patch_head
        return (Tokens,) if of_tokens or self.norm_place == "before" else (Tokens, Map)

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches."""
        return self.class_token + self.distillation + self.registers

    @property
    def node_names(self) -> tuple[str, ...]:
        """The final norm, if it stands before the pool."""
        return ("norm",) if self.norm_place == "before" else ()

    def nodes(self, ends: Sequence[Node]) -> tuple[Node, ...]:
        """The final norm, if it stands before the pool."""
        if self.norm_place != "before":
            return ()
        last = ends[-1]
        plan = self._norm_plan(last.shape.embed_dim)
        return (Node(name="norm", plan=plan, reads=(last.name,), shape=last.shape),)

    def _norm_plan(self, embed_dim: int) -> NormPlan:
        return NormPlan(embed_dim=embed_dim, norm_eps=self.norm.eps, kind=self.norm.kind)

    def plan(self, values: Values, nodes: Sequence[Node]) -> ClassifierPlan:
        """The sizes for one architecture."""
        shape = nodes[-1].shape
        if self.patch_head and isinstance(shape, Tokens) and not shape.placed:
            raise SpaceError(
                "space.head.patch_head=true needs patch tokens in their places; the last stage "
                "gives tokens without places"
            )
        if not shape.num_prefix_tokens and (self.pool == "token" or self.distillation):
            raise SpaceError(
                f"space.head.pool={self.pool} needs a class token, and what comes out of the last "
                f"stage has none; set space.head.pool=avg"
            )
        rows, columns = shape.grid
        prefix = shape.num_prefix_tokens
        seen = rows * columns + (prefix if self.pool_prefix else 0)
        by_attention = None
        if self.attention_pool is not None:
            by_attention = self.attention_pool.plan(shape.embed_dim, seen)
        return ClassifierPlan(
            embed_dim=shape.embed_dim,
            grid=shape.grid,
            pool=self.pool,
            num_prefix_tokens=prefix,
            distillation=self.distillation,
            patch_head=self.patch_head,
            pool_prefix=self.pool_prefix,
            pool_norm=self._norm_plan(shape.embed_dim) if self.norm_place == "after" else None,
            attention_pool=by_attention,
            unit=_unit(shape),
        )


def _unit(shape: Shape) -> str:
    if isinstance(shape, Map):
        return "pixels"
    return "patch tokens" if getattr(shape, "placed", True) else "tokens"


@HEADS.register("classifier")
def _head(settings: Settings, context: StageContext) -> Head:
    stem = Settings(context.config.get("stem") or {}, "space.stem")
    norm = read_norm(settings, "norm", NormKind("layer", settings.number("norm_eps", 1e-6)))
    assert norm is not None
    head = Head(
        pool=settings.word("pool", POOLS, "token"),
        norm=norm,
        norm_place=settings.word("norm_place", NORM_PLACES, "before"),
        distillation=settings.flag("distillation", False),
        patch_head=settings.flag("patch_head", False),
        class_token=stem.flag("class_token", True),
        registers=stem.integer("registers", 0, minimum=0),
        pool_prefix=settings.flag("pool_prefix", False),
        attention_pool=_attention_pool(settings, context),
    )
    if not head.class_token and (head.pool == "token" or head.distillation):
        needs = "space.head.pool=token" if head.pool == "token" else "space.head.distillation=true"
        raise SpaceError(
            f"{needs} needs a class token; set space.stem.class_token=true, or pool=avg"
        )
    return head


def _attention_pool(settings: Settings, context: StageContext) -> AttentionPool | None:
    section = settings.section("attention_pool")
    is_map = settings.word("pool", POOLS, "token") == "map"
    if not is_map:
        return None
    if section is None:
        raise SpaceError(
            "space.head.pool=map needs space.head.attention_pool: a section with num_heads, "
            "hidden, activation, norm"
        )
    if len(context.embed_dims) > 1:
        raise SpaceError(
            f"space.embed_dims={list(context.embed_dims)}: a pool by attention "
            f"(space.head.pool=map) takes one width"
        )
    return AttentionPool.read(section, "space.head.attention_pool")
