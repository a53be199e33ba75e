"""What a block does to its tokens between its mixer and its MLP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from vitsearch.spaces.cost import Cost, linear_cost
from vitsearch.spaces.parts.tokens.keys import keys_of


class TokenStep(Protocol):
    """A block's part in having fewer tokens; what it costs depends on the block's mixer, too."""

    @property
    def num_tokens(self) -> int:
        """Tokens that come in, N, prefix tokens included."""

    @property
    def num_left(self) -> int:
        """Tokens that go on to the MLP, prefix tokens included."""

    @property
    def in_front(self) -> bool:
        """Whether it happens in front of the mixer, so that the mixer has fewer tokens, too."""

    @property
    def is_last(self) -> bool:
        """Whether the block gives all tokens back to their places: the last one of its stage."""

    def beside(self, mixer: Any) -> Self:
        """The same in a block with this mixer (its plan)."""

    def cost(self) -> Cost:
        """MACs of comparing tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeStep:
    """Merge the most similar tokens, pair by pair (ToMe, section 3).

    Attributes:
        num_tokens: N that come in, prefix tokens included.
        merged: r, how many fewer go on; 0 where tokens were merged before and none are here.
        num_prefix_tokens: Tokens in front, which never merge.
        proportional: Whether attention counts a token as often as it has patches.
        in_order: Whether tokens go on in the order of the image, for mixers that look at
            neighbours; if not, those of the first set stand before those of the second.
        is_last: Whether the block gives all tokens back to their places.
        key_dim: Channels by which tokens are compared: of a head's keys, or C without attention.
    """

    num_tokens: int
    merged: int
    num_prefix_tokens: int
    proportional: bool
    in_order: bool
    is_last: bool
    key_dim: int = 0

    in_front = False

    @property
    def num_left(self) -> int:
        """N - r."""
        return self.num_tokens - self.merged

    def beside(self, mixer: Any) -> MergeStep:
        """Compares the keys of a mixer, or the tokens themselves where it has none."""
        keys = keys_of(mixer)
        return replace(self, key_dim=mixer.embed_dim if keys is None else keys.dim)

    def cost(self) -> Cost:
        """Each token of one half with each of the other."""
        if not self.merged:
            return Cost()
        return Cost(((self.num_tokens + 1) // 2) * (self.num_tokens // 2) * self.key_dim, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepStep:
    """Keep the patches that the class token looks at most, and fuse the others (EViT, section 3).

    Attributes:
        num_tokens: N that come in, prefix tokens included.
        kept: Patch tokens that stay, k; 0 for a block that ranks none.
        num_prefix_tokens: Tokens in front, which always stay.
        is_last: Whether the block gives all tokens back to their places.
        num_heads: Of the attention that ranks.
        key_dim: Channels of a head's queries and keys.
        scale_dim: Scores are scaled by its root.
    """

    num_tokens: int
    kept: int
    num_prefix_tokens: int
    is_last: bool
    num_heads: int = 0
    key_dim: int = 0
    scale_dim: int = 1

    proportional = False
    in_front = False

    @property
    def num_left(self) -> int:
        """Prefix tokens, those kept, and one in which the others are fused."""
        return self.num_prefix_tokens + self.kept + 1 if self.kept else self.num_tokens

    def beside(self, mixer: Any) -> KeepStep:
        """Ranks by the attention of a mixer."""
        keys = keys_of(mixer)
        if not self.kept:
            return self
        assert keys is not None, "a mixer without attention ranks no tokens"
        num_heads, dim, scale_dim = keys
        return replace(self, num_heads=num_heads, key_dim=dim, scale_dim=scale_dim)

    def cost(self) -> Cost:
        """The class token's queries with all keys, which a fused kernel does not give away."""
        return Cost(self.num_tokens * self.num_heads * self.key_dim if self.kept else 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictStep:
    """Keep the patches that a predictor scores best; the others are gone (DynamicViT, section 3).

    Attributes:
        num_tokens: N that come in, prefix tokens included.
        kept: Patch tokens that stay; 0 for a block that predicts nothing.
        num_patches: Patch tokens of the stage, of which `kept` is a share.
        num_prefix_tokens: Tokens in front, which always stay.
        is_last: Whether the block gives all tokens back to their places.
        embed_dim: C.
    """

    num_tokens: int
    kept: int
    num_patches: int
    num_prefix_tokens: int
    is_last: bool
    embed_dim: int

    proportional = False
    in_front = True

    @property
    def num_left(self) -> int:
        """Prefix tokens and those kept."""
        return self.num_prefix_tokens + self.kept if self.kept else self.num_tokens

    @property
    def share(self) -> float:
        """Of the stage's patch tokens that stay."""
        return self.kept / self.num_patches

    def beside(self, mixer: Any) -> PredictStep:
        """As it is."""
        return self

    def cost(self) -> Cost:
        """The predictor: C to C, C / 2, C / 4, 2, for every patch token that comes in."""
        if not self.kept:
            return Cost()
        dim, patches = self.embed_dim, self.num_tokens - self.num_prefix_tokens
        layers = ((dim, dim), (dim, dim // 2), (dim // 2, dim // 4), (dim // 4, 2))
        linear = sum((linear_cost(*sizes, num_tokens=patches) for sizes in layers), Cost())
        return linear + Cost(0, 2 * dim)


def tokens_in_words(step: TokenStep | None, *, short: bool = False) -> str:
    """How many go on, behind the words for a block; nothing where as many as came in."""
    if step is None or step.num_left == step.num_tokens:
        return ""
    return f", {step.num_left} {'left' if short else f'of {step.num_tokens} tokens go on'}"
