"""A network's weights under timm's names and under ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.supernet.converting.reading import Reading

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_STEM = {
    "patch_embed.proj.": "stem.",
    "patch_embed.norm.": "stem.embed_norm.",
    "norm_pre.": "stem.pre_norm.",
    "cls_token": "stem.cls_token",
    "dist_token": "stem.dist_token",
    "reg_token": "stem.reg_token",
    "pos_embed": "stem.pos_embed",
    "attn_pool.": "attn_pool.layer.",
}
_GATED = ("fc1_g", "fc1_x")
FREQUENCIES = "rope.freqs"
"""Learned frequencies (2, blocks, heads, channels / 2): one tensor in timm, one a block here."""
PAIRS = ".attn.pairs"
"""Which frequencies the pairs of a head have; timm's have all, in their order."""
GAMMAS = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
"""LayerScale of both branches, in the names of `eva.py` and `beit.py`, and in ours."""
BIASES = {"attn.q_bias": "attn.q.bias", "attn.v_bias": "attn.v.bias"}
"""The same for biases of queries and values alone."""
BLOCKS = "stages.0."
"""What our names of blocks have in front of timm's."""


def state_from_timm(state: Mapping[str, Tensor], reading: Reading) -> dict[str, Tensor]:
    """A state dict of timm under our names.

    Queries, keys and values are matrices of their own here, and so are both halves of a packed
    gate. Scores of every block are scaled by the largest head dimension, so blocks with narrower
    heads get their own scale as a factor of their queries.
    """
    found: dict[str, Tensor] = {}
    gate = reading.sections["mlp"]["gate"]
    for name, tensor in state.items():
        match = _BLOCK.fullmatch(name)
        if name == FREQUENCIES:
            found |= {
                f"{BLOCKS}blocks.{index}.attn.freqs": part
                for index, part in enumerate(tensor.unbind(1))
                if reading.blocks[index].num_heads
            }
            continue
        if match is None:
            found[_outside(name)] = tensor
            continue
        path, inside = f"{BLOCKS}blocks.{match[1]}.", _renamed(match[2], reading.renamed)
        leaf = inside.rpartition(".")[2]
        block = reading.blocks[int(match[1])]
        if (inside == "ls1.gamma" and not block.num_heads) or (
            inside == "ls2.gamma" and not block.hidden_dim
        ):
            continue  # of a branch that is left out
        if inside.startswith("attn.qkv."):
            parts = tensor.chunk(3)
            found |= {f"{path}attn.{n}.{leaf}": t for n, t in zip("qkv", parts, strict=True)}
        elif inside.startswith("mlp.fc1.") and gate in ("first", "last"):
            halves = tensor.chunk(2) if gate == "first" else tensor.chunk(2)[::-1]
            found |= {f"{path}mlp.{n}.{leaf}": t for n, t in zip(_GATED, halves, strict=True)}
        else:
            found[path + inside] = tensor
    scaled = "attn.q_norm." if "qk_norm" in reading.sections["mixer"] else "attn.q."
    full = max(block.head_dim for block in reading.blocks)
    for index, block in enumerate(reading.blocks):
        if 0 < block.head_dim < full:
            factor = (full / block.head_dim) ** 0.5
            for leaf in ("weight", "bias"):
                name = f"{BLOCKS}blocks.{index}.{scaled}{leaf}"
                if name in found:
                    found[name] = found[name] * factor
    return found


def _renamed(name: str, beginnings: Mapping[str, str]) -> str:
    """A name with the other one of two beginnings, where it has the first."""
    for one, other in beginnings.items():
        if name.startswith(one):
            return other + name.removeprefix(one)
    return name


def _outside(name: str) -> str:
    """Our name of a tensor outside of the blocks."""
    for theirs, ours in _STEM.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def state_to_timm(state: Mapping[str, Tensor], reading: Reading) -> dict[str, Tensor]:
    """The opposite of `state_from_timm`, for a network whose blocks all have full heads."""
    own, rope = dict(state), reading.sections["mixer"].get("rope", {})
    for name in [name for name in state if name.endswith(PAIRS)]:
        full = state[name].shape[1]
        with_all_pairs(own, name.removesuffix("pairs"), full=full, half=rope.get("half", False))
    return pack_state(own, reading.sections["mlp"]["gate"], renamed=reading.renamed)


def with_all_pairs(state: dict[str, Tensor], path: str, *, full: int, half: bool) -> None:
    """Put the pairs of queries and keys where their frequencies are; others become zeros.

    Args:
        state: A state dict of ours; it is changed, and `pairs` are taken out of it.
        path: Of the attention, with a dot behind it.
        full: Pairs of a whole head.
        half: Whether a pair is made of channels j and j + D/2; if not, of 2j and 2j + 1.
    """
    places, freqs = state.pop(f"{path}pairs", None), state.get(f"{path}freqs")
    if places is None:
        if freqs is None or freqs.shape[-1] == full:
            return
        places = torch.arange(freqs.shape[-1], device=freqs.device).expand(*freqs.shape[1:])
        state[f"{path}freqs"] = F.pad(freqs, (0, full - freqs.shape[-1]))
    heads, pairs = places.shape
    index = places.long()[:, None, :, None] if half else places.long()[:, :, None, None]
    for leaf in ("q.weight", "q.bias", "k.weight", "k.bias"):
        if f"{path}{leaf}" not in state:
            continue
        tensor = state[f"{path}{leaf}"]
        rows = tensor.reshape(heads, *((2, pairs) if half else (pairs, 2)), -1)
        whole = rows.new_zeros(heads, *((2, full) if half else (full, 2)), rows.shape[-1])
        whole.scatter_(2 if half else 1, index.expand_as(rows), rows)
        state[f"{path}{leaf}"] = whole.reshape(-1, *tensor.shape[1:])


def pack_state(
    state: Mapping[str, Tensor], gate: str, *, renamed: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    """A state dict of ours under timm's names, with timm's joint matrices.

    Args:
        state: Of blocks whose queries, keys and values have one width.
        gate: How MLPs keep their gate; see `VitMlpPlan`.
        renamed: See `Reading`.
    """
    found: dict[str, Tensor] = {}
    back = {ours: theirs for theirs, ours in (renamed or {}).items()}
    for name, tensor in state.items():
        match = _BLOCK.fullmatch(name.removeprefix(BLOCKS))
        if match is None:
            found[_outside_timm(name)] = tensor
            continue
        path, _, leaf = match[0].rpartition(".")
        theirs = _renamed(match[2], back)
        if theirs != match[2]:
            found[f"blocks.{match[1]}.{theirs}"] = tensor
            continue
        if match[2] == "attn.freqs":
            if FREQUENCIES not in found:
                names = [own for own in state if own.endswith(".attn.freqs")]
                found[FREQUENCIES] = torch.stack([state[own] for own in names], dim=1)
            continue
        parent, _, own = path.rpartition(".")
        if parent.endswith(".attn") and own in ("q", "k", "v"):
            if own == "q":
                parts = [state[f"{BLOCKS}{parent}.{n}.{leaf}"] for n in "qkv"]
                found[f"{parent}.qkv.{leaf}"] = torch.cat(parts)
        elif own in _GATED and gate in ("first", "last"):
            if own == "fc1_g":
                parts = [state[f"{BLOCKS}{parent}.{n}.{leaf}"] for n in _GATED]
                found[f"{parent}.fc1.{leaf}"] = torch.cat(parts if gate == "first" else parts[::-1])
        else:
            found[f"{path}.{leaf}"] = tensor
    return found


def _outside_timm(name: str) -> str:
    for theirs, ours in sorted(_STEM.items(), key=lambda pair: -len(pair[1])):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name
