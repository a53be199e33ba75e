"""Plain multi-head self-attention with a choice of heads, each of a fixed dimension."""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost, attention_cost, linear_cost
from vitsearch.spaces.parts.base import MIXERS, StageContext, TokenContext, Values
from vitsearch.spaces.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPlan:
    """Sizes of self-attention on (B, N, C).

    Attributes:
        embed_dim: C.
        num_tokens: N.
        num_heads: Attention heads.
        head_dim: Channels of a head.
    """

    embed_dim: int
    num_tokens: int
    num_heads: int
    head_dim: int

    def cost(self) -> Cost:
        """Projections to q, k and v, scores, weighted sums, output projection."""
        inner, tokens = self.num_heads * self.head_dim, self.num_tokens
        qkv = linear_cost(self.embed_dim, 3 * inner, num_tokens=tokens)
        proj = linear_cost(inner, self.embed_dim, num_tokens=tokens)
        return qkv + proj + Cost(attention_cost(tokens, inner), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Self-attention with the choice `num_heads`.

    Attributes:
        num_heads: Options.
        head_dim: Channels of a head, whatever the number of heads.
    """

    num_heads: tuple[int, ...]
    head_dim: int

    def choices(self) -> tuple[Choice, ...]:
        """`num_heads`."""
        return (Choice(name="num_heads", options=self.num_heads),)

    def plan(self, values: Values, tokens: TokenContext) -> AttentionPlan:
        """The sizes for one architecture."""
        return AttentionPlan(
            embed_dim=tokens.embed_dim,
            num_tokens=tokens.num_tokens,
            num_heads=int(values["num_heads"] or 0),
            head_dim=self.head_dim,
        )


@MIXERS.register("attention")
def _attention(settings: Settings, context: StageContext) -> Attention:
    num_heads = settings.integers("num_heads")
    head_dim = settings.optional_integer("head_dim")
    if head_dim is None:
        head_dim = max(max(context.embed_dims) // max(num_heads), 1)
    return Attention(num_heads=num_heads, head_dim=head_dim)
