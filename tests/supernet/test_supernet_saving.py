from __future__ import annotations

import json
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import vitsearch
from vitsearch import find_model, load_model, save_model
from vitsearch.errors import ConfigError, VitSearchError
from vitsearch.supernet.storage import model_folder

FILES = ["architecture.json", "model.safetensors"]


@pytest.fixture
def extracted(supernet):
    network = supernet("small", dtype=torch.float32)
    return network.extract(network.space.sample(random.Random(3)))


@pytest.fixture
def folder(extracted, tmp_path):
    return save_model(extracted, tmp_path / "best", class_names=["a", "b", "c", "d", "e"])


def edit(folder, **changes):
    file = folder / "architecture.json"
    described = json.loads(file.read_text())
    for key, value in changes.items():
        if value is KeyError:
            del described[key]
        else:
            described[key] = value
    file.write_text(json.dumps(described))


@torch.no_grad()
def test_round_trip(extracted, folder, images):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    loaded = load_model(folder)
    assert not loaded.training
    assert loaded.architecture == extracted.architecture
    assert loaded.space == extracted.space
    assert loaded.num_classes == 5
    assert torch.equal(loaded(images(extracted)), extracted(images(extracted)))
    assert torch.equal(load_model(str(folder))(images(extracted)), extracted(images(extracted)))


@torch.no_grad()
@pytest.mark.parametrize("name", ["grid", "widths and patches", "avg", "stages"])
def test_round_trip_of_other_spaces(name, supernet, images, tmp_path):
    network = supernet(name, num_classes=0, dtype=torch.float32)
    extracted = network.extract(network.space.sample(random.Random(0)))
    loaded = load_model(save_model(extracted, tmp_path / "deep" / "down"))
    assert torch.equal(loaded(images(network)), extracted(images(network)))


def test_restricted_and_published_spaces_come_back(tmp_path):
    network = vitsearch.create_model("glit_tiny", num_classes=3)
    assert load_model(save_model(network, tmp_path / "model")).space.name == "glit_tiny"
    space = network.space.restrict(network.architecture).resized(image_size=32)
    network = vitsearch.VisionTransformer(space, network.architecture, num_classes=3)
    assert load_model(save_model(network, tmp_path / "model")).space == space


def test_folder_describes_itself(extracted, folder):
    described = json.loads((folder / "architecture.json").read_text())
    cost = extracted.cost()
    assert described["architecture"] == extracted.architecture.to_dict()
    assert described["digest"] == extracted.architecture.digest
    assert described["space"] == extracted.space.config
    assert described["class_names"] == ["a", "b", "c", "d", "e"]
    assert (described["macs"], described["params"]) == (cost.macs, cost.params)
    state = load_file(folder / "model.safetensors")
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in extracted.state_dict().items()
    }


GREY = {"mean": (0.286,), "std": (0.353,), "interpolation": "bilinear", "crop_pct": 1.0}


def test_preprocessing_goes_along(extracted, folder, tmp_path):
    network = load_model(folder)
    assert not network.has_stated_preprocessing  # a guess is not written down as if it were known
    assert json.loads((folder / "architecture.json").read_text())["pretrained_cfg"] is None
    assert network.pretrained_cfg["mean"] == (0.449,)
    network.set_preprocessing({**GREY, "mean": 0.286})
    loaded = load_model(save_model(network, tmp_path / "again"))
    assert loaded.has_stated_preprocessing
    assert loaded.pretrained_cfg == network.pretrained_cfg == network.pretrained_cfg | GREY
    assert loaded.default_cfg is loaded.pretrained_cfg
    network.set_preprocessing({"mean": (0.449,), "std": [0.226]})
    network.set_preprocessing({"interpolation": "bicubic", "crop_pct": 0.875})
    assert network.pretrained_cfg == extracted.pretrained_cfg
    assert load_model(save_model(network, tmp_path / "same")).has_stated_preprocessing
    fresh = load_model(folder)
    fresh.pretrained_cfg.update(GREY)  # as timm's users do it
    assert load_model(save_model(fresh, tmp_path / "timm")).pretrained_cfg["std"] == (0.353,)


def test_preprocessing_that_is_not_legal(folder):
    network = load_model(folder)
    before = dict(network.pretrained_cfg)
    with pytest.raises(ConfigError, match="preprocessing has no size; legal: mean"):
        network.set_preprocessing({"mean": 0.5, "size": 3})
    assert network.pretrained_cfg == before


def test_class_names_go_along(folder, tmp_path):
    network = load_model(folder)
    assert network.class_names == ("a", "b", "c", "d", "e")
    assert load_model(save_model(network, tmp_path / "again")).class_names == network.class_names
    renamed = save_model(network, tmp_path / "again", class_names=list("vwxyz"))
    assert load_model(renamed).class_names == tuple("vwxyz")
    with pytest.raises(ConfigError, match="class_names has 1 names for 5 classes"):
        save_model(network, tmp_path / "again", class_names=["a"])
    assert load_model(renamed).class_names == tuple("vwxyz")
    network.reset_classifier(2)
    assert network.class_names is None
    assert network.pretrained_cfg["num_classes"] == 2


def test_folders_of_earlier_versions(folder):
    described = json.loads((folder / "architecture.json").read_text())
    del described["pretrained_cfg"], described["class_names"]
    (folder / "architecture.json").write_text(json.dumps(described))
    network = load_model(folder)
    assert (network.class_names, network.has_stated_preprocessing) == (None, False)


def test_a_run_folder_stands_for_its_model(extracted, tmp_path, damaged):
    with damaged("architecture.json is missing, in it and in its model and best"):
        find_model(tmp_path)
    best = save_model(extracted, tmp_path / "best")
    assert find_model(tmp_path) == find_model(best) == find_model(str(best)) == best
    assert load_model(tmp_path).architecture == extracted.architecture
    retrained = save_model(extracted, tmp_path / "model")
    assert find_model(tmp_path) == retrained
    assert find_model(best) == best
    save_model(extracted, tmp_path / "model" / "best")
    assert find_model(retrained) == retrained


def test_folder_can_be_read_by_others(folder):
    assert folder.stat().st_mode & 0o777 == 0o755
    modes = {file.stat().st_mode for file in folder.iterdir()}
    assert len(modes) == 1  # what new files get here


def test_folder_is_replaced_whole(extracted, folder):
    (folder / "old.txt").write_text("from before")
    save_model(extracted, folder)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["best"]
    assert json.loads((folder / "architecture.json").read_text())["class_names"] is None


def test_failure_leaves_the_old_folder(extracted, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def broken(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(model_folder, "save_file", broken)
    with pytest.raises(OSError, match="no space left"):
        save_model(extracted, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["best"]
    with pytest.raises(OSError, match="no space left"):
        save_model(extracted, folder.parent / "new")
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


@pytest.mark.parametrize("name", FILES)
def test_missing_file(name, folder, damaged):
    (folder / name).unlink()
    with damaged(folder, f"{name} is missing"):
        load_model(folder)


def test_missing_folder(tmp_path, damaged):
    with damaged(tmp_path / "nowhere", "architecture.json is missing"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with damaged(tmp_path / "file", "architecture.json is missing"):
        load_model(tmp_path / "file")


@pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.999])
def test_truncated_weights(share, folder, damaged):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with damaged(folder, "damaged"):
        load_model(folder)


def test_weights_that_are_something_else(folder, damaged):
    (folder / "model.safetensors").write_bytes(b"\xff" * 1000)
    with damaged(folder, "damaged"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "{", '{"space":\n', "[]", "null", "3"])
def test_invalid_json(text, folder, damaged):
    (folder / "architecture.json").write_text(text)
    with damaged(folder, "damaged"):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": KeyError}, ["space"]),
        ({"architecture": KeyError}, ["architecture"]),
        ({"num_classes": KeyError}, ["num_classes"]),
        ({"space": {}}, ["image_size is missing"]),
        ({"space": None}, []),
        ({"space": "glit"}, []),
        ({"architecture": {}}, ["stem.patch_size is missing"]),
        ({"architecture": {"stem.patch_size": 5}}, ["stem.patch_size=5"]),
        ({"num_classes": -1}, ["num_classes=-1"]),
        ({"num_classes": "five"}, []),
        ({"num_classes": None}, []),
        ({"class_names": ["a", "b"]}, ["2 names for 5 classes"]),
        ({"class_names": 3}, []),
        ({"pretrained_cfg": {"mean": [0.1, 0.2]}}, ["mean=[0.1, 0.2] has 2 numbers for 1 channel"]),
        ({"pretrained_cfg": {"mean": "grey"}}, ["mean='grey'"]),
        ({"pretrained_cfg": {"mean": [None]}}, ["mean=[None]"]),
        ({"pretrained_cfg": {"std": 0}}, ["std=0 must be above 0"]),
        ({"pretrained_cfg": {"std": [float("nan")]}}, ["std=[nan]"]),
        ({"pretrained_cfg": {"interpolation": "magic"}}, ["interpolation='magic'", "bicubic"]),
        ({"pretrained_cfg": {"crop_pct": 1.5}}, ["crop_pct=1.5"]),
        ({"pretrained_cfg": 3}, []),
    ],
)
def test_wrong_description(changes, words, folder, damaged):
    edit(folder, **changes)
    with damaged(folder, "damaged", *words):
        load_model(folder)


@pytest.mark.parametrize(
    "changes", [{"architecture": [1]}, {"architecture": None}, {"space": ["name"]}], ids=str
)
def test_rarely_wrong_description(changes, folder, damaged):
    edit(folder, **changes)
    with damaged(folder, "damaged"):
        load_model(folder)


def test_description_that_is_no_text(folder, damaged):
    (folder / "architecture.json").write_bytes(b"\xff\xfe\x00")
    with damaged(folder, "damaged"):
        load_model(folder)


def test_weights_of_another_network(folder, supernet, damaged):
    file = folder / "model.safetensors"
    state = load_file(file)
    save_file({k: v for k, v in state.items() if k != "norm.weight"}, file)
    with damaged(folder, "does not fit", "missing: norm.weight"):
        load_model(folder)
    save_file({**state, "norm.scale": torch.ones(3)}, file)
    with damaged(folder, "does not fit", "extra: norm.scale"):
        load_model(folder)
    save_file({**state, "norm.weight": torch.ones(3)}, file)
    with damaged(folder, "does not fit", "misshapen: norm.weight (3,) for (48,)"):
        load_model(folder)
    save_file({}, file)
    with damaged(folder, "does not fit", "missing", f"and {len(state) - 5} more"):
        load_model(folder)
    edit(folder, num_classes=7)
    save_file(state, file)
    with damaged(folder, "head.weight (5, 48) for (7, 48)"):
        load_model(folder)


def test_errors_are_the_librarys(folder):
    shutil.rmtree(folder)
    with pytest.raises(VitSearchError):
        load_model(folder)


def test_a_part_that_is_not_installed_is_no_damage(extracted, tmp_path):
    folder = save_model(extracted, tmp_path / "model")
    described = json.loads((folder / "architecture.json").read_text())
    described["space"]["mlp"]["kind"] = "gated"
    (folder / "architecture.json").write_text(json.dumps(described))
    with pytest.raises(VitSearchError, match=r"needs a part that is not installed here.*gated"):
        load_model(folder)
