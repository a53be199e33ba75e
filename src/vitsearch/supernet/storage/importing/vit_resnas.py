"""ViT-ResNAS's tensors: `blocks.N` counts blocks and spatial reductions in one row.

The head that classifies patch tokens in training (`patch_head`) is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from vitsearch.supernet.storage.importing.take import Family, Shapes, Take, Takes, translate

OURS = "stages.{stage}.blocks.{block}."
THEIRS = "blocks.{number}."
NAMES = {
    "stem.conv{i}.weight": "patch_embed.conv{i}.conv.weight",
    "stem.norm{i}.{leaf}": "patch_embed.conv{i}.bn.{leaf}",
    "stem.patch.embeds.{patch}.cls_token": "tokens",
    "stem.patch.embeds.{patch}.pos_embed": "pos_embed",
    "stem.patch.embeds.{patch}.{leaf}": "patch_embed.conv_proj.{leaf}",
    "stages.{stage}.transition.pos_embed.{grid}": "blocks.{number}.pos_embed",
    "stages.{stage}.transition.norm.{leaf}": "blocks.{number}.norm.{leaf}",
    "stages.{stage}.transition.conv.{leaf}": "blocks.{number}.patch_reduce.{leaf}",
    "stages.{stage}.transition.token.{leaf}": "blocks.{number}.token_transform.{leaf}",
    OURS + "norm1.{leaf}": THEIRS + "norm1.{leaf}",
    OURS + "mixer.{layer}.{leaf}": THEIRS + "attn.{layer}.{leaf}",
    OURS + "norm2.{leaf}": THEIRS + "norm2.{leaf}",
    OURS + "mlp.{layer}.{leaf}": THEIRS + "mlp.{layer}.{leaf}",
    "norm.{leaf}": "norm.{leaf}",
    "head.{leaf}": "cls_head.{leaf}",
}
TRAINING_ONLY = ("patch_head.weight", "patch_head.bias")
STAGE_AND_BLOCK = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.")


def _takes(shapes: Shapes, given: Collection[str], entry: Mapping[str, Any]) -> Takes:
    blocks = {match.groups() for name in shapes if (match := STAGE_AND_BLOCK.match(name))}

    def number(stage: int, block: int) -> int:
        """Blocks of the stages before, and a reduction for each of these and this one."""
        return sum(int(other) < stage for other, _ in blocks) + stage + block

    for ours, shape in shapes.items():
        yield ours, Take((translate(ours, NAMES, number),), shape)


VIT_RESNAS = Family(
    classifier="cls_head.weight",
    takes=_takes,
    is_dropped=lambda name, taken: name in TRAINING_ONLY,
)
