"""The sizes of a module of Visual Transformers, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from vitsearch.spaces.cost import Cost
from vitsearch.spaces.words import Segment, heads_in_words

FILTER, POOL, RECURRENT, NONE = "filter", "pool", "recurrent", "none"
TRANSFORMER = "transformer"
RELATIONS = (TRANSFORMER, "pointwise", "graph")
NORMS = ("layer", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class VtSizes:
    """What a stage fixes of one of its modules.

    Attributes:
        in_dim: c, channels of the map that comes in.
        grid: Its rows and columns.
        out_dim: C, channels of the map that the projector makes; 0 without a projector.
        token_dim: D, channels of the tokens.
        num_tokens: L.
        tokenizer: `filter`, `pool`, `recurrent`, or `none`: the tokens that come in go on.
        gives_map: Whether the map goes on.
        gives_tokens: Whether the tokens go on.
        num_prefix_tokens: In front of the patches, where tokens of patches come in as a map.
    """

    in_dim: int
    grid: tuple[int, int]
    out_dim: int
    token_dim: int
    num_tokens: int
    tokenizer: str
    gives_map: bool
    gives_tokens: bool
    num_prefix_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VtPlan:
    """Sizes of a module.

    Attributes:
        sizes: What its stage fixes.
        num_heads: Of tokenizer, transformer and projector.
        num_layers: Transformers in a row; 1 of another relation.
        hidden_dim: Between the two layers of a transformer's MLP; 0 without one.
        relation: `transformer`; `pointwise`, one layer of D x D; `graph`, the same and a mix of
            tokens (table 5).
        renewed: Tokens that a recurrent tokenizer asks for; the others stay.
        pixel_group: Channels of a group of the layers on pixels.
        token_group: Channels of a group of queries, keys and values of tokens.
        norm: `layer` or `none`: BatchNorm behind layers on pixels and LayerNorm in front of those
            on tokens, or neither.
        scaled: Whether scores are divided by the root of a head's channels.
    """

    sizes: VtSizes
    num_heads: int
    num_layers: int
    hidden_dim: int
    relation: str
    renewed: int
    pixel_group: int
    token_group: int
    norm: str
    scaled: bool

    @property
    def embed_dim(self) -> int:
        """Channels of what goes on: of tokens, else of the map."""
        own = self.sizes
        return own.token_dim if own.gives_tokens else own.out_dim or own.in_dim

    @property
    def pixels(self) -> int:
        """Of the map."""
        return self.sizes.grid[0] * self.sizes.grid[1]

    @property
    def query_columns(self) -> int:
        """Channels that a group of the projector's query layer sees."""
        own = self.sizes
        return own.in_dim * self.pixel_group // own.out_dim if own.out_dim else 0

    @property
    def pooled_grid(self) -> tuple[int, int]:
        """Rows and columns of pooled tokens."""
        return pooled_grid(self.sizes.num_tokens) or (1, self.sizes.num_tokens)

    @property
    def has_shortcut(self) -> bool:
        """Whether the map goes through a layer on its way around the projector."""
        return bool(self.sizes.out_dim) and self.sizes.in_dim != self.sizes.out_dim

    @property
    def _batch_norms(self) -> int:
        return 2 if self.norm != "none" else 0

    def cost(self) -> Cost:
        """Tokenizer, transformers and projector."""
        return self.tokenizer_cost() + self.relation_cost() + self.projector_cost()

    def tokenizer_cost(self) -> Cost:
        """Pixels to tokens."""
        own, n = self.sizes, self.pixels
        c, dim = own.in_dim, own.token_dim
        if own.tokenizer == NONE:
            return Cost()
        if own.tokenizer == POOL:
            return Cost(own.num_tokens * c * dim, c * dim)
        pixel = c * self.pixel_group
        normed = self._batch_norms * c
        if own.tokenizer == FILTER:
            tokens = own.num_tokens
            macs, params = n * c * tokens, c * tokens
        else:
            tokens = self.renewed
            macs = tokens * dim * c + n * pixel + n * tokens * c
            params = dim * c + pixel + normed
        macs += n * pixel + n * tokens * c + tokens * c * dim
        return Cost(macs, params + pixel + normed + c * dim)

    def relation_cost(self) -> Cost:
        """Tokens to tokens."""
        tokens, dim = self.sizes.num_tokens, self.sizes.token_dim
        if self.relation != TRANSFORMER:
            mix = tokens * tokens if self.relation == "graph" else 0
            return Cost(tokens * dim * dim + mix * dim, dim * dim + mix)
        weights = 2 * dim * self.token_group + 2 * dim * self.hidden_dim
        attention = tokens * tokens * (dim // 2 + dim)
        norms = 4 * dim if self.norm != "none" else 0
        return Cost(
            self.num_layers * (tokens * weights + attention), self.num_layers * (weights + norms)
        )

    def projector_cost(self) -> Cost:
        """Tokens to pixels."""
        own, n = self.sizes, self.pixels
        if not own.out_dim:
            return Cost()
        on_tokens = 2 * own.token_dim * own.out_dim
        query = own.out_dim * self.query_columns
        shortcut = own.in_dim * own.out_dim if self.has_shortcut else 0
        norms = self._batch_norms * own.out_dim * (2 + self.has_shortcut)
        macs = own.num_tokens * on_tokens + n * (query + shortcut)
        macs += 2 * n * own.num_tokens * own.out_dim
        return Cost(macs, on_tokens + query + shortcut + norms)

    def words(self, *, short: bool = False) -> str:
        """Where the tokens come from, how they talk, and whether they go back to the map."""
        own = self.sizes
        heads = heads_in_words(self.num_heads, own.token_dim // self.num_heads)
        made = {
            FILTER: f"{own.num_tokens} tokens by filters",
            POOL: f"{own.num_tokens} pooled tokens",
            RECURRENT: f"{own.num_tokens} recurrent tokens",
            NONE: f"{own.num_tokens} tokens",
        }[own.tokenizer]
        if short:
            return made
        mlp = f", MLP x{self.hidden_dim / own.token_dim:.3g}" if self.hidden_dim else ""
        return f"{made}, {heads}{mlp}{', projector' if own.out_dim else ''}"

    def segments(self) -> tuple[Segment, ...]:
        """The channels of the tokens, head by head."""
        each = self.sizes.token_dim // self.num_heads
        return tuple(Segment(kind="head", channels=each) for _ in range(self.num_heads))


def pooled_grid(count: int) -> tuple[int, int] | None:
    """The most even rows and columns of so many tokens; `None` for a prime."""
    rows = next(rows for rows in range(isqrt(count), 0, -1) if count % rows == 0)
    return None if rows == 1 and count > 3 else (rows, count // rows)
