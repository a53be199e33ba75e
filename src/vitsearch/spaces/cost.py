"""What a network costs in closed form: multiply-accumulates of one image, and parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Cost:
    """MACs and parameters; add them up, compare them (by MACs first).

    Attributes:
        macs: Multiply-accumulates of convolutions and matrix products for one image; attention
            scores, weighted sums and the classifier included; nothing for norms, biases and
            activations. `torch.utils.flop_counter.FlopCounterMode` reports twice this number.
        params: Learned numbers; BatchNorm statistics are not learned.
    """

    macs: int = 0
    params: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params)


def linear_cost(in_features: int, out_features: int, *, num_tokens: int = 1) -> Cost:
    """A linear layer (or a 1x1 convolution) with bias, applied to `num_tokens` positions."""
    weights = in_features * out_features
    return Cost(num_tokens * weights, weights + out_features)


def attention_cost(num_tokens: int, inner_dim: int) -> int:
    """MACs of q k^T and of the weighted sum of v, over all heads together."""
    return 2 * num_tokens * num_tokens * inner_dim
