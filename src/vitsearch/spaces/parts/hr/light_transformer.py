"""The light transformer: every channel of a map that was resized to 8 x 8 is a token.

Attention is between channels; a token's width is the 64 positions. An encoder layer relates the
tokens; a decoder layer asks them with learned queries, one for each token.

Source: HR-NAS (Ding et al., CVPR 2021), section 3.2. The authors' decoder adds its attention to the
encoder's output and not to the queries, so there are as many queries as tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost, attention_cost
from vitsearch.spaces.parts.base import Values
from vitsearch.spaces.parts.hr.step import MapStep

SIDE = 8
TOKEN_DIM = SIDE * SIDE
POSITIONS = 2
"""Maps of positions, which the input projection sees beside the channels."""
LAYERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LightTransformerPlan:
    """Sizes of a light transformer.

    Attributes:
        num_tokens: n; 0 means that there is none.
        in_dim: Channels of the map.
        embed_dim: Channels that come out.
        grid: Rows and columns that come out.
        adds_input: Whether the map itself is added to what comes out.
        dropout: In training: of attention, behind it, and twice in the feed-forward networks.
    """

    num_tokens: int
    in_dim: int
    embed_dim: int
    grid: tuple[int, int]
    adds_input: bool
    dropout: float

    def cost(self) -> Cost:
        """Projections to tokens and back with their BatchNorms, two layers, the queries."""
        n, d = self.num_tokens, TOKEN_DIM
        if not n:
            return Cost()
        projections = n * (self.in_dim + POSITIONS + self.embed_dim)
        weights = 6 * d * d  # of a layer: q, k, v, output, and two of the feed-forward network
        macs = d * projections + LAYERS * (n * weights + attention_cost(n, d))
        norms = LAYERS * 2 * 2 * d + 2 * n + 2 * self.embed_dim
        return Cost(macs, projections + LAYERS * weights + norms + n * d)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightTransformer:
    """A light transformer with any number of tokens.

    Attributes:
        num_tokens: Options; 0 is none.
        dropout: See `LightTransformerPlan`.
    """

    num_tokens: tuple[int, ...]
    dropout: float

    def choices(self) -> tuple[Choice, ...]:
        """`tokens`."""
        return (Choice(name="tokens", options=self.num_tokens),)

    def plan(self, values: Values, tokens: MapStep) -> LightTransformerPlan:
        """The sizes for one architecture."""
        return LightTransformerPlan(
            num_tokens=int(values["tokens"] or 0),
            in_dim=tokens.in_dim,
            embed_dim=tokens.embed_dim,
            grid=tokens.grid,
            adds_input=tokens.is_plain,
            dropout=self.dropout,
        )
