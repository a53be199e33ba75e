"""ViTAS's tensors: blocks numbered by their slot, q, k and v in one matrix, another softmax scale.

The authors' retrained networks scale scores by (embed_dim // heads)^-0.5, ours by head_dim^-0.5;
the ratio is folded into q.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitsearch.supernet.storage.importing.take import Family, Shapes, Take, Takes, translate

STEM = "net.backbone_init_stem_Patch_init_0.0."  # the number may be another one
STEM_PATTERN = re.compile(r"net\.backbone_init_stem_Patch_init_\d+\.0\.")
THEIRS = "net.backbone_Block_Block_{number}.0."
CLASSIFIER = "net.backbone_FC_FC_0.0.module.0."
OURS = "stages.{stage}.blocks.{block}."
NAMES = {
    "stem.embeds.{patch}.cls_token": STEM + "cls_token",
    "stem.embeds.{patch}.pos_embed": STEM + "pos_embed",
    "stem.embeds.{patch}.{leaf}": STEM + "patch_embed.proj.{leaf}",
    OURS + "norm1.{leaf}": THEIRS + "norm1.{leaf}",
    OURS + "mixer.qk.{heads}.{leaf}": THEIRS + "attn.qkv.{leaf}",
    OURS + "mixer.v.shared.{leaf}": THEIRS + "attn.qkv.{leaf}",
    OURS + "mixer.proj.{leaf}": THEIRS + "attn.proj.{leaf}",
    OURS + "norm2.{leaf}": THEIRS + "norm2.{leaf}",
    OURS + "mlp.{layer}.{leaf}": THEIRS + "mlp.{layer}.{leaf}",
    "norm.{leaf}": "net.backbone_Norm_Norm_0.0.{leaf}",
    "head.{leaf}": CLASSIFIER + "{leaf}",
}
PRIVATE_QK = re.compile(r"\.mixer\.qk\.(\d+)\.")


def _q_and_k(qkv: Tensor, *, third: int, scale: float) -> Tensor:
    return torch.cat([qkv[:third] * scale, qkv[third : 2 * third]])


def _v(qkv: Tensor, *, third: int) -> Tensor:
    return qkv[2 * third :]


def _takes(shapes: Shapes, given: Collection[str], entry: Mapping[str, Any]) -> Takes:
    slots = entry["authors_tensor_slots"]
    stem = next((match[0] for name in given if (match := STEM_PATTERN.match(name))), STEM)
    for ours, shape in shapes.items():
        theirs = translate(ours, NAMES, lambda stage, block: slots[block]).replace(STEM, stem)
        if match := PRIVATE_QK.search(ours):
            third, num_heads = shape[0] // 2, int(match[1])
            embed_dim = shapes[f"{ours.rpartition('.')[0]}.weight"][1]
            scale = (third / num_heads / (embed_dim // num_heads)) ** 0.5
            make = partial(_q_and_k, third=third, scale=scale)
            yield ours, Take((theirs,), (3 * third, *shape[1:]), make)
        elif ".mixer.v." in ours:
            make = partial(_v, third=shape[0])
            yield ours, Take((theirs,), (3 * shape[0], *shape[1:]), make)
        else:
            yield ours, Take((theirs,), shape)


VITAS = Family(classifier=f"{CLASSIFIER}weight", takes=_takes)
