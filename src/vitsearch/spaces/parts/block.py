"""The pre-norm transformer block: any mixer, any MLP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitsearch.spaces.cost import Cost, Costed, cost_of
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import BLOCKS, MIXERS, MLPS, BlockKind, BlockPart, StageContext
from vitsearch.spaces.parts.tokens.steps import TokenStep, tokens_in_words
from vitsearch.spaces.plan import PiecePlan
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import words_of


@dataclass(frozen=True, slots=True)
class BlockNorms:
    """The LayerNorms of a block, in front of its mixer and of its MLP.

    Attributes:
        embed_dim: C.
    """

    embed_dim: int

    def cost(self) -> Cost:
        """Scales and shifts."""
        return Cost(0, 4 * self.embed_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """A pre-norm block: x + mixer(norm1(x)), then x + mlp(norm2(x)), on (B, N, C).

    Attributes:
        embed_dim: C.
        norm_eps: Of both LayerNorms.
        mixer: What mixes tokens.
        mlp: What mixes channels.
        tokens: How tokens become fewer between them; `None` where all go on.
    """

    embed_dim: int
    norm_eps: float
    mixer: PiecePlan
    mlp: PiecePlan
    tokens: TokenStep | None = None

    def pieces(self) -> tuple[Costed, ...]:
        """All that costs something."""
        own = (BlockNorms(self.embed_dim), self.mixer, self.mlp)
        return own if self.tokens is None else (*own, self.tokens)

    def cost(self) -> Cost:
        """Mixer, MLP, two LayerNorms, and what it costs to compare tokens."""
        return sum((piece.cost() for piece in self.pieces()), Cost())

    def words(self, *, short: bool = False) -> str:
        """The mixer, and how wide the MLP is."""
        hidden = getattr(self.mlp, "hidden_dim", None)
        ratio = "" if hidden is None else f", MLP x{hidden / self.embed_dim:.3g}"
        return f"{words_of(self.mixer, short=short)}{ratio}{tokens_in_words(self.tokens)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerBlock(BlockKind):
    """A mixer and an MLP, each behind a LayerNorm and beside a shortcut.

    Attributes:
        norm_eps: Of the LayerNorms.
        mixer: What mixes tokens.
        mlp: What mixes channels.
    """

    norm_eps: float
    mixer: BlockPart
    mlp: BlockPart

    def pieces(self) -> Mapping[str, BlockPart]:
        """Mixer and MLP."""
        return {"mixer": self.mixer, "mlp": self.mlp}

    def assemble(self, pieces: Mapping[str, PiecePlan], tokens: Tokens) -> BlockPlan:
        """Both in a block."""
        mixer, mlp = pieces["mixer"], pieces["mlp"]
        return BlockPlan(embed_dim=tokens.embed_dim, norm_eps=self.norm_eps, mixer=mixer, mlp=mlp)

    def own_cost(self, tokens: Tokens) -> Cost:
        """The LayerNorms."""
        return cost_of(BlockNorms(tokens.embed_dim))


@BLOCKS.register("transformer")
def _transformer(settings: Settings, context: StageContext) -> TransformerBlock:
    own = Settings(context.config, "space", stage=context.index, num_stages=context.num_stages)
    return TransformerBlock(
        norm_eps=own.number("norm_eps", 1e-6),
        mixer=MIXERS.build(context.config.get("mixer"), context),
        mlp=MLPS.build(context.config.get("mlp"), context),
    )
