"""GLiT's tensors: the same matrices under other names; pointwise layers are 1x1 convolutions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from vitsearch.supernet.storage.importing.take import Family, Shapes, Take, Takes, translate

OURS = "stages.{stage}.blocks.{block}."
THEIRS = "blocks.{number}.0."
NAMES = {
    "stem.embeds.{patch}.cls_token": "cls_token",
    "stem.embeds.{patch}.pos_embed": "pos_embed",
    "stem.embeds.{patch}.{leaf}": "patch_embed.proj.{leaf}",
    OURS + "norm1.{leaf}": THEIRS + "norm1.{leaf}",
    OURS + "mixer.attn.qkv.{leaf}": THEIRS + "attn.qkv.{leaf}",
    OURS + "mixer.attn.proj.{leaf}": THEIRS + "attn.proj.{leaf}",
    OURS + "mixer.local.expand.{leaf}": THEIRS + "attn.net.1.{leaf}",
    OURS + "mixer.local.conv.{leaf}": THEIRS + "attn.net.3.conv.{leaf}",
    OURS + "mixer.local.norm.{leaf}": THEIRS + "attn.net.4.{leaf}",
    OURS + "mixer.local.project.{leaf}": THEIRS + "attn.net.6.{leaf}",
    OURS + "norm2.{leaf}": THEIRS + "norm2.{leaf}",
    OURS + "mlp.{layer}.{leaf}": THEIRS + "mlp.{layer}.{leaf}",
    "norm.{leaf}": "norm.{leaf}",
    "head.{leaf}": "head.{leaf}",
}
POINTWISE = (".local.expand.weight", ".local.project.weight")


def _squeeze(weight: Tensor) -> Tensor:
    return weight.squeeze(-1)


def _takes(shapes: Shapes, given: Collection[str], entry: Mapping[str, Any]) -> Takes:
    for ours, shape in shapes.items():
        theirs = (translate(ours, NAMES),)
        if ours.endswith(POINTWISE):
            yield ours, Take(theirs, (*shape, 1), _squeeze)
        else:
            yield ours, Take(theirs, shape)


GLIT = Family(classifier="head.weight", takes=_takes)
