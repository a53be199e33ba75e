"""The scores that a network would give to each location of its feature map."""

from __future__ import annotations

from math import isqrt
from typing import Any

from torch import Tensor, nn

from vitsearch.errors import ConfigError


def dense_scores(network: nn.Module, images: Tensor) -> Tensor:
    """Images (B, C, H, W) to logits (B, classes, h, w): the head, applied to each location alone.

    The network has timm's face: `forward_features`, and a `forward_head` that pools. Each location
    is given to it as an image of one location, which any pooling leaves as it is. Source: All
    Tokens Matter: Token Labeling (LV-ViT, NeurIPS 2021), section 3.2.

    Raises:
        ConfigError: The network does not have that face, or its features are no map.
    """
    make_features: Any = getattr(network, "forward_features", None)
    classify: Any = getattr(network, "forward_head", None)
    if make_features is None or classify is None:
        raise ConfigError(
            f"teacher: {type(network).__name__} has no forward_features and forward_head, so it "
            f"scores no locations; take a model of timm, or give `scores`"
        )
    features = make_features(images)
    if isinstance(features, Tensor) and features.dim() == 3:
        locations, grid = _of_tokens(network, features)
    elif isinstance(features, Tensor) and features.dim() == 4:
        locations, grid = _of_map(network, features)
    else:
        raise ConfigError(f"teacher: features of {type(network).__name__} are no map of locations")
    scores: Tensor = classify(locations)
    return scores.view(len(images), *grid, -1).permute(0, 3, 1, 2)


def _of_tokens(network: nn.Module, tokens: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Tokens (B, prefix + h * w, C) to one sequence for each patch, and the grid."""
    prefix = int(getattr(network, "num_prefix_tokens", 0))
    patches = tokens[:, prefix:]
    count = patches.shape[1]
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    if grid is None or grid[0] * grid[1] != count:
        grid = (isqrt(count), isqrt(count))
    if grid[0] * grid[1] != count:
        raise ConfigError(f"teacher: {count} patch tokens are no square map")
    # The patch stands where prefix tokens do, too: some heads pool those, some the patches.
    alone = patches.reshape(-1, 1, patches.shape[2]).expand(-1, prefix + 1, -1)
    return alone, (grid[0], grid[1])


def _of_map(network: nn.Module, features: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """A map to one of 1 x 1 for each location, and the grid."""
    _, first, second, last = features.shape
    channels = getattr(network, "num_features", first)
    if first != channels and last == channels:  # Swin and others keep channels last
        return features.reshape(-1, 1, 1, last), (first, second)
    by_location = features.permute(0, 2, 3, 1).reshape(-1, first, 1, 1)
    return by_location, (second, last)
