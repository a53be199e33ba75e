"""The MLP of a block: linear, GELU, linear; its hidden width is a ratio of C or a number."""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice, Condition, Value
from vitsearch.spaces.cost import Cost, linear_cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import MLPS, StageContext, Values
from vitsearch.spaces.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpPlan:
    """Sizes of an MLP on (B, N, C).

    Attributes:
        embed_dim: C.
        hidden_dim: Width between the two linear layers.
        num_tokens: N.
    """

    embed_dim: int
    hidden_dim: int
    num_tokens: int

    def cost(self) -> Cost:
        """Two linear layers."""
        up = linear_cost(self.embed_dim, self.hidden_dim, num_tokens=self.num_tokens)
        return up + linear_cost(self.hidden_dim, self.embed_dim, num_tokens=self.num_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """An MLP with a choice of width: `mlp_ratio` (of C) or `mlp_hidden` (channels).

    Attributes:
        name: `mlp_ratio` or `mlp_hidden`.
        options: Ratios or channel counts.
        active_when: Conditions on the block's other choices (GLiT: some global heads).
        otherwise: The value where the choice is inactive.
    """

    name: str
    options: tuple[Value, ...]
    active_when: tuple[Condition, ...] = ()
    otherwise: Value | None = None

    def choices(self) -> tuple[Choice, ...]:
        """One choice."""
        return (
            Choice(
                name=self.name,
                options=self.options,
                active_when=self.active_when,
                otherwise=self.otherwise,
            ),
        )

    def plan(self, values: Values, tokens: Tokens) -> MlpPlan:
        """The sizes for one architecture; a ratio is rounded to whole channels."""
        value = values[self.name]
        assert isinstance(value, int | float)
        hidden = round(value * tokens.embed_dim) if self.name == "mlp_ratio" else int(value)
        return MlpPlan(embed_dim=tokens.embed_dim, hidden_dim=hidden, num_tokens=tokens.num_tokens)


@MLPS.register("mlp")
def _mlp(settings: Settings, context: StageContext) -> Mlp:
    if settings.has("ratios") == settings.has("hidden"):
        raise SpaceError(
            "space.mlp takes either ratios (of the width) or hidden (channels), one of the two; "
            "set the other to null"
        )
    conditions: tuple[Condition, ...] = ()
    otherwise: Value | None = None
    if settings.has("needs_global_heads"):
        # GLiT, section 4: a block without global heads keeps this ratio.
        otherwise = settings.number("needs_global_heads")
        conditions = (Condition("global_heads", (1, 2, 3)),)
    if settings.has("ratios"):
        ratios = settings.numbers("ratios")
        narrowest = min(context.embed_dims)
        if round(float(ratios[0]) * narrowest) < 1:
            raise SpaceError(
                f"space.mlp.ratios={list(ratios)}: {ratios[0]} x embed_dim {narrowest} leaves no "
                f"channel"
            )
        return Mlp(
            name="mlp_ratio",
            options=ratios,
            active_when=conditions,
            otherwise=otherwise,
        )
    return Mlp(
        name="mlp_hidden",
        options=settings.integers("hidden"),
        active_when=conditions,
        otherwise=otherwise,
    )
