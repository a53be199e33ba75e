"""ResNets' tensors as torchvision and timm name them: `layer1.0` is our `stages.0.blocks.0`.

Those with a deep stem (`resnet50d`, ...) are other networks, and refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vitsearch.errors import CheckpointError
from vitsearch.supernet.storage.importing.take import Family, Shapes, Take, Takes, translate

OURS = "stages.{stage}.blocks.{block}."
THEIRS = "layer{number}."
NAMES = {
    "stem.{layer}.{leaf}": "{layer}.{leaf}",
    OURS + "{layer}.{leaf}": THEIRS + "{block}.{layer}.{leaf}",
    OURS + "downsample.{i}.{leaf}": THEIRS + "{block}.downsample.{i}.{leaf}",
    "head.{leaf}": "fc.{leaf}",
}
_OF_DEEP_STEMS = "conv1.0.weight"


def _takes(shapes: Shapes, given: Collection[str], entry: Mapping[str, Any]) -> Takes:
    if _OF_DEEP_STEMS in given:
        raise CheckpointError(
            f"{_OF_DEEP_STEMS}: this is a ResNet with a deep stem (resnet18d, resnet50d, ...); "
            f"legal are resnet18, resnet34, resnet50, resnet101 with one 7x7 convolution"
        )
    for ours, shape in shapes.items():
        yield ours, Take((translate(ours, NAMES, lambda stage, block: stage + 1),), shape)


RESNET = Family(classifier="fc.weight", takes=_takes)
