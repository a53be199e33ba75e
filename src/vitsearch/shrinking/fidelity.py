"""How much of a network's features a smaller one keeps, without any labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.errors import ConfigError


class Fidelity:
    """The mean cosine of features with those of the full network, over images.

    Features are what the network's classifier sees, or would see.

    Attributes:
        images: Batches (B, C, H, W).
        references: The full network's features (B, C) of each batch.
    """

    def __init__(self, full: nn.Module, images: Sequence[Tensor]) -> None:
        """Look once at the images with the full network.

        Raises:
            ConfigError: There are no images.
        """
        if not images:
            raise ConfigError("fidelity: there are no images to compare features on")
        self.images = list(images)
        with torch.inference_mode():
            self.references = [features_of(full)(batch) for batch in self.images]

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> float:
        """The score of a network: 1 for the features of the full one."""
        features = features_of(network)
        total, count = 0.0, 0
        for batch, reference in zip(self.images, self.references, strict=True):
            cosines = F.cosine_similarity(features(batch).float(), reference.float(), dim=-1)
            total += float(cosines.double().sum())
            count += len(cosines)
        return total / count


def features_of(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """What gives the pooled features (B, C) of images under timm's names."""

    def features(images: Tensor) -> Tensor:
        tokens = network.forward_features(images)  # type: ignore[operator]
        pooled: Tensor = network.forward_head(tokens, pre_logits=True)  # type: ignore[operator]
        return pooled

    return features
