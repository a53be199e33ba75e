"""The authors' checkpoints, as `tests/fixtures/checkpoints` describes them, and our names for them.

`our_shapes` writes out what a network of ours is made of from the published sizes alone, so that
the tables of names can be held against the authors' without building a network.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

FIXTURES = Path(__file__).parents[1] / "fixtures"
PUBLISHED = {
    name: entry
    for name, entry in json.loads((FIXTURES / "published.json").read_text("utf-8")).items()
    # ResNets' files are not those of a paper's authors; HR-NAS is in a test file of its own.
    if "resnet" not in name and "hr_nas" not in name
}
CHECKPOINTS = {
    "glit_tiny": "glit_tiny",
    "vitas_b": "vitas_b",
    "vitas_c": "vitas_c",
    "vit_resnas_tiny": "vit_resnas_tiny",
    "autoformer_tiny": "autoformer_supernet_tiny",
}
"""The fixture with the tensors of a published network."""


@cache
def checkpoint(name: str) -> dict[str, Any]:
    """Tensor names and shapes; for some the logits of the authors' implementation."""
    path = FIXTURES / "checkpoints" / f"{CHECKPOINTS[name]}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def authors_shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {tensor: tuple(shape) for tensor, shape in checkpoint(name)["tensors"]}


@cache
def _authors_state(name: str) -> dict[str, torch.Tensor]:
    state = {}
    for index, (tensor, shape) in enumerate(authors_shapes(name).items()):
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(index))
        if tensor.endswith("num_batches_tracked"):
            state[tensor] = torch.zeros(shape, dtype=torch.int64)
        elif tensor.endswith("running_var"):
            state[tensor] = torch.ones(shape)
        elif tensor.endswith(".weight") and len(shape) == 1:
            state[tensor] = 1 + 0.02 * noise
        elif tensor.endswith(".weight"):
            state[tensor] = noise / noise[0].numel() ** 0.5
        else:
            state[tensor] = 0.02 * noise
    return state


def authors_state(name: str) -> dict[str, torch.Tensor]:
    """The weights that the fixtures' `rule` makes."""
    return dict(_authors_state(name))


def golden_images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(12345)
    return torch.randn(2, 3, 224, 224, generator=generator).double()


def linear(name: str, out_features: int, in_features: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out_features, in_features), f"{name}.bias": (out_features,)}


def norm(name: str, dim: int, *, batch: bool = False) -> dict[str, tuple[int, ...]]:
    leaves = ("weight", "bias", "running_mean", "running_var") if batch else ("weight", "bias")
    return {f"{name}.{leaf}": (dim,) for leaf in leaves}


def patch_embed(stem: str, patch: int, dim: int, chans: int, patches: int) -> dict[str, Any]:
    stem = f"{stem}.embeds.{patch}"
    return {
        f"{stem}.weight": (dim, chans, patch, patch),
        f"{stem}.bias": (dim,),
        f"{stem}.cls_token": (1, 1, dim),
        f"{stem}.pos_embed": (1, 1 + patches, dim),
    }


def our_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Our names and shapes of a published network, but for GLiT's, which are tested as networks."""
    entry = PUBLISHED[name]
    if name.startswith("vit_resnas"):
        return _vit_resnas_shapes(entry)
    width, patch = entry["embed_dim"], entry["patch_size"]
    shapes = patch_embed("stem", patch, width, 3, (224 // patch) ** 2)
    for index, block in enumerate(entry["blocks"]):
        prefix = f"stages.0.blocks.{index}"
        heads, mixer = block["num_heads"], f"{prefix}.mixer"
        if name.startswith("vitas"):
            inner, hidden = block["qkv_width"] // 3, block["mlp_hidden"]
            shapes |= linear(f"{mixer}.qk.{heads}", 2 * inner, width)
            shapes |= linear(f"{mixer}.v.shared", inner, width)
        else:
            inner, hidden = heads * entry["head_dim"], int(width * block["mlp_ratio"])
            shapes |= linear(f"{mixer}.qkv", 3 * inner, width)
            shapes |= {f"{mixer}.relative_{what}": (2, 30, 64) for what in ("keys", "values")}
        shapes |= linear(f"{mixer}.proj", width, inner)
        shapes |= _norms_and_mlp(prefix, width, hidden)
    return shapes | norm("norm", width) | linear("head", 1000, width)


def _norms_and_mlp(prefix: str, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    return {
        **norm(f"{prefix}.norm1", width),
        **norm(f"{prefix}.norm2", width),
        **linear(f"{prefix}.mlp.fc1", hidden, width),
        **linear(f"{prefix}.mlp.fc2", width, hidden),
    }


def _vit_resnas_shapes(entry: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    mid, patch, stages = entry["stem"]["mid_channels"], entry["patch_size"], entry["stages"]
    side = 224 // patch
    shapes: dict[str, tuple[int, ...]] = {}
    for index in (1, 2, 3):
        shapes[f"stem.conv{index}.weight"] = (mid, 3 if index == 1 else mid, 3, 3)
        shapes |= norm(f"stem.norm{index}", mid, batch=True)
    shapes |= patch_embed("stem.patch", patch // 2, stages[0]["width"], mid, side**2)
    for number, stage in enumerate(stages):
        width = stage["width"]
        if number:
            before, transition = stages[number - 1]["width"], f"stages.{number}.transition"
            rows = side >> number
            shapes[f"{transition}.pos_embed.{rows}x{rows}"] = (1, rows**2, width)
            shapes |= norm(f"{transition}.norm", before)
            shapes[f"{transition}.conv.weight"] = (width, before, 3, 3)
            shapes[f"{transition}.conv.bias"] = (width,)
            shapes |= linear(f"{transition}.token", width, before)
        for index, block in enumerate(stage["blocks"]):
            prefix, inner = (
                f"stages.{number}.blocks.{index}",
                block["num_heads"] * block["head_dim"],
            )
            shapes |= linear(f"{prefix}.mixer.qkv", 3 * inner, width)
            shapes |= linear(f"{prefix}.mixer.proj", width, inner)
            shapes |= _norms_and_mlp(prefix, width, block["mlp_hidden"])
    return shapes | norm("norm", width) | linear("head", 1000, width)
