"""Kind of block `searching`: a shortcut, MixConv and a light transformer, added up.

Without a branch and without tokens the block is its shortcut: the map itself, or a grouped 1x1
convolution where the map changes. So a network that does without some of its blocks, even without
a whole path between resolutions, is an ordinary architecture.

Source: HR-NAS (Ding et al., CVPR 2021), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vitsearch.errors import SpaceError
from vitsearch.errors.checks import check_number
from vitsearch.spaces.cost import Cost, Costed, cost_of
from vitsearch.spaces.flow import Map
from vitsearch.spaces.parts.base import BLOCKS, BlockKind, BlockPart, StageContext
from vitsearch.spaces.parts.hr.light_transformer import LightTransformer, LightTransformerPlan
from vitsearch.spaces.parts.hr.mixconv import MixBranch, MixBranchPlan, MixSum, MixSumPlan
from vitsearch.spaces.parts.hr.step import MapStep
from vitsearch.spaces.plan import PiecePlan
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import Segment

ACTIVATIONS = ("relu", "swish")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapLayers:
    """What all layers of a high-resolution network have in common.

    Attributes:
        activation: `relu` or `swish`.
        norm_eps: Of the BatchNorms outside of transformers.
        norm_momentum: Of the same.
    """

    activation: str
    norm_eps: float
    norm_momentum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchingPlan:
    """Sizes of a searching block.

    Attributes:
        step: From which map to which.
        branches: Of MixConv, by kernel size; those without channels are not there.
        behind: What stands behind their sum.
        transformer: Beside them; without tokens it is not there.
        layers: What all layers have in common.
    """

    step: MapStep
    branches: tuple[MixBranchPlan, ...]
    behind: MixSumPlan
    transformer: LightTransformerPlan
    layers: MapLayers

    @property
    def embed_dim(self) -> int:
        """Channels that go out, C."""
        return self.step.embed_dim

    def pieces(self) -> tuple[Costed, ...]:
        """All that costs something."""
        return (self.step, *self.branches, self.behind, self.transformer)

    def cost(self) -> Cost:
        """All pieces."""
        return sum((piece.cost() for piece in self.pieces()), Cost())

    def words(self, *, short: bool = False) -> str:
        """The channels of each kernel, and the tokens."""
        parts = [
            f"{b.channels} of {b.kernel_size}x{b.kernel_size}" for b in self.branches if b.channels
        ]
        if self.transformer.num_tokens:
            parts.append(f"{self.transformer.num_tokens} tokens")
        where = "" if short else f"{self.step.in_dim} to {self.embed_dim} channels: "
        return where + (", ".join(parts) or "shortcut")

    def segments(self) -> tuple[Segment, ...]:
        """A run of channels for each kernel."""
        return tuple(
            Segment(kind="local", channels=b.channels, text=str(b.kernel_size))
            for b in self.branches
            if b.channels
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchingKind(BlockKind):
    """A searching block, for maps of some width.

    Attributes:
        branches: One for each kernel size.
        transformer: Beside them.
        unused_norms: See `MixSum`.
        layers: What all layers have in common.
    """

    branches: tuple[MixBranch, ...]
    transformer: LightTransformer
    unused_norms: bool
    layers: MapLayers

    flow: ClassVar[type] = Map

    def alike(self, slot: int) -> int:
        """Each block leads from another map to another."""
        return slot

    def pieces(self) -> Mapping[str, BlockPart]:
        """The branches, what stands behind them, the transformer."""
        behind = MixSum(
            follows=tuple(branch.name for branch in self.branches),
            squeeze_ratio=self.branches[0].squeeze_ratio,
            always=self.unused_norms,
        )
        branches: dict[str, BlockPart] = {branch.name: branch for branch in self.branches}
        return {**branches, "transformer": self.transformer, "behind": behind}

    def assemble(self, pieces: Mapping[str, PiecePlan], tokens: MapStep) -> SearchingPlan:
        """All of them in a block."""
        own: Mapping[str, Any] = pieces
        return SearchingPlan(
            step=tokens,
            branches=tuple(own[branch.name] for branch in self.branches),
            behind=own["behind"],
            transformer=own["transformer"],
            layers=self.layers,
        )

    def own_cost(self, tokens: MapStep) -> Cost:
        """The shortcut."""
        return cost_of(tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchingBlocks:
    """Searching blocks of any width, as `space.block` describes them.

    Attributes:
        kernel_sizes: One branch for each.
        expansion: Most channels of a branch, as a multiple of those that come in.
        step: From one option of a branch's channels to the next; 0 for those that come in.
        num_tokens: Options of the transformer's tokens.
        dropout: See `LightTransformerPlan`.
        everywhere: Whether there may be a transformer where the map changes, too.
        squeeze_ratio: See `MixBranch`.
        unused_norms: See `MixSum`.
        layers: What all layers have in common.
    """

    kernel_sizes: tuple[int, ...]
    expansion: int
    step: int
    num_tokens: tuple[int, ...]
    dropout: float
    everywhere: bool
    squeeze_ratio: float
    unused_norms: bool
    layers: MapLayers

    def of(self, step: MapStep) -> SearchingKind:
        """The block that leads from one map to another."""
        channels = tuple(range(0, self.expansion * step.in_dim + 1, self.step or step.in_dim))
        attends = step.is_plain or self.everywhere
        return SearchingKind(
            branches=tuple(
                MixBranch(kernel_size=size, channels=channels, squeeze_ratio=self.squeeze_ratio)
                for size in self.kernel_sizes
            ),
            transformer=LightTransformer(
                num_tokens=self.num_tokens if attends else (0,), dropout=self.dropout
            ),
            unused_norms=self.unused_norms,
            layers=self.layers,
        )


@BLOCKS.register("searching")
def _searching(settings: Settings, context: StageContext) -> SearchingBlocks:
    return SearchingBlocks(
        kernel_sizes=_odd(settings, settings.integers("kernel_sizes", (3, 5, 7))),
        expansion=settings.integer("expansion", 4),
        step=settings.integer("step", 0, minimum=0),
        num_tokens=settings.integers("num_tokens", (0,), minimum=0),
        dropout=_dropout(settings),
        everywhere=settings.flag("transformers_everywhere", False),
        squeeze_ratio=settings.number("squeeze_ratio") if settings.has("squeeze_ratio") else 0,
        unused_norms=settings.flag("unused_norms", False),
        layers=read_layers(settings),
    )


def read_layers(block: Settings) -> MapLayers:
    """What `space.block` says of all layers of the network.

    Source: the authors' configurations; those for poses have PyTorch's own numbers.
    """
    return MapLayers(
        activation=block.word("activation", ACTIVATIONS, "relu"),
        norm_eps=block.number("norm_eps", 1e-3),
        norm_momentum=block.number("norm_momentum", 0.01),
    )


def _odd(settings: Settings, sizes: tuple[int, ...]) -> tuple[int, ...]:
    for size in sizes:
        if size % 2 == 0:
            raise SpaceError(f"{settings.path}.kernel_sizes={list(sizes)}: {size} must be odd")
    return sizes


def _dropout(settings: Settings) -> float:
    rate = settings.section("dropout")
    if rate is None:
        return 0.0
    return check_number(f"{settings.path}.dropout", rate, "[0, 1)", error=SpaceError)
