"""Plain multi-head self-attention with a choice of heads, each of a fixed dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost, attention_cost, linear_cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import MIXERS, StageContext, Values
from vitsearch.spaces.parts.tokens.keys import Keys
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import Segment, heads_in_words


def attention_cost_of(dim: int, inner: int, num_tokens: int) -> Cost:
    """Self-attention on `dim` channels with `inner` channels in all heads together."""
    qkv = linear_cost(dim, 3 * inner, num_tokens=num_tokens)
    proj = linear_cost(inner, dim, num_tokens=num_tokens)
    return qkv + proj + Cost(attention_cost(num_tokens, inner), 0)


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

    @property
    def keys(self) -> Keys:
        """By which tokens are compared."""
        return Keys(self.num_heads, self.head_dim, self.head_dim)

    def cost(self) -> Cost:
        """Projections to q, k and v, scores, weighted sums, output projection."""
        return attention_cost_of(self.embed_dim, self.num_heads * self.head_dim, self.num_tokens)

    def words(self, *, short: bool = False) -> str:
        """The heads."""
        return heads_in_words(self.num_heads, self.head_dim)

    def segments(self) -> tuple[Segment, ...]:
        """A run for each head."""
        return (Segment(kind="head", channels=self.head_dim),) * self.num_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Self-attention with the choice `num_heads`.

    Attributes:
        num_heads: Options.
        head_dim: Channels of a head, whatever the number of heads.
    """

    num_heads: tuple[int, ...]
    head_dim: int

    needs_places: ClassVar[bool] = False
    always_attends: ClassVar[bool] = True

    @classmethod
    def read(cls, settings: Settings, context: StageContext) -> Attention:
        """From `num_heads` and `head_dim`; the latter by default fills the stage's width."""
        num_heads = settings.integers("num_heads")
        head_dim = settings.optional_integer("head_dim")
        if head_dim is None:
            head_dim = max(max(context.embed_dims) // max(num_heads), 1)
        return cls(num_heads=num_heads, head_dim=head_dim)

    def choices(self) -> tuple[Choice, ...]:
        """`num_heads`."""
        return (Choice(name="num_heads", options=self.num_heads),)

    def plan(self, values: Values, tokens: Tokens) -> AttentionPlan:
        """The sizes for one architecture."""
        return AttentionPlan(
            embed_dim=tokens.embed_dim,
            num_tokens=tokens.num_tokens,
            num_heads=int(values["num_heads"] or 0),
            head_dim=self.head_dim,
        )


@MIXERS.register("attention")
def _attention(settings: Settings, context: StageContext) -> Attention:
    return Attention.read(settings, context)
