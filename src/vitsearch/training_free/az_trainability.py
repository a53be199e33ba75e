"""Trainability of AZ-NAS: whether gradients keep their size on the way back.

Source: AZ-NAS (Lee and Ham, CVPR 2024), section 3.2.
"""

from __future__ import annotations

from statistics import fmean

import torch
from torch import Tensor, nn

from vitsearch.training_free.base import Candidate, TrainingFreeScore
from vitsearch.training_free.half_blocks import TRANSFORMER_BLOCKS, HalfBlock, half_blocks

_EPS = 1e-6


def az_trainability(network: nn.Module, images: Tensor, generator: torch.Generator) -> float:
    """Mean over half blocks of 2 - s - 1 / (s + 1e-6); 0 at most, but for the epsilon.

    s is the largest singular value of g_in^T g_out / (B N): g_out (B N, C) is drawn from -1 and 1,
    g_in is its pull-back through the half block. Halves in which tokens become fewer have no such
    product and are left out; without any half the network is the identity there, which has 0.

    Args:
        network: In evaluation mode.
        images: (B, C, H, W).
        generator: Draws signs.
    """
    kept = [h for h in half_blocks(network, images) if h.before.shape == h.after.shape]
    values = [_largest_singular_value(half, generator) for half in kept]
    return fmean(2 - s - 1 / (s + _EPS) for s in values) if values else 0.0


def _largest_singular_value(half: HalfBlock, generator: torch.Generator) -> float:
    drawn = torch.randint(0, 2, half.after.shape, generator=generator)
    signs = (2 * drawn - 1).to(half.after)
    (pulled,) = torch.autograd.grad(half.after, half.before, signs, retain_graph=True)
    rows_in, rows_out = pulled.double().flatten(0, 1), signs.double().flatten(0, 1)
    return float(torch.linalg.matrix_norm(rows_in.mT @ rows_out / len(rows_in), ord=2))


def _compute(candidate: Candidate) -> float:
    return az_trainability(candidate.network_on_images(), candidate.images, candidate.generator())


AZ_TRAINABILITY = TrainingFreeScore(
    name="az_trainability",
    title="trainability (AZ-NAS)",
    paper="Lee and Ham, CVPR 2024",
    needs="one forward pass of a batch of images, a backward pass of each half block",
    compute=_compute,
    requires=TRANSFORMER_BLOCKS,
)
