"""The tokens of a network that teaches, whatever class it is of: timm's, or one of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.errors import ConfigError
from vitsearch.supernet import VisionTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTokens:
    """The normalised tokens behind one block.

    Attributes:
        class_token: (B, C); `None` for a network without one.
        patches: (B, C, rows, columns).
    """

    class_token: Tensor | None
    patches: Tensor

    @property
    def width(self) -> int:
        """C."""
        return self.patches.shape[1]

    def patches_on(self, grid: tuple[int, int]) -> Tensor:
        """(B, patches, C) on a grid, row by row; resized bilinearly from another grid."""
        own = self.patches
        if own.shape[-2:] != grid:
            wide = own if own.dtype == torch.float64 else own.float()  # no kernel in half
            own = F.interpolate(wide, size=grid, mode="bilinear", antialias=True).to(own.dtype)
        return own.flatten(2).transpose(1, 2)


def tokens_and_logits(
    network: nn.Module, images: Tensor, layers: Sequence[int]
) -> tuple[tuple[LayerTokens, ...], Tensor | None]:
    """Images (B, C, H, W) to the tokens behind some blocks, and to logits where there is a head.

    Args:
        network: With timm's face: `forward_intermediates`, `forward_head`.
        images: As the network expects them.
        layers: Indices into its blocks; negative ones count from the last.

    Raises:
        ConfigError: The network does not have that face, or not so many blocks.
    """
    face: Any = network
    if not hasattr(network, "forward_intermediates"):
        raise ConfigError(
            f"teacher: {type(network).__name__} has no forward_intermediates, so its tokens are "
            f"not known; take a vision transformer of timm, or a model folder"
        )
    count = _num_blocks(network)
    for layer in layers:
        if not -count <= layer < count:
            raise ConfigError(f"layers={list(layers)}: the teacher has {count} blocks")
    places = sorted({layer % count for layer in layers})
    final, found = face.forward_intermediates(
        images, indices=places, return_prefix_tokens=True, norm=True, output_fmt="NCHW"
    )
    by_place = dict(zip(places, found, strict=True))
    tokens = tuple(_layer_tokens(network, by_place[layer % count]) for layer in layers)
    logits = face.forward_head(final) if getattr(network, "num_classes", 0) else None
    return tokens, logits


def _layer_tokens(network: nn.Module, found: Tensor | Sequence[Tensor]) -> LayerTokens:
    """What timm's and our networks return: a map, or a map and the tokens in front of it."""
    patches, prefix = (found, None) if isinstance(found, Tensor) else found
    assert isinstance(patches, Tensor)
    has_class = prefix is not None and prefix.shape[1] > 0 and has_class_token(network)
    return LayerTokens(class_token=prefix[:, 0] if has_class else None, patches=patches)  # type: ignore[index]


def has_class_token(network: nn.Module) -> bool:
    """Whether the first token is the class token."""
    if isinstance(network, VisionTransformer):
        return network.num_prefix_tokens > 0 and getattr(network.plan.stem, "class_token", True)
    return getattr(network, "cls_token", None) is not None


def _num_blocks(network: nn.Module) -> int:
    if isinstance(network, VisionTransformer):
        return len(network.feature_points)
    return len(getattr(network, "blocks", ()))
