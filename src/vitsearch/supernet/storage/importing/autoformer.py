"""AutoFormer's tensors: the authors publish supernets; the published network is a part of them.

It takes the first channels, hidden units and blocks. Of the qkv weight it takes the first rows,
which lie interleaved (q, k, v, q, k, v, ...); of the qkv bias the first entries, cut in thirds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitsearch.supernet.storage.importing.take import Family, Shape, Shapes, Take, Takes, translate

OURS = "stages.{stage}.blocks.{block}."
THEIRS = "blocks.{number}."
NAMES = {
    "stem.embeds.{patch}.cls_token": "cls_token",
    "stem.embeds.{patch}.pos_embed": "pos_embed",
    "stem.embeds.{patch}.{leaf}": "patch_embed_super.proj.{leaf}",
    OURS + "norm1.{leaf}": THEIRS + "attn_layer_norm.{leaf}",
    OURS + "mixer.relative_keys": THEIRS + "attn.rel_pos_embed_k",
    OURS + "mixer.relative_values": THEIRS + "attn.rel_pos_embed_v",
    OURS + "mixer.{layer}.{leaf}": THEIRS + "attn.{layer}.{leaf}",
    OURS + "norm2.{leaf}": THEIRS + "ffn_layer_norm.{leaf}",
    OURS + "mlp.{layer}.{leaf}": THEIRS + "{layer}.{leaf}",
    "norm.{leaf}": "norm.{leaf}",
    "head.{leaf}": "head.{leaf}",
}
TABLES = ("embeddings_table_v", "embeddings_table_h")  # rows, columns
BLOCK = re.compile(r"blocks\.\d+\.")


def _first(tensor: Tensor, *, shape: Shape) -> Tensor:
    return tensor[tuple(slice(size) for size in shape)]


def _deinterleaved(weight: Tensor, *, shape: Shape) -> Tensor:
    rows = _first(weight, shape=shape)
    return torch.cat([rows[0::3], rows[1::3], rows[2::3]])


def _stacked(*tables: Tensor) -> Tensor:
    return torch.stack(tables)


def _elastic(ours: str, shape: Shape) -> tuple[int, ...]:
    """Dimensions that count channels, heads or hidden units: a supernet may have more of them."""
    if ours.startswith("head."):
        return (1,) if len(shape) == 2 else ()
    if ours.endswith(("cls_token", "pos_embed")):
        return (2,)
    return (0, 1) if len(shape) == 2 else (0,)


def _takes(shapes: Shapes, given: Collection[str], entry: Mapping[str, Any]) -> Takes:
    for ours, shape in shapes.items():
        theirs = translate(ours, NAMES)
        if ".mixer.relative_" in ours:
            names = tuple(f"{theirs}.{table}" for table in TABLES)
            yield ours, Take(names, shape[1:], _stacked)
        else:
            cut = _deinterleaved if ours.endswith(".qkv.weight") else _first
            yield ours, Take((theirs,), shape, partial(cut, shape=shape), _elastic(ours, shape))


def _is_later_block(name: str, taken: Collection[str]) -> bool:
    return bool(BLOCK.match(name)) and BLOCK.sub("blocks.0.", name, count=1) in taken


AUTOFORMER = Family(classifier="head.weight", takes=_takes, is_dropped=_is_later_block)
