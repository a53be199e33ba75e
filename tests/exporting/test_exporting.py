"""A file in another format says what the network says, with any batch size, or is not kept."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from tests.every_space import perturbed
from timm.data import resolve_data_config

from vitsearch import VisionTransformer, build_space, load_model
from vitsearch.errors import ConfigError, ExportError, MissingExtraError
from vitsearch.exporting import TOLERANCE, export_model
from vitsearch.exporting.folder_format import FolderFormat
from vitsearch.exporting.torch_format import FACTS_FILE
from vitsearch.spaces import SearchSpace

NAMES = ("T-shirt/top", "coat", "bag", "Stiefel ß")
# As few blocks as show everything: exporting takes a second for each.
TWO_STAGES: dict[str, Any] = {  # conv stem, reduction
    "num_stages": 2,
    "num_blocks": [1, 1],
    "skippable": None,
    "embed_dims": [[24], [48]],
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "glit": ("glit", {"num_blocks": 1}),  # BatchNorm within blocks
    "vitas": ("vitas", {"num_blocks": 1}),  # private stem and attention
    "vit_resnas": (
        "vit_resnas",
        TWO_STAGES | {"mixer": "attention", "mlp": "mlp", "mlp.ratios": [2]},
    ),
    "autoformer": (  # relative positions in both forms, distillation token
        "vit_resnas",
        TWO_STAGES
        | {
            "mixer": "relative_attention",
            "mixer.num_heads": [[2], [3]],
            "mixer.head_dim": [12, 16],
            "mixer.max_distance": 4,
            "mlp": "autoformer",
            "head": "autoformer",
            "head.distillation": True,
        },
    ),
    "merged": ("glit", {"num_blocks": 2, "tokens": {"kind": "merge", "merged": 6}}),
    "kept": (
        "glit",
        {"num_blocks": 2, "mixer": "attention", "tokens": {"kind": "keep", "keep": 0.5}},
    ),
    "predicted": (
        "glit",
        {"num_blocks": 2, "mixer": "attention", "tokens": {"kind": "predict", "keep": 0.5}},
    ),
    "vt": ("vt", {"num_blocks": [1, 1, 2], "depths": None}),  # tokenizers, projector
}


def space_of(name: str) -> SearchSpace:
    base, overrides = FAMILIES[name]
    return build_space(base, **overrides)


def make_network(name: str = "glit", seed: int = 0) -> VisionTransformer:
    """In training mode, as users may have it; with arbitrary weights and statistics."""
    space = space_of(name)
    network = VisionTransformer(space, space.sample(random.Random(seed)), len(NAMES))
    perturbed(network).train()
    network.class_names = NAMES
    network.set_preprocessing({"mean": [0.2] * space.in_chans, "std": [0.7] * space.in_chans})
    return network


def images_for(network: VisionTransformer, count: int) -> torch.Tensor:
    plan = network.plan
    shape = (count, plan.in_chans, plan.image_size, plan.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(count))


@torch.inference_mode()
def answer(network: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    found = network.eval()(images)
    assert isinstance(found, torch.Tensor)
    return found


# Without torch: what a server has.
READER = """
import sys
for name in ("torch", "vitsearch", "timm", "onnx"):
    sys.modules[name] = None
import json, numpy, onnxruntime
given = numpy.load(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()
         if k in ("input", "class_names")}
assert facts["class_names"][3] == "Stiefel \\u00df", facts
assert facts["input"]["normalisation"]["std"][0] == 0.7, facts
assert session.get_inputs()[0].shape == facts["input"]["shape"], session.get_inputs()[0].shape
for name in given.files:
    if name.startswith("images"):
        logits = session.run(None, {facts["input"]["name"]: given[name]})[0]
        expected = given[name.replace("images", "logits")]
        assert abs(logits - expected).max() < 1e-4
        assert (logits.argmax(1) == expected.argmax(1)).all()
print("the same")
"""


@pytest.mark.parametrize(
    "name", ["glit", "vitas", "autoformer", "merged", "kept", "predicted", "vt"]
)
def test_onnx(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    network = make_network(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    exported = export_model(network, tmp_path, format="onnx", opset=20)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert exported.path == tmp_path / "model.onnx"
    assert exported.difference <= TOLERANCE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.json"]
    assert str(Path(__file__).parents[2]).encode() not in exported.path.read_bytes()
    facts = json.loads((tmp_path / "model.onnx.json").read_text(encoding="utf-8"))
    assert facts["input"]["shape"] == [
        "batch",
        network.plan.in_chans,
        *[network.plan.image_size] * 2,
    ]
    assert facts["class_names"] == list(NAMES)
    assert facts["digest"] == network.architecture.digest
    assert (facts["macs"], facts["params"]) == (network.cost().macs, network.cost().params)

    check_without_torch(exported.path, network, tmp_path)


def check_without_torch(file: Path, network: VisionTransformer, folder: Path) -> None:
    """Other processes, which cannot import torch, get the same predictions."""
    given = {}
    for count in (1, 3, 8):
        images = images_for(network, count)
        given |= {f"images{count}": images.numpy(), f"logits{count}": answer(network, images)}
    np.savez(folder / "given.npz", **given)
    reader = [sys.executable, "-c", READER, file, folder / "given.npz"]
    done = subprocess.run(reader, capture_output=True, text=True, check=False, cwd=folder)
    assert done.stdout == "the same\n", done.stderr


def test_from_pixels(tmp_path: Path) -> None:
    network = make_network()
    exported = export_model(network, tmp_path, format="torch_export", from_pixels=True)
    pixels = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = torch.export.load(exported.path).module()(pixels)
    torch.testing.assert_close(found, answer(network, (pixels - 0.2) / 0.7), rtol=0, atol=1e-5)
    facts = json.loads((tmp_path / "model.pt2.json").read_text(encoding="utf-8"))
    assert facts["input"]["pixels"] == "in [0, 1]"
    assert facts["input"]["normalisation"] is None


def test_torch_export(tmp_path: Path) -> None:
    network = make_network("vit_resnas")
    exported = export_model(network, tmp_path, format="torch_export")
    extra = {FACTS_FILE: ""}
    program = torch.export.load(exported.path, extra_files=extra).module()
    assert json.loads(extra[FACTS_FILE])["class_names"] == list(NAMES)
    for count in (1, 3, 8):
        images = images_for(network, count)
        torch.testing.assert_close(program(images), answer(network, images), rtol=0, atol=1e-5)


def test_a_model_folder(tmp_path: Path) -> None:
    network = make_network("vit_resnas")
    exported = export_model(network, tmp_path, format="safetensors")
    copy = load_model(exported.path)
    assert exported.difference == 0
    assert copy.class_names == NAMES
    assert copy.pretrained_cfg["std"] == network.pretrained_cfg["std"]
    files = sum(path.stat().st_size for path in exported.path.iterdir())
    assert exported.megabytes == files / 1e6


def test_timm(tmp_path: Path) -> None:
    network = make_network("vitas")
    exported = export_model(network, tmp_path, format="timm")
    made = timm.create_model(f"local-dir:{exported.path}", pretrained=True).eval()
    assert exported.difference <= 1e-6
    assert sorted(p.name for p in exported.path.iterdir()) == ["config.json", "model.safetensors"]
    assert made.architecture == network.architecture
    assert made.class_names == NAMES
    assert list(resolve_data_config(model=made)["std"]) == list(network.pretrained_cfg["std"])
    images = images_for(network, 3)
    torch.testing.assert_close(made(images), answer(network, images))
    other = timm.create_model(f"local-dir:{exported.path}", pretrained=True, num_classes=7)
    assert other(images).shape == (3, 7)


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network()
    kept = export_model(network, tmp_path, format="safetensors").path
    before = (kept / "model.safetensors").read_bytes()

    def a_bit_off(self: FolderFormat, path: Path) -> object:
        return lambda images: answer(network, images) + 2e-4

    monkeypatch.setattr(FolderFormat, "load", a_bit_off)
    with pytest.raises(ExportError, match=r"differs from the network by 2\.0e-04, above 1e-04"):
        export_model(network, tmp_path, format="safetensors")
    with pytest.raises(ExportError, match="not kept"):
        export_model(network, tmp_path / "new", format="safetensors")
    assert (kept / "model.safetensors").read_bytes() == before  # the earlier one
    assert sorted(tmp_path.iterdir()) == [kept, tmp_path / "new"]
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"format": "tflite"},
            "legal: onnx, torch_export, safetensors, timm",
        ),
        ({"format": "onnx", "opset": 9}, "opset=9 must be a whole number from 18 to"),
        ({"format": "onnx", "opset": "new"}, "opset=new must be a whole number"),
        ({"format": "torch_export", "opset": 20}, "opset=20 is a setting of format=onnx"),
        ({"format": "safetensors", "from_pixels": True}, "does not go with format=safetensors"),
    ],
)
def test_settings_that_are_not_legal(
    settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    if settings["format"] == "onnx":
        pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match=words):
        export_model(make_network(), tmp_path / "out", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_what_must_be_known_or_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_of("glit")
    silent = VisionTransformer(space, space.smallest(), 3)
    with pytest.raises(ConfigError, match="how images were normalised"):
        export_model(silent, tmp_path, format="torch_export", from_pixels=True)
    with torch.no_grad():
        silent.norm.weight.fill_(float("nan"))
    with pytest.raises(ExportError, match="weights are damaged"):
        export_model(silent, tmp_path, format="safetensors")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"onnxscript.*pip install 'vitsearch\[export\]'"):
        export_model(silent, tmp_path, format="onnx")
    assert not list(tmp_path.iterdir())
