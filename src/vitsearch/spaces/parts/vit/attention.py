"""Mixer `vit_attention`: timm's self-attention with heads and both of their widths to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import MIXERS, StageContext, Values
from vitsearch.spaces.parts.norms import NormKind, read_norm
from vitsearch.spaces.parts.tokens.keys import Keys
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import Segment, heads_in_words

BIASES = ("all", "none", "qv")


@dataclass(frozen=True, slots=True, kw_only=True)
class VitAttentionPlan:
    """Sizes of self-attention on (B, N, C).

    Attributes:
        embed_dim: C.
        num_tokens: N.
        num_heads: Attention heads.
        qk_dim: Channels of a head's queries and keys.
        head_dim: Channels of a head's values.
        scale_dim: Scores are scaled by its root; the head dimension of the largest network.
        qkv_bias: Which projections have a bias: `all`, `none`, or `qv` (not the keys').
        proj_bias: Whether the output projection has one.
        qk_norm: Of each head's queries and keys; `None` for none.
        inner_norm: Of the joined heads, before the output projection; `None` for none.
    """

    embed_dim: int
    num_tokens: int
    num_heads: int
    qk_dim: int
    head_dim: int
    scale_dim: int
    qkv_bias: str
    proj_bias: bool
    qk_norm: NormKind | None
    inner_norm: NormKind | None

    @property
    def keys(self) -> Keys:
        """By which tokens are compared."""
        return Keys(self.num_heads, self.qk_dim, self.scale_dim)

    def cost(self) -> Cost:
        """Projections, scores, weighted sums, norms."""
        tokens, dim = self.num_tokens, self.embed_dim
        queries, values = self.num_heads * self.qk_dim, self.num_heads * self.head_dim
        weights = dim * (2 * queries + 2 * values)
        biases = {"all": 2 * queries + values, "qv": queries + values, "none": 0}[self.qkv_bias]
        params = weights + biases + (dim if self.proj_bias else 0)
        total = Cost(tokens * weights + tokens * tokens * (queries + values), params)
        if self.qk_norm is not None:
            total = total + self.qk_norm.cost(self.qk_dim) + self.qk_norm.cost(self.qk_dim)
        return total if self.inner_norm is None else total + self.inner_norm.cost(values)

    def words(self, *, short: bool = False) -> str:
        """The heads, and the width of their queries where it is another."""
        heads = heads_in_words(self.num_heads, self.head_dim)
        return heads if self.qk_dim == self.head_dim else f"{heads} (queries {self.qk_dim})"

    def segments(self) -> tuple[Segment, ...]:
        """A run for each head."""
        return (Segment(kind="head", channels=self.head_dim),) * self.num_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class VitAttention:
    """Self-attention with the choices `num_heads`, `qk_dim` and `v_dim`.

    Attributes:
        num_heads: Options.
        qk_dims: Options for the channels of a head's queries and keys.
        v_dims: Options for the channels of a head's values.
        scale_dim: See `VitAttentionPlan`, as for the fixed settings that follow.
    """

    num_heads: tuple[int, ...]
    qk_dims: tuple[int, ...]
    v_dims: tuple[int, ...]
    scale_dim: int
    qkv_bias: str
    proj_bias: bool
    qk_norm: NormKind | None
    inner_norm: NormKind | None

    needs_places: ClassVar[bool] = False
    always_attends: ClassVar[bool] = True

    def choices(self) -> tuple[Choice, ...]:
        """`num_heads`, `qk_dim`, `v_dim`."""
        return (
            Choice(name="num_heads", options=self.num_heads),
            Choice(name="qk_dim", options=self.qk_dims),
            Choice(name="v_dim", options=self.v_dims),
        )

    def plan(self, values: Values, tokens: Tokens) -> VitAttentionPlan:
        """The sizes for one architecture."""
        return VitAttentionPlan(**self.sizes(values, tokens))

    def sizes(self, values: Values, tokens: Tokens) -> dict[str, Any]:
        """The fields of `VitAttentionPlan` for one architecture; attention of other kinds adds."""
        return {
            "embed_dim": tokens.embed_dim,
            "num_tokens": tokens.num_tokens,
            "num_heads": int(values["num_heads"] or 0),
            "qk_dim": int(values["qk_dim"] or 0),
            "head_dim": int(values["v_dim"] or 0),
            "scale_dim": self.scale_dim,
            "qkv_bias": self.qkv_bias,
            "proj_bias": self.proj_bias,
            "qk_norm": self.qk_norm,
            "inner_norm": self.inner_norm,
        }


@MIXERS.register("vit_attention")
def _vit_attention(settings: Settings, context: StageContext) -> VitAttention:
    return VitAttention(**read_attention(settings, context))


def read_attention(settings: Settings, context: StageContext) -> dict[str, Any]:
    """The fields of `VitAttention` from its section; attention of other kinds reads more.

    Raises:
        SpaceError: A setting is not legal, or queries and keys that are normalised have a choice
            of widths.
    """
    num_heads = settings.integers("num_heads")
    full = max(max(context.embed_dims) // max(num_heads), 1)
    qk_dims, v_dims = settings.integers("qk_dims", full), settings.integers("v_dims", full)
    qk_norm = read_norm(settings, "qk_norm", None)
    if qk_norm is not None and len(qk_dims) > 1:
        raise SpaceError(
            f"{settings.path}.qk_dims={list(qk_dims)}: queries and keys that are normalised "
            f"(qk_norm) keep their width; give one option"
        )
    return {
        "num_heads": num_heads,
        "qk_dims": qk_dims,
        "v_dims": v_dims,
        "scale_dim": settings.integer("scale_dim", max(qk_dims)),
        "qkv_bias": settings.word("qkv_bias", BIASES, "all"),
        "proj_bias": settings.flag("proj_bias", True),
        "qk_norm": qk_norm,
        "inner_norm": read_norm(settings, "inner_norm", None),
    }
