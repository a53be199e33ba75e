"""What an exported file says about itself: input, preprocessing, classes, architecture, cost."""

from __future__ import annotations

from typing import Any

import torch

from vitsearch.exporting.base import INPUT, OUTPUT
from vitsearch.exporting.checks import example_images
from vitsearch.runs.versions import installed_version
from vitsearch.supernet import VisionTransformer


def export_facts(network: VisionTransformer, *, takes_pixels: bool) -> dict[str, Any]:
    """Everything that a program needs that has the file and nothing else.

    Args:
        network: What is exported.
        takes_pixels: Whether normalisation is a part of the file.

    Returns:
        Plain data. `input.normalisation` is `None` where nobody has said how images were
        normalised, and where the file does it itself.
    """
    plan, cost, config = network.plan, network.cost(), network.pretrained_cfg
    stated = network.has_stated_preprocessing
    normalisation = None
    if stated and not takes_pixels:
        normalisation = {"mean": list(config["mean"]), "std": list(config["std"])}
    names = network.class_names
    return {
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "shape": ["batch", *plan.input_shape],
            "layout": "NCHW, RGB" if plan.in_chans == 3 else "NCHW",
            "pixels": "in [0, 1]" if takes_pixels else "in [0, 1], then (pixels - mean) / std",
            "normalisation": normalisation,
            "interpolation": config["interpolation"] if stated else None,
            "crop_pct": config["crop_pct"] if stated else None,
        },
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["batch", *_answer_shape(network)]},
        "class_names": None if names is None else list(names),
        "space": network.space.name,
        "digest": network.architecture.digest,
        **cost.to_dict(),
        "versions": {"vitsearch": installed_version("vitsearch"), "torch": torch.__version__},
    }


@torch.inference_mode()
def _answer_shape(network: VisionTransformer) -> tuple[int, ...]:
    """Of what the network says of one image."""
    return tuple(network(example_images(network, 1)).shape[1:])
