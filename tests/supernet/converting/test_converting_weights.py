"""Weights from files and folders, with what timm knows of the images and classes."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf
from timm_networks import noisy, pictures

import vitsearch
from vitsearch.errors import CheckpointError

MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
LABELS = ["cat", "dog", "bird"]


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    network = timm.create_model("test_vit3", num_classes=3, img_size=64)
    network.pretrained_cfg |= {"mean": MEAN, "std": STD, "interpolation": "bilinear"}
    network.pretrained_cfg |= {"crop_pct": 0.8, "label_names": LABELS, "num_classes": 3}
    return noisy(network).eval()


def with_tensors(path, state):
    save_file(state, path)


def with_torch(path, state):
    torch.save(state, path)


def with_torch_nested(path, state):
    torch.save({"state_dict": state, "epoch": 3}, path)


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("weights.safetensors", with_tensors),
        ("weights.pth", with_torch),
        ("weights.pth", with_torch_nested),
    ],
)
def test_files(theirs, file, write, tmp_path):
    write(tmp_path / file, theirs.state_dict())
    options = {"weights": tmp_path / file, "img_size": 64}
    ours = vitsearch.from_timm("test_vit3", **options)  # with the classes of the file
    torch.testing.assert_close(ours(pictures(theirs)), theirs(pictures(theirs)))
    one = vitsearch.from_timm("test_vit3", **options, in_chans=1)  # as timm sums colours
    grey = pictures(one)
    expected = timm.create_model(
        "test_vit3",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / file), "num_classes": 3},
        in_chans=1,
        img_size=64,
        num_classes=3,
    ).eval()
    torch.testing.assert_close(one(grey), expected(grey))


def test_the_classifier_of_a_file_is_kept_or_replaced(theirs, tmp_path):
    file = tmp_path / "weights.safetensors"
    x = pictures(theirs)
    tokens = theirs.forward_features(x)

    def made(**options):
        supernet = vitsearch.from_timm("test_vit3", weights=file, img_size=64, **options)
        torch.testing.assert_close(supernet.extract(supernet.largest).forward_features(x), tokens)
        return supernet

    save_file(theirs.state_dict(), file)
    torch.testing.assert_close(made(num_classes=3)(x), theirs(x))
    assert made(num_classes=7)(x).shape == (2, 7)
    assert made(num_classes=0).head is None
    theirs.reset_classifier(0)
    save_file(theirs.state_dict(), file)  # without one
    assert made(num_classes=7)(x).shape == (2, 7)
    torch.testing.assert_close(made(num_classes=0)(x), theirs(x))
    with pytest.raises(CheckpointError, match=r"weights=.* cannot be loaded: .*VisionTransformer"):
        made()
    state = theirs.state_dict()
    del state["blocks.1.attn.proj.weight"]  # nothing else may be missing, whatever the classes
    save_file(state, file)
    for options in ({}, {"num_classes": 7}, {"num_classes": 0}):
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            made(**options)


def test_a_file_in_place_of_the_weights_of_a_folder(theirs, tmp_path):
    save_for_hf(theirs, tmp_path / "folder", safe_serialization=True)
    noisy(theirs)
    save_file(theirs.state_dict(), tmp_path / "other.safetensors")
    ours = vitsearch.from_timm(tmp_path / "folder", weights=tmp_path / "other.safetensors")
    torch.testing.assert_close(ours(pictures(ours)), theirs(pictures(ours)))
    assert ours.class_names == tuple(LABELS)


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_folders_of_timm(theirs, prefix, tmp_path):
    save_for_hf(theirs, tmp_path / "folder", safe_serialization=True)
    source = f"{prefix}{tmp_path / 'folder'}"
    ours = vitsearch.from_timm(source, pretrained=True)
    assert ours.space.name == "folder"
    torch.testing.assert_close(ours(pictures(ours)), theirs(pictures(ours)))
    assert ours.class_names == tuple(LABELS)
    network = ours.extract(ours.largest)
    assert network.class_names == tuple(LABELS)
    assert network.has_stated_preprocessing
    assert_prepares(network)
    fresh = vitsearch.from_timm(source)  # no weights were asked for
    assert not torch.allclose(fresh(pictures(ours)), ours(pictures(ours)))
    assert vitsearch.from_timm(source, num_classes=2).class_names is None


def assert_prepares(network):
    config = timm.data.resolve_data_config(model=network)
    assert [*config["mean"]] == MEAN
    assert [*config["std"]] == STD
    assert config["interpolation"] == "bilinear"
    assert config["crop_pct"] == 0.8
    assert config["input_size"] == (3, 64, 64)


def test_preprocessing_and_class_names_go_all_the_way(theirs, tmp_path):
    supernet = vitsearch.from_timm(theirs, options={"removable": []})
    network = supernet.extract(supernet.space.smallest())
    assert_prepares(network)
    loaded = vitsearch.load_model(vitsearch.save_model(network, tmp_path / "model"))
    assert loaded.class_names == tuple(LABELS)
    assert_prepares(loaded)
    plain = loaded.to_timm()
    assert plain.pretrained_cfg["label_names"] == LABELS
    assert_prepares(plain)
    folder = vitsearch.save_timm(plain, tmp_path / "timm")
    by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert by_timm.pretrained_cfg["label_names"] == LABELS
    assert_prepares(by_timm)
    again = vitsearch.from_timm(by_timm)
    assert again.class_names == tuple(LABELS)
    assert_prepares(again.extract(again.largest))
