"""ViTAS's attention: a choice of heads and of width, with maps private to a number of heads.

Source: ViTAS: Vision Transformer Architecture Search (2021), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.attention import attention_cost_of
from vitsearch.spaces.parts.base import MIXERS, StageContext, Values
from vitsearch.spaces.parts.tokens.keys import Keys
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import Segment, heads_in_words

PRIVATE = ("none", "v", "qk")  # modes 0, 1 and 2 of the paper


@dataclass(frozen=True, slots=True, kw_only=True)
class VitasAttentionPlan:
    """Sizes of self-attention whose width does not follow from its heads, on (B, N, C).

    Attributes:
        embed_dim: C.
        num_tokens: N.
        num_heads: Attention heads.
        inner_dim: Channels of q, of k and of v, over all heads.
        private: What every number of heads has weights of its own for: `none`, `v` or `qk`.
    """

    embed_dim: int
    num_tokens: int
    num_heads: int
    inner_dim: int
    private: str

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.inner_dim // self.num_heads

    @property
    def keys(self) -> Keys:
        """By which tokens are compared."""
        return Keys(self.num_heads, self.head_dim, self.head_dim)

    def cost(self) -> Cost:
        """Projections to q, k and v, scores, weighted sums, output projection."""
        return attention_cost_of(self.embed_dim, self.inner_dim, self.num_tokens)

    def words(self, *, short: bool = False) -> str:
        """The heads."""
        return heads_in_words(self.num_heads, self.head_dim)

    def segments(self) -> tuple[Segment, ...]:
        """A run for each head."""
        return (Segment(kind="head", channels=self.head_dim),) * self.num_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class VitasAttention:
    """The choices `num_heads` and `qkv_width`.

    Attributes:
        num_heads: Options.
        qkv_widths: Options for the channels of q, k and v together.
        private: See `VitasAttentionPlan`.
    """

    num_heads: tuple[int, ...]
    qkv_widths: tuple[int, ...]
    private: str

    needs_places: ClassVar[bool] = False
    always_attends: ClassVar[bool] = True

    def choices(self) -> tuple[Choice, ...]:
        """`num_heads`, `qkv_width`."""
        return (
            Choice(name="num_heads", options=self.num_heads),
            Choice(name="qkv_width", options=self.qkv_widths),
        )

    def plan(self, values: Values, tokens: Tokens) -> VitasAttentionPlan:
        """The sizes for one architecture."""
        return VitasAttentionPlan(
            embed_dim=tokens.embed_dim,
            num_tokens=tokens.num_tokens,
            num_heads=int(values["num_heads"] or 0),
            inner_dim=int(values["qkv_width"] or 0) // 3,
            private=self.private,
        )


@MIXERS.register("vitas")
def _vitas(settings: Settings, context: StageContext) -> VitasAttention:
    num_heads = settings.integers("num_heads")
    qkv_widths = settings.integers("qkv_widths")
    for width in qkv_widths:
        for heads in num_heads:
            if width % (3 * heads):
                raise SpaceError(
                    f"space.mixer.qkv_widths={list(qkv_widths)}: a third of {width} must divide by "
                    f"{heads} heads; choose multiples of three times each of {list(num_heads)}"
                )
    return VitasAttention(
        num_heads=num_heads,
        qkv_widths=qkv_widths,
        private=settings.word("private", PRIVATE, "qk"),
    )
