"""MLP `vit_mlp`: timm's MLPs, gated ones too, with the hidden width to choose."""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.base import MLPS, StageContext, Values
from vitsearch.spaces.parts.norms import NormKind, read_norm
from vitsearch.spaces.settings import Settings

ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "silu", "relu")
GATES = ("none", "split", "first", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class VitMlpPlan:
    """Sizes of an MLP on (B, N, C).

    Attributes:
        embed_dim: C.
        num_tokens: N.
        hidden_dim: Width between the two layers.
        activation: After the first layer, or of the gate.
        gate: `none`; or a gate beside the first layer, whose weights timm keeps apart (`split`) or
            in one matrix, as its `first` or `last` half (SwiGLU).
        bias: Whether the first layer (and the gate) have one.
        proj_bias: Whether the second layer has one.
        inner_norm: In front of the second layer; `None` for none.
    """

    embed_dim: int
    num_tokens: int
    hidden_dim: int
    activation: str
    gate: str
    bias: bool
    proj_bias: bool
    inner_norm: NormKind | None

    def cost(self) -> Cost:
        """Linear layers and norm."""
        inward = 1 if self.gate == "none" else 2
        weights = (inward + 1) * self.embed_dim * self.hidden_dim
        biases = inward * self.hidden_dim * self.bias + self.embed_dim * self.proj_bias
        total = Cost(self.num_tokens * weights, weights + biases)
        return total if self.inner_norm is None else total + self.inner_norm.cost(self.hidden_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class VitMlp:
    """An MLP with the choice `mlp_hidden`.

    Attributes:
        hidden: Options, in channels.
        activation: See `VitMlpPlan`, as for the fixed settings that follow.
    """

    hidden: tuple[int, ...]
    activation: str
    gate: str
    bias: bool
    proj_bias: bool
    inner_norm: NormKind | None

    def choices(self) -> tuple[Choice, ...]:
        """`mlp_hidden`."""
        return (Choice(name="mlp_hidden", options=self.hidden),)

    def plan(self, values: Values, tokens: Tokens) -> VitMlpPlan:
        """The sizes for one architecture."""
        return VitMlpPlan(
            embed_dim=tokens.embed_dim,
            num_tokens=tokens.num_tokens,
            hidden_dim=int(values["mlp_hidden"] or 0),
            activation=self.activation,
            gate=self.gate,
            bias=self.bias,
            proj_bias=self.proj_bias,
            inner_norm=self.inner_norm,
        )


@MLPS.register("vit_mlp")
def _vit_mlp(settings: Settings, context: StageContext) -> VitMlp:
    return VitMlp(
        hidden=settings.integers("hidden"),
        activation=settings.word("activation", ACTIVATIONS, "gelu"),
        gate=settings.word("gate", GATES, "none"),
        bias=settings.flag("bias", True),
        proj_bias=settings.flag("proj_bias", True),
        inner_norm=read_norm(settings, "inner_norm", None),
    )
