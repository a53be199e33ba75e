"""Pooling by attention: one learned query looks at all tokens (SigLIP's `map`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitsearch.spaces.cost import Cost, linear_cost
from vitsearch.spaces.parts.norms import NormKind, read_norm
from vitsearch.spaces.parts.vit.mlp import ACTIVATIONS
from vitsearch.spaces.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPoolPlan:
    """Sizes of a pool that is always whole: a query, keys and values of all tokens, an MLP.

    Source: Set Transformer (2019), section 3.2, as SigLIP (2023) uses it.

    Attributes:
        embed_dim: C.
        num_tokens: Tokens that it sees.
        num_heads: Attention heads.
        hidden_dim: Hidden width of its MLP.
        activation: Of its MLP.
        norm: In front of its MLP.
    """

    embed_dim: int
    num_tokens: int
    num_heads: int
    hidden_dim: int
    activation: str
    norm: NormKind

    def cost(self) -> Cost:
        """Query, keys and values, scores and weighted sum, projection, norm, MLP."""
        dim, hidden = self.embed_dim, self.hidden_dim
        one_token = linear_cost(dim, dim) + linear_cost(dim, dim)  # query, projection
        mlp = linear_cost(dim, hidden) + linear_cost(hidden, dim)
        all_tokens = linear_cost(dim, 2 * dim, num_tokens=self.num_tokens)
        scores = Cost(2 * self.num_tokens * dim, dim)  # and the learned query
        return one_token + all_tokens + scores + mlp + self.norm.cost(dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPool:
    """The settings of a pool by attention; see `AttentionPoolPlan`.

    Attributes:
        num_heads: Attention heads.
        hidden: Hidden width of its MLP.
        activation: Of its MLP.
        norm: In front of its MLP.
    """

    num_heads: int
    hidden: int
    activation: str
    norm: NormKind

    @staticmethod
    def read(section: Any, path: str) -> AttentionPool:
        """From a section of settings.

        Raises:
            SpaceError: A setting is missing, unknown or out of range.
        """
        settings = Settings(section, path)
        norm = read_norm(settings, "norm", NormKind())
        assert norm is not None
        found = AttentionPool(
            num_heads=settings.integer("num_heads"),
            hidden=settings.integer("hidden"),
            activation=settings.word("activation", ACTIVATIONS, "gelu"),
            norm=norm,
        )
        settings.finish()
        return found

    def plan(self, embed_dim: int, num_tokens: int) -> AttentionPoolPlan:
        """The sizes for one architecture."""
        return AttentionPoolPlan(
            embed_dim=embed_dim,
            num_tokens=num_tokens,
            num_heads=self.num_heads,
            hidden_dim=self.hidden,
            activation=self.activation,
            norm=self.norm,
        )
