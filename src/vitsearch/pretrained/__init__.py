"""Pretrained networks inside the package, in the layout of timm's models on the Hub.

Each folder holds `config.json` and `model.safetensors`, and loads without a download:

    timm.create_model(f"local-dir:{pretrained_folder('vit_fashion')}", pretrained=True)
"""

from __future__ import annotations

from pathlib import Path

from vitsearch.errors import CheckpointError
from vitsearch.errors.checks import check_one_of

__all__ = ["list_pretrained", "pretrained_folder"]

_NAMES = ("vit_fashion",)


def list_pretrained() -> list[str]:
    """Names of the pretrained networks inside the package."""
    return list(_NAMES)


def pretrained_folder(name: str) -> Path:
    """The folder of a pretrained network, for `timm.create_model("local-dir:...")`.

    Args:
        name: One of `list_pretrained`.

    Raises:
        CheckpointError: The package has no network of that name.
    """
    check_one_of("pretrained", name, _NAMES, error=CheckpointError)
    return Path(__file__).parent / name
