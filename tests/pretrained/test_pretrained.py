from __future__ import annotations

import json
import re
import socket

import pytest
import timm
import torch
from safetensors import safe_open
from timm.data import resolve_model_data_config

from vitsearch.data import FashionMini
from vitsearch.errors import CheckpointError
from vitsearch.pretrained import list_pretrained, pretrained_folder
from vitsearch.pretrained.make_vit_fashion import count_correct

LEAST_ACCURACY = 0.83
names = pytest.mark.parametrize("name", list_pretrained())


@pytest.fixture(scope="module")
def vit_fashion():
    folder = pretrained_folder("vit_fashion")
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@names
def test_the_folder_is_complete_and_small(name):
    files = {path.name: path for path in pretrained_folder(name).iterdir()}
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    assert sum(path.stat().st_size for path in files.values()) <= 2_000_000


@names
def test_timm_loads_it_without_network(name, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    folder = pretrained_folder(name)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    with safe_open(folder / "model.safetensors", "pt") as stored:
        assert set(stored.keys()) == set(network.state_dict())
        for key, tensor in network.state_dict().items():
            weight = stored.get_tensor(key)
            assert weight.dtype == torch.float16
            assert torch.equal(weight.float(), tensor)


def test_accuracy_is_what_the_readme_says(vit_fashion):
    correct, tested = count_correct(vit_fashion)
    assert tested == 2000
    assert correct / tested >= LEAST_ACCURACY
    readme = (pretrained_folder("vit_fashion") / "README.md").read_text(encoding="utf-8")
    (stated,) = re.findall(r"test images of `fashion_mini`: ([\d.]+) %", readme)
    assert abs(float(stated) / 100 - correct / tested) <= 0.002  # rounding of other processors


def test_preprocessing_and_classes_are_those_of_fashion_mini(vit_fashion):
    data = FashionMini()
    config = resolve_model_data_config(vit_fashion)
    assert config["input_size"] == (data.in_chans, data.image_size, data.image_size)
    assert (tuple(config["mean"]), tuple(config["std"])) == (data.mean, data.std)
    assert (config["interpolation"], config["crop_pct"]) == (data.interpolation, data.crop_pct)
    assert tuple(vit_fashion.pretrained_cfg["label_names"]) == data.class_names
    assert vit_fashion.num_classes == data.num_classes


def test_other_sizes_channels_and_classes_start_from_its_weights(vit_fashion):
    name = f"local-dir:{pretrained_folder('vit_fashion')}"
    other = timm.create_model(name, pretrained=True, img_size=32, in_chans=3, num_classes=4)
    assert other(torch.zeros(2, 3, 32, 32)).shape == (2, 4)
    grey, colour = vit_fashion.patch_embed.proj.weight, other.patch_embed.proj.weight
    torch.testing.assert_close(colour.sum(1, keepdim=True), grey, atol=1e-3, rtol=0)  # float16
    assert torch.equal(other.blocks[5].mlp.fc2.weight, vit_fashion.blocks[5].mlp.fc2.weight)


def test_config_names_no_other_weights():
    config = json.loads((pretrained_folder("vit_fashion") / "config.json").read_text())
    assert config["pretrained_cfg"]["tag"] == "fashion_mnist"
    assert not {"url", "file", "hf_hub_id"} & set(config["pretrained_cfg"])


@pytest.mark.parametrize("name", ["vit_fashio", "", "../data"])
def test_unknown_names_are_one_line(name):
    with pytest.raises(CheckpointError) as info:
        pretrained_folder(name)
    assert str(info.value) == f"pretrained={name} is unknown; legal: {', '.join(list_pretrained())}"
