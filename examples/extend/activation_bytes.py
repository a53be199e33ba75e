"""A metric in closed form: the bytes of activations that a network holds at once, for one image.

It is the number of the hungriest piece: what comes in, what goes out, and what lies in between
where that is wider (the hidden channels of an MLP; q, k and v), in float32.
"""

from __future__ import annotations

from typing import Any

from vitsearch.costs import Metric
from vitsearch.spaces.parts import (
    ClassifierPlan,
    ConvStemPlan,
    GlitMixerPlan,
    MlpPlan,
    PatchStemPlan,
    ReductionPlan,
)


def activation_bytes(piece: Any, num_classes: int) -> int:
    """What one piece holds; the number of classes counts in the head."""
    return 4 * _numbers(piece, num_classes)


def _numbers(piece: Any, num_classes: int) -> int:
    match piece:
        case PatchStemPlan():
            pixels = piece.in_chans * piece.patch_size**2
            return piece.num_patches * (pixels + piece.embed_dim)
        case ConvStemPlan():
            return max(2 * piece.mid_chans * piece.half_size**2, _numbers(piece.patch, 0))
        case ReductionPlan():
            before = piece.in_grid[0] * piece.in_grid[1] * piece.in_dim
            return before + piece.num_patches * piece.embed_dim
        case ClassifierPlan():
            return piece.embed_dim + num_classes
        case MlpPlan():
            inner = piece.hidden_dim
        case GlitMixerPlan():
            inner = max(3 * piece.num_heads * piece.head_dim, 2 * piece.local_inner)
        case _ if hasattr(piece, "head_dim"):
            inner = 3 * piece.num_heads * piece.head_dim
        case _:  # norms work on what is there; no numbers of convolutions
            return 0
    return int(piece.num_tokens * (piece.embed_dim + max(piece.embed_dim, inner)))


ACTIVATIONS = Metric(
    name="activation_bytes",
    kind="closed form",
    label="activations",
    unit="B",
    piece=activation_bytes,
    joining="max",
)
