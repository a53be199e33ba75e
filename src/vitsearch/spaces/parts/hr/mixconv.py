"""MixConv: convolutions of several kernel sizes side by side, whose outputs are added.

Source: HR-NAS (Ding et al., CVPR 2021), section 3.1; the sizes and counts are those of the
authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitsearch.spaces.choice import Choice
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.parts.base import THERE, Follower, Values
from vitsearch.spaces.parts.hr.step import MapStep


@dataclass(frozen=True, slots=True, kw_only=True)
class MixBranchPlan:
    """One branch: a 1x1 convolution, a depthwise one, a 1x1 convolution.

    Attributes:
        kernel_size: Taps a side of the depthwise convolution, k.
        channels: Inside, c; 0 means that there is no such branch.
        squeezed: Channels inside the block's squeeze-excitation; 0 for none.
        step: Where it leads from and to.
    """

    kernel_size: int
    channels: int
    squeezed: int
    step: MapStep

    @property
    def embed_dim(self) -> int:
        """Channels that come out."""
        return self.step.embed_dim

    def cost(self) -> Cost:
        """Convolutions, the two BatchNorms between them, its share of squeeze and excitation."""
        taps, step = self.kernel_size**2, self.step
        macs = step.in_dim * step.in_pixels + (taps + step.embed_dim) * step.pixels
        params = step.in_dim + taps + step.embed_dim + 4
        if self.squeezed:
            macs, params = macs + 2 * self.squeezed, params + 2 * self.squeezed + 1
        return Cost(self.channels * macs, self.channels * params)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixBranch:
    """A branch with any number of channels.

    Attributes:
        kernel_size: See `MixBranchPlan`.
        channels: Options.
        squeeze_ratio: Of the channels that come in, those inside the squeeze-excitation; 0 for
            none.
    """

    kernel_size: int
    channels: tuple[int, ...]
    squeeze_ratio: float

    @property
    def name(self) -> str:
        """Of its choice."""
        return f"kernel{self.kernel_size}"

    def choices(self) -> tuple[Choice, ...]:
        """How many channels."""
        return (Choice(name=self.name, options=self.channels),)

    def plan(self, values: Values, tokens: MapStep) -> MixBranchPlan:
        """The sizes for one architecture."""
        return MixBranchPlan(
            kernel_size=self.kernel_size,
            channels=int(values[self.name] or 0),
            squeezed=squeezed(self.squeeze_ratio, tokens),
            step=tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MixSumPlan:
    """What stands behind the sum of the branches: a BatchNorm; absent where there is no branch.

    Attributes:
        embed_dim: Channels.
        squeezed: See `MixBranchPlan`; the biases of the squeezed channels belong to no branch.
        there: Whether it has weights.
    """

    embed_dim: int
    squeezed: int
    there: bool

    def cost(self) -> Cost:
        """Scales, shifts, biases."""
        return Cost(0, 2 * self.embed_dim + self.squeezed if self.there else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixSum(Follower):
    """It is there where a branch is.

    Attributes:
        follows: The choices of the branches.
        squeeze_ratio: See `MixBranch`.
        always: Whether it has weights that nothing uses where there is no branch, as in the
            authors' networks.
    """

    follows: tuple[str, ...]
    squeeze_ratio: float
    always: bool

    def plan(self, values: Values, tokens: MapStep) -> MixSumPlan:
        """The sizes for one architecture."""
        return MixSumPlan(
            embed_dim=tokens.embed_dim,
            squeezed=squeezed(self.squeeze_ratio, tokens),
            there=self.always or bool(values[THERE]),
        )


def squeezed(ratio: float, step: MapStep) -> int:
    """Channels inside a squeeze-excitation."""
    return round(ratio * step.in_dim)
