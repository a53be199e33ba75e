"""Published networks as models."""

from __future__ import annotations

from vitsearch.spaces.published import published
from vitsearch.supernet.vision_transformer import VisionTransformer


def create_model(
    name: str, num_classes: int = 1000, *, drop_path_rate: float = 0.0
) -> VisionTransformer:
    """A published network with fresh weights.

    Args:
        name: One of `vitsearch.list_published()`.
        num_classes: Outputs of the classifier; 0 for none.
        drop_path_rate: Stochastic depth of the last block.

    Raises:
        SpaceError: An unknown name.
    """
    space, architecture = published(name)
    return VisionTransformer(
        space, architecture, num_classes=num_classes, drop_path_rate=drop_path_rate
    )
