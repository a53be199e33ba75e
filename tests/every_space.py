"""The spaces that the properties of all spaces are checked on: those by name, and composed ones."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import torch
from torch import nn

from vitsearch import Architecture, SearchSpace, build_space, list_spaces
from vitsearch.spaces import Tokens

COMPOSED: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT-ResNAS with GLiT's mixer": (
        "vit_resnas",
        {"mixer": "glit_demo", "num_blocks": [1, 2, 1], "skippable": [[], [1], [0]]},
    ),
    "ViTAS with a conv stem": ("vitas", {"stem": "conv", "stem.mid_chans": 6}),
    "AutoFormer in three stages": (
        "vit_resnas",
        {
            "num_blocks": [1, 2, 1],
            "skippable": [[0], [1], []],
            "mixer": "relative_attention",
            "mixer.num_heads": [[1, 2], [2, 3], [3, 4]],
            "mixer.head_dim": [12, 16, 24],
            "mixer.max_distance": 2,  # the first stage by tables, the others densely
            "mlp": "autoformer",
            "head": "autoformer",
            "head.distillation": True,
            "head.patch_head": True,
        },
    ),
    "GLiT in two stages": (
        "vit_resnas",
        {
            "mixer": "glit_demo",
            "mlp": "glit",
            "image_size": 24,
            "patch_sizes": [4, 6, 12],
            "num_stages": 2,
            "num_blocks": [1, 2],
            "skippable": None,
            "embed_dims": [[24, 36], [36, 60]],
        },
    ),
    "ViTAS in three stages": (
        "vit_resnas",
        {
            "mixer": "vitas",
            "mixer.private": "v",
            "mlp": "vitas",
            "skippable": None,
            "depths": [[0, 1, 2], [1, 3], [2]],
            "head.distillation": True,
        },
    ),
    "three skippable slots side by side": (
        "glit",
        {"mixer": "attention", "num_blocks": 5, "skippable": [1, 2, 3], "embed_dims": [24, 48]},
    ),
    "GLiT on a grid": ("glit", {"mixer.local": "grid", "num_blocks": 3}),
    "attention with GLiT's MLP": ("glit", {"mixer": "attention", "num_blocks": 3}),
    "heads of a fixed dimension, mean of tokens": (
        "glit",
        {
            "num_blocks": 3,
            "mixer": "attention",
            "mixer.num_heads": [2, 4],
            "mixer.head_dim": 6,
            "head": "avg",
        },
    ),
    "GLiT with MLPs of fixed widths": (
        "glit",
        {"mlp": {"ratios": None, "hidden": [40, 72]}, "num_blocks": 3},
    ),
    "small ResNet": (
        "resnet18",
        {
            "image_size": 16,
            "stem.small": True,
            "stem.widths": [6, 8],
            "num_stages": 3,
            "num_blocks": [2, 2, 3],
            "depths": [[1, 2], [2], [1, 3]],
            "embed_dims": [[8, 12], [12, 16], [8, 24]],
            "block.stride": [1, 2, 2],
        },
    ),
    "small ResNet of bottlenecks": (
        "resnet18",
        {
            "image_size": 20,
            "in_chans": 1,
            "stem.small": True,
            "num_stages": 2,
            "num_blocks": 2,
            "depths": None,
            "skippable": [[], [1]],
            "embed_dims": [[8, 12, 16], [16, 24, 32]],
            "stem.widths": [6, 8],
            "block": "bottleneck",
            "block.stride": 2,
            "block.expansions": [0.25, 0.5],
        },
    ),
    "GLiT with merged tokens": (
        "glit",
        {"num_blocks": 3, "tokens": {"kind": "merge", "merged": [0, 3, 7]}},
    ),
    "ViTAS with merged tokens": (
        "vitas",
        {"tokens": {"kind": "merge", "merged": [1, 3], "schedule": "falling"}},
    ),
    "attention with kept tokens": (
        "glit",
        {
            "num_blocks": 4,
            "depths": [2, 3, 4],
            "mixer": "attention",
            "tokens": {"kind": "keep", "keep": [0.5, 0.75, 1], "slots": [1, 2]},
        },
    ),
    "attention with predicted tokens": (
        "glit",
        {
            "num_blocks": 4,
            "mixer": "attention",
            "embed_dims": [24, 48],
            "tokens": {"kind": "predict", "keep": [0.5, 0.75, 1], "slots": [1, 2]},
        },
    ),
    "high resolution with squeeze-excitation": (
        "hr_nas",
        {
            "image_size": 16,
            "body.branches": [[6], [4, 6]],
            "body.blocks": [[1], [1, 2]],
            "body.widen": [6, 8],
            "body.features": 12,
            "stem.width": 6,
            "stem.strides": [2, 1],
            "block.kernel_sizes": [3, 5],
            "block.expansion": 2,
            "block.num_tokens": [0, 4],
            "block.transformers_everywhere": True,
            "block.squeeze_ratio": 0.5,
            "block.activation": "swish",
        },
    ),
    "GLiT with two widths and patch sizes": (
        "glit",
        {"patch_sizes": [4, 7], "embed_dims": [24, 36], "num_blocks": 3},
    ),
}
ALIKE = ["autoformer_base", "glit_base", "hr_nas_ade20k", "hr_nas_keypoint", "resnet34"]
ALIKE += ["vitas_base", "vt_resnet34"]
"""Those that differ from another space in nothing but sizes; their published costs are exact."""
EVERY = [*(name for name in list_spaces() if name not in ALIKE), *COMPOSED]


@cache
def space_named(name: str) -> SearchSpace:
    """A space as it is."""
    if name not in COMPOSED:
        return build_space(name)
    base, overrides = COMPOSED[name]
    return build_space(base, **overrides)


DRAWING = ["attention with predicted tokens", *(n for n in EVERY if n.startswith("hr_nas_"))]
"""Those whose networks draw random numbers in training, so that no two runs are alike."""
SMALL = [name for name in EVERY if max(space_named(name).input_shape) < 64]
"""Those of a size to be run as they are: the demos, and composed ones."""


OF_TOKENS = [
    name for name in EVERY if all(stage.block.flow is Tokens for stage in space_named(name).stages)
]
"""Those whose blocks are transformer blocks."""


@cache
def quick_space(name: str) -> SearchSpace:
    """A space whose networks are built and run in milliseconds.

    Spaces of a paper's size keep their widths, heads and kernels; they get two slots a stage, small
    patches and few of them. ResNets get an eighth of their widths, high-resolution networks two
    branches.
    """
    space = space_named(name)
    config, stages = space.config, len(space.stages)
    if name in SMALL and name != "hr_nas":
        return space
    if "resnet" in name:
        config |= {
            "image_size": 64,
            "num_blocks": 2,
            "depths": [[1, 2]] * stages,
            "embed_dims": [[width // 8 for width in own] for own in config["embed_dims"]],
            "stem": config["stem"] | {"widths": [4, 8]},
        }
        if name.startswith("vt"):
            config["block"][-1] |= {
                "num_tokens": [4, 8, 16],
                "token_dims": [64, 96, 128],
                "num_heads": [2, 4],
                "pixel_group_size": 8,
                "kqv_group_size": 32,
            }
        return SearchSpace(config)
    if name.startswith("hr_nas"):
        config["image_size"] = min(space.input_shape[1], 32)
        config["body"] |= {
            "branches": [[12], [6, 12]],
            "blocks": [[1], [1, 1]],
            "widen": [12, 18],
            "features": 24,
            "joined": 18,
        }
        config["stem"] |= {"width": 12}
        return SearchSpace(config)
    sizes = [4 * 2**i for i, _ in enumerate(space.stem.patch_sizes)]
    config |= {
        "num_blocks": 2,
        "patch_sizes": sizes,
        "image_size": sizes[-1] * max(2, 2 ** (stages - 1)),
    }
    if config.get("depths"):
        config["depths"] = [1, 2]
    if config.get("skippable"):
        config["skippable"] = [1]
    return SearchSpace(config)


def drawn(space: SearchSpace, count: int, seed: int = 0) -> list[Architecture]:
    """The ends of a space, and random architectures."""
    rng = random.Random(seed)
    return [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(count))]


def perturbed(network: nn.Module, seed: int = 0) -> Any:
    """The network with noise on every weight and buffer: zeros and ones would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
            tensor.add_(noise.abs() if name.endswith("running_var") else 0.1 * noise)
    return network
