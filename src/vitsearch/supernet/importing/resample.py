"""Position embeddings for another image size: bicubic on the patch grid, prefix tokens kept."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from vitsearch.errors import CheckpointError


def resample_positions(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state dict of our names whose position embeddings fit a network of another image size.

    Every `pos_embed` is resampled: the stem's, those private to a patch size, and those of
    transitions between stages. Other tensors, and embeddings that fit, are passed on as they are.

    Args:
        state: Weights of the same architecture, or supernet, at its own image size.
        network: What they are to fit; its image size is read off its own embeddings.

    Raises:
        CheckpointError: A position embedding is not that of a square grid.
    """
    wanted = network.state_dict()
    return {
        name: _resampled(name, tensor, wanted)
        if name.endswith("pos_embed") and name in wanted
        else tensor
        for name, tensor in state.items()
    }


def _resampled(name: str, positions: Tensor, wanted: Mapping[str, Tensor]) -> Tensor:
    target = wanted[name]
    if positions.shape == target.shape:
        return positions
    parent = name.removesuffix("pos_embed")
    # Prefix tokens lie beside the embedding that counts them; transitions have none.
    num_prefix_tokens = sum(
        tensor.shape[1]
        for other, tensor in wanted.items()
        if other.startswith(parent) and other.removeprefix(parent) in ("cls_token", "dist_token")
    )
    old, new = (_side(name, tensor, num_prefix_tokens) for tensor in (positions, target))
    resampled: Tensor = resample_abs_pos_embed(
        positions, [new, new], [old, old], num_prefix_tokens=num_prefix_tokens
    )
    return resampled


def _side(name: str, positions: Tensor, num_prefix_tokens: int) -> int:
    patches = positions.shape[1] - num_prefix_tokens if positions.dim() == 3 else -1
    if patches < 1 or isqrt(patches) ** 2 != patches:
        raise CheckpointError(
            f"{name} {tuple(positions.shape)} is no position embedding (1, {num_prefix_tokens} + "
            f"side x side, C)"
        )
    return isqrt(patches)
