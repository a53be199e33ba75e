"""HR-NAS's tensors, of searched networks and of those in the form that is trained again.

In the searched form each branch of a block has convolutions of its own, numbered over the branches
that are there. In the form that is trained again all branches share one expansion, one projection
and a squeeze-excitation, whose channels are cut here. Every searched block has further norms for a
way of training that was never used (`bns`); they are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from vitsearch.spaces.parts.hr.light_transformer import TOKEN_DIM
from vitsearch.supernet.storage.importing.take import Family, Shape, Shapes, Take, Takes, translate

CLASSIFIER = "classifier.1."
_BLOCK = re.compile(r"(stages\.\d+\.(?:(?:fusion|branches)\.\d+|widen|down)\.\d+)\.")
_BRANCH = re.compile(r"(kernel\d+)\.")
_LAYERS = {
    "stem.convs.{i}.{leaf}": "downsamples.{i}.0.{leaf}",
    "stem.norms.{i}.{leaf}": "downsamples.{i}.1.{leaf}",
    "stages.{stage}.conv.conv.{leaf}": "features.{number}.final_layer.0.{leaf}",
    "stages.{stage}.conv.norm.{leaf}": "features.{number}.final_layer.1.{leaf}",
    "head.{leaf}": CLASSIFIER + "{leaf}",
}
_BLOCKS = {
    "stages.{stage}.fusion.{to}.{own}": "features.{number}.fuse_layers.{to}.{own}",
    "stages.{stage}.branches.{branch}.{place}": "features.{number}.branches.{branch}.{place}",
    "stages.{stage}.widen.{i}": "features.{number}.incre_modules.{i}",
    "stages.{stage}.down.{i}": "features.{number}.downsamp_modules.{i}",
}
_IN_BLOCK = {
    "shortcut.{leaf}": "residual.{leaf}",
    "norm.{leaf}": "pw_bn.{leaf}",
    "transformer.expand.{leaf}": "transformer.input_proj.{leaf}",
    "transformer.norm1.{leaf}": "transformer.input_norm.{leaf}",
    "transformer.queries": "transformer.query_embed.weight",
    "transformer.project.{leaf}": "transformer.reverse_proj.{leaf}",
    "transformer.norm2.{leaf}": "transformer.reverse_norm.{leaf}",
    "transformer.encoder.qkv.weight": "transformer.encoder.self_attn.in_proj_weight",
    "transformer.encoder.out.{leaf}": "transformer.encoder.self_attn.out_proj.{leaf}",
    "transformer.decoder.q.weight": "transformer.decoder.multihead_attn.in_proj_weight",
    "transformer.decoder.kv.weight": "transformer.decoder.multihead_attn.in_proj_weight",
    "transformer.decoder.out.{leaf}": "transformer.decoder.multihead_attn.out_proj.{leaf}",
    "transformer.{layer}.fc1.{leaf}": "transformer.{layer}.linear1.{leaf}",
    "transformer.{layer}.fc2.{leaf}": "transformer.{layer}.linear2.{leaf}",
    "transformer.{layer}.{norm}.{leaf}": "transformer.{layer}.{norm}.{leaf}",
}
_OF_BRANCH = {
    "expand.{leaf}": "ops.{{i}}.0.0.{leaf}",
    "norm1.{leaf}": "ops.{{i}}.0.1.{leaf}",
    "depthwise.{leaf}": "ops.{{i}}.1.0.{leaf}",
    "norm2.{leaf}": "ops.{{i}}.1.1.{leaf}",
    "project.{leaf}": "ops.{{i}}.2.{leaf}",
}
_MERGED = {
    "norm.{leaf}": "project_conv.1.{leaf}",
    "squeeze_bias": "se_op.se_reduce.bias",
}
_OF_MERGED_BRANCH = {
    "expand.{leaf}": "expand_conv.0.{leaf}",
    "norm1.{leaf}": "expand_conv.1.{leaf}",
    "depthwise.{leaf}": "depth_ops.{{i}}.1.0.{leaf}",
    "norm2.{leaf}": "depth_ops.{{i}}.1.1.{leaf}",
    "project.{leaf}": "project_conv.0.{leaf}",
    "squeeze.{leaf}": "se_op.se_reduce.{leaf}",
    "excite.{leaf}": "se_op.se_expand.{leaf}",
}
_SHARED = {"expand": 0, "norm1": 0, "project": 1, "squeeze": 1, "excite": 0}
"""Of the merged tensors, the dimension in which the branches follow each other."""


def _takes(shapes: Shapes, given: Collection[str], entry: Mapping[str, Any]) -> Takes:
    merged = any(".expand_conv." in name for name in given)
    branches = _branches(shapes)
    for ours, shape in shapes.items():
        match = _BLOCK.match(ours)
        if match is None:
            yield ours, Take((_translated(ours, _LAYERS),), shape)
            continue
        path = _block_name(match[1])
        yield ours, of_block(ours[match.end() :], shape, path, branches.get(match[1], {}), merged)


def of_block(name: str, shape: Shape, path: str, branches: Mapping[str, int], merged: bool) -> Take:
    """What a tensor of a block is taken from.

    Args:
        name: Below the block.
        shape: Of it.
        path: The authors' name of the block, with a dot behind it, or nothing.
        branches: The channels of each branch that is there, in order.
        merged: Whether branches share their tensors.
    """
    own = _BRANCH.match(name)
    if own is None:
        table = {**_IN_BLOCK, **_MERGED} if merged else _IN_BLOCK
        return _cut_attention(name, Take((path + translate(name, table),), shape))
    index = list(branches).index(own[1])
    rest = name[own.end() :]
    table = _OF_MERGED_BRANCH if merged else _OF_BRANCH
    theirs = path + translate(rest, table).replace("{i}", str(index))
    layer = rest.partition(".")[0]
    if not merged or layer not in _SHARED:
        return Take((theirs,), shape)
    dim = _SHARED[layer]
    start = sum(list(branches.values())[:index])
    whole = list(shape)
    whole[dim] = sum(branches.values())
    if layer in ("squeeze", "excite") and rest.endswith("weight"):
        whole += [1, 1]
    cut = partial(_cut, dim=dim, start=start, shape=shape)
    return Take((theirs,), tuple(whole), cut)


def _cut(tensor: Tensor, *, dim: int, start: int, shape: Shape) -> Tensor:
    return tensor.narrow(dim, start, shape[dim]).reshape(shape)


def _cut_attention(name: str, take: Take) -> Take:
    """The decoder's q, and its k and v, are parts of one matrix."""
    if not name.startswith("transformer.decoder.") or not name.endswith(("q.weight", "kv.weight")):
        return take
    start = 0 if name.endswith("decoder.q.weight") else TOKEN_DIM
    cut = partial(_cut, dim=0, start=start, shape=take.shape)
    return Take(take.names, (3 * TOKEN_DIM, TOKEN_DIM), cut)


def _branches(shapes: Shapes) -> dict[str, dict[str, int]]:
    """For each block the channels of the branches that are there."""
    found: dict[str, dict[str, int]] = {}
    for name, shape in shapes.items():
        block = _BLOCK.match(name)
        own = block and _BRANCH.match(name, block.end())
        if block and own and name.endswith("expand.weight"):
            found.setdefault(block[1], {})[own[1]] = shape[0]
    return found


def _block_name(path: str) -> str:
    """The authors' name of a block, with a dot behind it."""
    stage, kind, to, *rest = path.split(".")[1:]
    theirs = _translated(path, _BLOCKS, int(kind == "branches"))
    if kind != "fusion":
        return f"{theirs}."
    if to == stage and rest != [to]:  # it begins a branch
        return f"{theirs.rpartition('.')[0]}.0."
    return f"{theirs}." if rest == [to] else f"{theirs}.0."


def _translated(name: str, table: Mapping[str, str], second: int = 0) -> str:
    """The authors' name; each module of ours is two of theirs, fusion and branches."""
    return translate(name, table, lambda stage, block: 2 * stage + second)


HR_NAS = Family(
    classifier=f"{CLASSIFIER}weight",
    takes=_takes,
    is_dropped=lambda name, taken: ".bns." in name or (".pw_bn." in name and name not in taken),
)
