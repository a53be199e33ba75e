"""Heads `fpn` and `vt_fpn`: the maps of all stages at one width, and what is said of every pixel.

In a feature pyramid network each stage's map goes through a 1x1 convolution (its lateral), the
coarser maps are added to the finer ones, and a 3x3 convolution smooths each level. VT-FPN keeps the
laterals and has tokens in place of the 3x3 convolutions: each level's map becomes a few tokens, one
transformer relates those of all levels, and a projector adds each level's tokens to its map.

Sources: Feature Pyramid Networks (Lin et al., 2017); Visual Transformers (Wu et al., ICCV 2021),
section 3.4 and figure 4. Which layers stay follows from the MACs that the paper prints
(docs/spaces/vt.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.cost import Cost, linear_cost
from vitsearch.spaces.flow import Map, Shape
from vitsearch.spaces.parts.base import HEADS, HeadPart, StageContext, Values
from vitsearch.spaces.parts.vt.plan import FILTER, NORMS, TRANSFORMER, VtPlan, VtSizes
from vitsearch.spaces.plan import Node
from vitsearch.spaces.settings import Settings

TAPS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a pyramid.

    Attributes:
        in_dim: Channels of the stage's map.
        grid: Its rows and columns.
    """

    in_dim: int
    grid: tuple[int, int]

    @property
    def pixels(self) -> int:
        """Rows times columns."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class FpnPlan:
    """Sizes of a pyramid and of the classifier of its finest level's pixels.

    Attributes:
        levels: The finest first.
        embed_dim: Channels of every level.
        tokens: The modules of VT-FPN, one for each level; none for 3x3 convolutions.
        relation: What relates the tokens of all levels, in VT-FPN.
    """

    levels: tuple[Level, ...]
    embed_dim: int
    tokens: tuple[VtPlan, ...] = ()
    relation: VtPlan | None = None

    num_prefix_tokens: ClassVar[int] = 0

    def cost(self, num_classes: int) -> Cost:
        """Laterals, what is behind them, and a classifier of every pixel of the finest level."""
        total = self.lateral_cost() + self.output_cost()
        if num_classes:
            finest = self.levels[0].pixels
            total = total + linear_cost(self.embed_dim, num_classes, num_tokens=finest)
        return total

    def lateral_cost(self) -> Cost:
        """The 1x1 convolutions."""
        each = (
            linear_cost(level.in_dim, self.embed_dim, num_tokens=level.pixels)
            for level in self.levels
        )
        return sum(each, Cost())

    def output_cost(self) -> Cost:
        """3x3 convolutions; or tokenizers, one transformer, and projectors."""
        if self.relation is None:
            weights = TAPS * self.embed_dim**2
            pixels = sum(level.pixels for level in self.levels)
            params = len(self.levels) * (weights + self.embed_dim)
            return Cost(pixels * weights, params)
        modules = (own.tokenizer_cost() + own.projector_cost() for own in self.tokens)
        return sum(modules, self.relation.relation_cost())

    def words(self, *, short: bool = False) -> str:
        """How wide, and what of."""
        if self.relation is None:
            return f"pyramid of {len(self.levels)} maps, width {self.embed_dim}"
        count = self.relation.sizes.num_tokens
        return f"pyramid of {len(self.levels)} maps, width {self.embed_dim}, {count} tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fpn(HeadPart):
    """A pyramid over the maps of all stages; of VT-FPN the settings of its tokens.

    Attributes:
        width: Channels of every level.
        tokens: Settings of `VtPlan` by name; `None` for 3x3 convolutions.
        norm: See `VtPlan`.
    """

    width: int
    tokens: dict[str, int] | None
    norm: str

    dense: ClassVar[bool] = True

    @property
    def sees_all(self) -> bool:
        """The maps of all stages."""
        return True

    @property
    def takes(self) -> tuple[type[Shape], ...]:
        """Maps."""
        return (Map,)

    @property
    def num_prefix_tokens(self) -> int:
        """None."""
        return 0

    def reads(self, nodes: Sequence[Node]) -> tuple[str, ...]:
        """The last node of every stage."""
        return tuple(node.name for node in nodes)

    def plan(self, values: Values, nodes: Sequence[Node]) -> FpnPlan:
        """The sizes for one architecture."""
        for node in nodes:
            if not isinstance(node.shape, Map):
                raise SpaceError(
                    "space.head.kind: a pyramid (fpn, vt_fpn) needs a map of every stage; take "
                    "residual stages, or another head"
                )
        levels = tuple(Level(in_dim=n.shape.embed_dim, grid=n.shape.grid) for n in nodes)
        return self.of_levels(levels)

    def of_levels(self, levels: tuple[Level, ...]) -> FpnPlan:
        """The sizes for maps of these sizes, which need not be square."""
        if self.tokens is None:
            return FpnPlan(levels=levels, embed_dim=self.width)
        modules = tuple(self._module(level.grid, self.tokens["num_tokens"]) for level in levels)
        every = self.tokens["num_tokens"] * len(levels)
        return FpnPlan(
            levels=levels,
            embed_dim=self.width,
            tokens=modules,
            relation=self._module(levels[-1].grid, every),
        )

    def _module(self, grid: tuple[int, int], count: int) -> VtPlan:
        own = self.tokens
        assert own is not None
        sizes = VtSizes(
            in_dim=self.width,
            grid=grid,
            out_dim=self.width,
            token_dim=own["token_dim"],
            num_tokens=count,
            tokenizer=FILTER,
            gives_map=True,
            gives_tokens=False,
            num_prefix_tokens=0,
        )
        return VtPlan(
            sizes=sizes,
            num_heads=own["num_heads"],
            num_layers=1,
            hidden_dim=own["token_dim"],
            relation=TRANSFORMER,
            renewed=0,
            pixel_group=own["pixel_group"],
            token_group=own["token_group"],
            norm=self.norm,
            scaled=True,
        )


@HEADS.register("fpn")
def _fpn(settings: Settings, context: StageContext) -> Fpn:
    return Fpn(width=settings.integer("width", 256), tokens=None, norm="none")


@HEADS.register("vt_fpn")
def _vt_fpn(settings: Settings, context: StageContext) -> Fpn:
    width = settings.integer("width", 256)
    tokens = {
        "num_tokens": settings.integer("num_tokens", 8),
        "token_dim": settings.integer("token_dim", 1024),
        "num_heads": settings.integer("num_heads", 16),
        "pixel_group": settings.integer("pixel_group_size", 8),
        "token_group": settings.integer("kqv_group_size", 256),
    }
    for what, whole, parts in (
        ("width", width, ("num_heads", "pixel_group")),
        ("token_dim", tokens["token_dim"], ("token_group",)),
        ("token_dim / 2", tokens["token_dim"] // 2, ("num_heads",)),
    ):
        for part in parts:
            if whole % tokens[part]:
                name = {"pixel_group": "pixel_group_size", "token_group": "kqv_group_size"}
                raise SpaceError(
                    f"space.head.{name.get(part, part)}={tokens[part]} must divide {what}, {whole}"
                )
    if tokens["token_group"] % 2:
        raise SpaceError(f"space.head.kqv_group_size={tokens['token_group']} must be even")
    return Fpn(width=width, tokens=tokens, norm=settings.word("norm", NORMS, "layer"))
