"""A tiny vision transformer of timm in a folder as timm writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import nn

ARGUMENTS = {
    "img_size": 28,
    "patch_size": 7,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 3,
    "in_chans": 1,
    "init_values": 1.0,
}


def write_timm_folder(
    folder: Path,
    num_classes: int = 10,
    *,
    preprocessing: dict[str, Any] | None = None,
    **other: Any,
) -> nn.Module:
    """Write `config.json` and `model.safetensors`; the network, with fresh but large weights."""
    arguments = ARGUMENTS | other
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = timm.create_model(
            "vit_tiny_patch16_224", num_classes=num_classes, **arguments
        )
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    folder.mkdir(parents=True)
    about = {
        "input_size": [arguments["in_chans"], 28, 28],
        "num_classes": num_classes,
        "classifier": "head",
        "first_conv": "patch_embed.proj",
        **(preprocessing or {}),
    }
    described = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": num_classes,
        "model_args": arguments,
        "pretrained_cfg": about,
    }
    (folder / "config.json").write_text(json.dumps(described), encoding="utf-8")
    save_file(network.state_dict(), folder / "model.safetensors")
    return network.eval()
