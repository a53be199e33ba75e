"""Kind of block `vit`: two residual branches, each with its norm and LayerScale, each removable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitsearch.spaces.choice import Choice, Condition
from vitsearch.spaces.cost import Cost, Costed
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import (
    BLOCKS,
    MIXERS,
    MLPS,
    BlockKind,
    BlockPart,
    StageContext,
    Values,
)
from vitsearch.spaces.parts.norms import NormKind, read_norm
from vitsearch.spaces.parts.tokens.steps import TokenStep, tokens_in_words
from vitsearch.spaces.plan import PiecePlan
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import Segment, segments_of, words_of

BRANCHES = {"mixer": "attention", "mlp": "mlp"}
"""What the choice whether a branch stays is called after `keep_`."""
KEPT_SHARE = 0.9
"""How often a drawn architecture keeps a branch that could go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchPlan:
    """A residual branch: x + gamma * inner(norm(x)), on (B, N, C).

    Attributes:
        embed_dim: C.
        norm: In front.
        layer_scale: Whether the branch is scaled by learned numbers, one for each channel
            (LayerScale; CaiT, 2021, section 2.1).
        inner: The attention or the MLP; `None` where the branch is left out.
    """

    embed_dim: int
    norm: NormKind
    layer_scale: bool
    inner: PiecePlan | None

    def cost(self) -> Cost:
        """Norm, scale and what is inside; nothing where it is left out."""
        if self.inner is None:
            return Cost()
        return self.inner.cost() + self.norm.cost(self.embed_dim) + Cost(0, self._scales)

    @property
    def _scales(self) -> int:
        return self.embed_dim if self.layer_scale else 0

    @property
    def hidden_dim(self) -> int:
        """Hidden width of an MLP; 0 where it is left out."""
        return int(getattr(self.inner, "hidden_dim", 0))

    def words(self, *, short: bool = False) -> str:
        """What is inside."""
        return "left out" if self.inner is None else words_of(self.inner, short=short)

    def segments(self) -> tuple[Segment, ...]:
        """The channels of what is inside."""
        return () if self.inner is None else segments_of(self.inner)


@dataclass(frozen=True, slots=True, kw_only=True)
class VitBlockPlan:
    """A block of two branches on (B, N, C).

    Attributes:
        embed_dim: C.
        mixer: The branch that mixes tokens.
        mlp: The branch that mixes channels.
        tokens: How tokens become fewer between them; `None` where all go on.
    """

    embed_dim: int
    mixer: BranchPlan
    mlp: BranchPlan
    tokens: TokenStep | None = None

    def pieces(self) -> tuple[Costed, ...]:
        """All that costs something."""
        own = (self.mixer, self.mlp)
        return own if self.tokens is None else (*own, self.tokens)

    def cost(self) -> Cost:
        """Both branches, and what it costs to compare tokens."""
        return sum((piece.cost() for piece in self.pieces()), Cost())

    def words(self, *, short: bool = False) -> str:
        """The attention, and how wide the MLP is."""
        attention = "no attention" if self.mixer.inner is None else self.mixer.words(short=short)
        if self.mlp.inner is None:
            mlp = "no MLP"
        else:
            mlp = f"MLP x{self.mlp.hidden_dim / self.embed_dim:.3g}"
        return f"{attention}, {mlp}{tokens_in_words(self.tokens)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A residual branch, with the choice whether it stays if it is removable.

    Attributes:
        keep: The name of that choice; `None` for a branch that always stays.
        needed_without: The name of the choice whether the other branch stays, where one of the two
            has to; else `None`.
        norm: See `BranchPlan`.
        layer_scale: See `BranchPlan`.
        inner: The attention or the MLP.
    """

    keep: str | None
    needed_without: str | None
    norm: NormKind
    layer_scale: bool
    inner: BlockPart

    @property
    def needs_places(self) -> bool:
        """Whether what is inside needs its tokens in their places."""
        return bool(getattr(self.inner, "needs_places", True))

    @property
    def always_attends(self) -> bool:
        """Whether there is attention in every architecture."""
        return self.keep is None and bool(getattr(self.inner, "always_attends", False))

    def choices(self) -> tuple[Choice, ...]:
        """Whether it stays, and what is inside."""
        if self.keep is None:
            return self.inner.choices()
        conditions = (
            () if self.needed_without is None else (Condition(self.needed_without, (True,)),)
        )
        keep = Choice(
            name=self.keep,
            options=(False, True),
            active_when=conditions,
            otherwise=True if conditions else None,
            weights=(1 - KEPT_SHARE, KEPT_SHARE),
        )
        kept = Condition(self.keep, (True,))
        inner = [
            Choice(
                name=choice.name,
                options=choice.options,
                active_when=(kept, *choice.active_when),
                otherwise=choice.otherwise,
                weights=choice.weights,
            )
            for choice in self.inner.choices()
        ]
        return (keep, *inner)

    def plan(self, values: Values, tokens: Tokens) -> BranchPlan:
        """The sizes for one architecture."""
        stays = self.keep is None or bool(values[self.keep])
        return BranchPlan(
            embed_dim=tokens.embed_dim,
            norm=self.norm,
            layer_scale=self.layer_scale,
            inner=self.inner.plan(values, tokens) if stays else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VitBlock(BlockKind):
    """x + ls1(mixer(norm1(x))), then x + ls2(mlp(norm2(x))); a branch may be left out.

    Attributes:
        mixer: The branch that mixes tokens.
        mlp: The branch that mixes channels.
    """

    mixer: Branch
    mlp: Branch

    def pieces(self) -> Mapping[str, BlockPart]:
        """The branches."""
        return {"mixer": self.mixer, "mlp": self.mlp}

    def assemble(self, pieces: Mapping[str, PiecePlan], tokens: Tokens) -> VitBlockPlan:
        """Both in a block."""
        return VitBlockPlan(embed_dim=tokens.embed_dim, **pieces)  # type: ignore[arg-type]


@BLOCKS.register("vit")
def _vit_block(settings: Settings, context: StageContext) -> VitBlock:
    own = Settings(context.config, "space", stage=context.index, num_stages=context.num_stages)
    norm = read_norm(settings, "norm", NormKind("layer", own.number("norm_eps", 1e-6)))
    assert norm is not None
    layer_scale = settings.flag("layer_scale", False)
    scaled = {"mixer": layer_scale, "mlp": settings.flag("mlp_layer_scale", layer_scale)}
    removable = settings.words("removable", tuple(BRANCHES.values()), ())
    # A block without branches is a block that is not there: only one of the two may say so.
    drops_blocks = own.has("depths") or own.has("skippable") or own.has("identity_probability")
    if drops_blocks and len(removable) == len(BRANCHES):
        needed = f"keep_{BRANCHES['mixer']}"
    else:
        needed = None
    branches = {}
    for role, registry in (("mixer", MIXERS), ("mlp", MLPS)):
        keep = f"keep_{BRANCHES[role]}" if BRANCHES[role] in removable else None
        branches[role] = Branch(
            keep=keep,
            needed_without=needed if role == "mlp" else None,
            norm=norm,
            layer_scale=scaled[role],
            inner=registry.build(context.config.get(role), context),
        )
    return VitBlock(**branches)
