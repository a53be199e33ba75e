from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import vitsearch.data
from vitsearch.data.idx import read_idx, write_idx
from vitsearch.data.make_fashion_mini import make_fashion_mini
from vitsearch.pretrained.make_vit_fashion import count_correct, main, train, unseen_images

EMBEDDED = Path(vitsearch.data.__file__).parent / "fashion_mini"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
COUNTS = (610, 616, 5)  # of the first classes; fashion_mini takes up to 600 of each


def write_part(folder, prefix, counts, *, side=28):
    """Images that all differ, with random classes in random order."""
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8)
    images = np.zeros((len(labels), side, side), np.uint8)
    images[:, 4:8, 4:8] = rng.integers(0, 256, (len(labels), 4, 4))
    images[:, 10 : 10 + len(counts)] = 20 * labels[:, None, None]
    write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
    write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    write_part(folder, "train", COUNTS)
    write_part(folder, "t10k", (3, 3, 3))
    return folder


@pytest.fixture
def make(monkeypatch, capsys):
    """Run the command in this process: exit code, output, errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["make", *map(str, arguments)])
        code = main()
        return code, *capsys.readouterr()

    return run


def as_bytes(images):
    return [image.tobytes() for image in images]


def trained_on(images):
    return as_bytes(images.images[images.indices, 0].numpy())


def test_the_images_are_those_that_fashion_mini_leaves(source, tmp_path):
    make_fashion_mini(source, tmp_path / "mini")
    mini = as_bytes(read_idx(tmp_path / "mini" / "train-images-idx3-ubyte.gz"))
    whole = as_bytes(read_idx(source / "train-images-idx3-ubyte.gz"))
    images = unseen_images(source)
    assert len(mini) == 600 + 600 + 5
    assert len(images) == 10 + 16
    assert not set(trained_on(images)) & set(mini)
    assert {*trained_on(images), *mini} == {*whole}
    assert torch.bincount(images.labels[images.indices]).tolist() == [10, 16]


@pytest.mark.skipif(
    not DEBIAN.is_dir(), reason="the Debian package dataset-fashion-mnist is absent"
)
def test_no_image_of_the_embedded_data_set_is_trained_on():
    images = unseen_images(DEBIAN)
    assert torch.bincount(images.labels[images.indices]).tolist() == [5400] * 10
    for prefix in ("train", "t10k"):
        embedded = as_bytes(read_idx(EMBEDDED / f"{prefix}-images-idx3-ubyte.gz"))
        assert not set(trained_on(images)) & set(embedded)


@pytest.mark.slow
def test_the_command_writes_what_it_has_trained(source, tmp_path, make):
    target = tmp_path / "target"
    code, out, err = make(source, target, "--epochs", 1)
    assert (code, err) == (0, "")
    assert {path.name for path in target.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    written = timm.create_model(f"local-dir:{target}", pretrained=True).eval()
    again = train(unseen_images(source), epochs=1)
    for name, tensor in again.state_dict().items():
        assert torch.equal(written.state_dict()[name], tensor.half().float())

    correct, tested = count_correct(written)
    accuracy = f"{100 * correct / tested:.2f} %"
    readme = (target / "README.md").read_text(encoding="utf-8")
    assert accuracy in out
    for words in (accuracy, "Data: 26 training images", "TARGET_FOLDER --epochs 1"):
        assert words in readme


def test_training_lowers_the_loss(source, capsys):
    train(unseen_images(source), epochs=4)
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert len(losses) == 4
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "train-images-idx3-ubyte.gz").unlink(), "does not exist"),
        (lambda folder: write_part(folder, "train", (600, 7)), "607 training images"),
        (lambda folder: write_part(folder, "train", COUNTS, side=32), "32x32; expected 28x28"),
        (lambda folder: write_part(folder, "train", (1,) * 10 + (601,)), "legal are 0 to 9"),
        (
            lambda folder: write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(9, np.uint8)),
            "1231 images",
        ),
    ],
    ids=["missing", "all taken", "other size", "other classes", "fewer labels"],
)
def test_a_source_that_does_not_fit_is_one_line(source, tmp_path, make, damage, words):
    damage(source)
    code, out, err = make(source, tmp_path / "target")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert str(source) in err
    assert not (tmp_path / "target").exists()


def test_arguments_that_do_not_fit_are_one_line(source, tmp_path, make):
    code, _, err = make(source, tmp_path / "target", "--epochs", 0)
    assert (code, err) == (2, "epochs=0 must be a whole number, 1 or more\n")
    file = source / "train-labels-idx1-ubyte.gz"
    code, _, err = make(source, file)
    assert (code, err.count("\n")) == (2, 1)
    assert f"target={file} must be a folder" in err
