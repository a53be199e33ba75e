"""Head `dense`: what is said of every patch, or of every pixel of a map, by one 1x1 convolution.

The final norm is the one that the space's classifier would have. Answers are a map on the grid of
the last stage; whoever compares them with an image resizes them to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.cost import Cost, linear_cost
from vitsearch.spaces.flow import Map, Shape, Tokens
from vitsearch.spaces.parts.base import HEADS, HeadPart, StageContext, Values
from vitsearch.spaces.parts.head import NormPlan
from vitsearch.spaces.parts.norms import NormKind, read_norm
from vitsearch.spaces.plan import Node
from vitsearch.spaces.settings import Settings

NORM_PLACES = ("before", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class DensePlan:
    """Sizes of a classifier of every place.

    Attributes:
        embed_dim: C of the last stage.
        grid: Rows and columns of patch tokens, or of the map.
        num_prefix_tokens: Tokens in front of the patches, about which nothing is said.
        unit: What is classified, in words.
    """

    embed_dim: int
    grid: tuple[int, int]
    num_prefix_tokens: int
    unit: str = "patch token"

    def cost(self, num_classes: int) -> Cost:
        """The convolution; nothing with 0 classes, which leaves the features as a map."""
        if not num_classes:
            return Cost()
        places = self.grid[0] * self.grid[1]
        return linear_cost(self.embed_dim, num_classes, num_tokens=places)

    def words(self, *, short: bool = False) -> str:
        """What is classified."""
        return f"every {self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseHead(HeadPart):
    """A classifier of every place of the last stage.

    Attributes:
        norm: Of tokens, before they are classified; `None` for none. Maps have none.
        prefix_tokens: Tokens that the stem puts in front of the patches.
    """

    norm: NormKind | None
    prefix_tokens: int

    dense: ClassVar[bool] = True

    @property
    def takes(self) -> tuple[type[Shape], ...]:
        """Tokens in their places, or a map."""
        return (Tokens, Map)

    @property
    def num_prefix_tokens(self) -> int:
        """Those that a classifier of the same space would have."""
        return self.prefix_tokens

    @property
    def node_names(self) -> tuple[str, ...]:
        """The final norm, if there is one."""
        return () if self.norm is None else ("norm",)

    def nodes(self, ends: Sequence[Node]) -> tuple[Node, ...]:
        """The final norm of tokens."""
        last = ends[-1]
        if self.norm is None or isinstance(last.shape, Map):
            return ()
        width = last.shape.embed_dim
        plan = NormPlan(embed_dim=width, norm_eps=self.norm.eps, kind=self.norm.kind)
        return (Node(name="norm", plan=plan, reads=(last.name,), shape=last.shape),)

    def plan(self, values: Values, nodes: Sequence[Node]) -> DensePlan:
        """The sizes for one architecture.

        Raises:
            SpaceError: What comes in are tokens without places.
        """
        shape = nodes[-1].shape
        if not getattr(shape, "placed", True):
            raise SpaceError(
                "space.head.kind=dense needs patch tokens in their places or a map; the last stage "
                "gives tokens without places: set output: map in its section of space.block"
            )
        return DensePlan(
            embed_dim=shape.embed_dim,
            grid=shape.grid,
            num_prefix_tokens=shape.num_prefix_tokens,
            unit="pixel of the map" if isinstance(shape, Map) else "patch token",
        )


@HEADS.register("dense")
def _dense(settings: Settings, context: StageContext) -> DenseHead:
    stem = Settings(context.config.get("stem") or {}, "space.stem")
    norm = read_norm(settings, "norm", NormKind("layer", settings.number("norm_eps", 1e-6)))
    place = settings.word("norm_place", NORM_PLACES, "before")
    # A pretrained network that was distilled has a second token, and its positions.
    distillation = settings.flag("distillation", False)
    return DenseHead(
        norm=norm if place == "before" else None,
        prefix_tokens=stem.flag("class_token", True)
        + distillation
        + stem.integer("registers", 0, minimum=0),
    )


def with_dense_head(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a space with a dense head in the place of its classifier.

    The body stays as it is, prefix tokens included, so weights of the one are those of the other;
    only modules of Visual Transformers that would end with tokens without places end with their
    map. A head of another kind stays, too.

    Args:
        config: Of a space (the keys of `conf/space/*.yaml`).
    """
    head = config.get("head") or {}
    if not isinstance(head, Mapping) or head.get("kind", "classifier") != "classifier":
        return dict(config)
    kept = {name: head[name] for name in ("norm", "norm_eps") if head.get(name) is not None}
    if head.get("distillation"):
        kept["distillation"] = True
    place = "none" if head.get("norm_place", "before") == "none" else "before"
    changed: dict[str, Any] = {"head": {"kind": "dense", **kept, "norm_place": place}}
    block = config.get("block")
    if isinstance(block, list | tuple):
        changed["block"] = [*block[:-1], _ending_with_map(block[-1])]
    elif block is not None:
        changed["block"] = _ending_with_map(block)
    return {**config, **changed}


def _ending_with_map(block: Any) -> Any:
    """The section of a stage's blocks, with the map that is behind its last one."""
    is_vt = isinstance(block, Mapping) and block.get("kind") == "vt"
    return {**block, "output": "map"} if is_vt else block
