"""AutoFormer's attention: plain heads with relative positions on keys and values.

Source: AutoFormer: Searching Transformers for Visual Recognition (ICCV 2021), section 3, after
Self-Attention with Relative Position Representations (2018).
"""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.attention import Attention, attention_cost_of
from vitsearch.spaces.parts.base import MIXERS, StageContext, Values
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import Segment, heads_in_words


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeAttentionPlan:
    """Sizes of self-attention with relative positions on (B, N, C).

    Attributes:
        embed_dim: C.
        num_tokens: N.
        grid: Rows and columns of patch tokens.
        num_heads: Attention heads.
        head_dim: Channels of a head, and of a position's embedding.
        max_distance: Rows or columns beyond which positions are not told apart.
    """

    embed_dim: int
    num_tokens: int
    grid: tuple[int, int]
    num_heads: int
    head_dim: int
    max_distance: int

    @property
    def num_entries(self) -> int:
        """Entries of a table: the distances to either side, 0, and one for prefix tokens."""
        return 2 * self.max_distance + 2

    @property
    def dense(self) -> bool:
        """Whether an embedding for each pair of tokens costs less than products with the tables.

        Each query meets N embeddings in the one form, two tables' entries in the other.
        """
        return self.num_tokens < 2 * self.num_entries

    def cost(self) -> Cost:
        """Plain attention, and two tables for keys and two for values, in the cheaper form."""
        inner = self.num_heads * self.head_dim
        met = self.num_tokens if self.dense else 2 * self.num_entries
        relative = Cost(2 * self.num_tokens * met * inner, 4 * self.num_entries * self.head_dim)
        return attention_cost_of(self.embed_dim, inner, self.num_tokens) + relative

    def words(self, *, short: bool = False) -> str:
        """The heads."""
        return heads_in_words(self.num_heads, self.head_dim)

    def segments(self) -> tuple[Segment, ...]:
        """A run for each head."""
        return (Segment(kind="head", channels=self.head_dim),) * self.num_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeAttention:
    """The choice `num_heads`.

    Attributes:
        plain: Heads and their dimension.
        max_distance: See `RelativeAttentionPlan`.
    """

    plain: Attention
    max_distance: int

    def choices(self) -> tuple[Choice, ...]:
        """`num_heads`."""
        return self.plain.choices()

    def plan(self, values: Values, tokens: Tokens) -> RelativeAttentionPlan:
        """The sizes for one architecture."""
        plain = self.plain.plan(values, tokens)
        return RelativeAttentionPlan(
            embed_dim=plain.embed_dim,
            num_tokens=plain.num_tokens,
            grid=tokens.grid,
            num_heads=plain.num_heads,
            head_dim=plain.head_dim,
            max_distance=self.max_distance,
        )


@MIXERS.register("relative_attention")
def _relative_attention(settings: Settings, context: StageContext) -> RelativeAttention:
    return RelativeAttention(
        plain=Attention.read(settings, context),
        max_distance=settings.integer("max_distance", 14),
    )
