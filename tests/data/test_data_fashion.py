from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vitsearch.data
from vitsearch.data import FashionMini, FashionMNIST
from vitsearch.data.idx import read_idx, write_idx
from vitsearch.data.make_fashion_mini import main

EMBEDDED = Path(vitsearch.data.__file__).parent / "fashion_mini"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
NAMES = [
    f"{prefix}-{kind}-ubyte.gz"
    for prefix in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


def batches(loader):
    return [(images.clone(), labels.clone()) for images, labels in loader]


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) and torch.equal(x, y)
        for (a, x), (b, y) in zip(first, second, strict=True)
    )


def test_embedded_files_are_small_and_licensed():
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) < 5e6
    assert "2017 Zalando SE" in (EMBEDDED / "LICENSE").read_text()


@pytest.mark.skipif(
    not DEBIAN.is_dir(), reason="the Debian package dataset-fashion-mnist is absent"
)
def test_embedded_files_can_be_made_again(tmp_path):
    command = [sys.executable, "-m", "vitsearch.data.make_fashion_mini", str(DEBIAN), str(tmp_path)]
    subprocess.run(command, check=True)
    for name in NAMES:
        np.testing.assert_array_equal(read_idx(tmp_path / name), read_idx(EMBEDDED / name))


def test_the_maker_fails_with_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make", str(tmp_path), str(tmp_path / "target")])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "does not exist" in error


def test_attributes_without_setup():
    module = FashionMini()
    assert (module.num_classes, module.image_size, module.in_chans) == (10, 28, 1)
    assert module.class_names[9] == "Ankle boot"
    assert (module.batch_size, module.eval_batch_size) == (128, 512)


def test_splits_are_balanced_and_never_overlap(fashion):
    sizes = {"train": 5000, "search": 1000, "test": 2000}
    ids = {}
    for split, size in sizes.items():
        counts = torch.bincount(fashion.split_labels(split))
        assert counts.tolist() == [size // 10] * 10
        ids[split] = set(fashion.sample_ids(split))
        assert len(ids[split]) == size
    assert not ids["train"] & ids["search"]
    assert not (ids["train"] | ids["search"]) & ids["test"]
    assert {
        *fashion.split_indices("train").tolist(),
        *fashion.split_indices("search").tolist(),
    } == {*range(6000)}
    assert set(fashion.sample_ids("statistics")) <= ids["train"]


def test_splits_do_not_share_pictures(fashion):
    def pictures(loader):
        return {image.numpy().tobytes() for images, _ in loader for image in images}

    whole = fashion.make_dataset("train", fashion.split_indices("train"), augment=False)
    train = {image.numpy().tobytes() for image in whole.__getitems__(list(range(5000))).images}
    search = pictures(fashion.search_dataloader())
    test = pictures(fashion.test_dataloader())
    assert [len(train), len(search), len(test)] == [5000, 1000, 2000]
    assert len(train | search | test) == 8000


def test_splits_follow_the_seed_and_nothing_else(fashion):
    torch.manual_seed(123)
    np.random.seed(123)
    again, other = FashionMini(), FashionMini(seed=1)
    for split in ("train", "search", "statistics"):
        first = fashion.split_indices(split)[:100]
        assert torch.equal(first, again.split_indices(split)[:100])
        assert not torch.equal(first, other.split_indices(split)[:100])


def test_search_per_class():
    module = FashionMini(search_per_class=7)
    assert torch.bincount(module.split_labels("search")).tolist() == [7] * 10
    assert len(module.split_indices("train")) == 5930


def test_statistics_are_always_the_same(fashion):
    first = batches(fashion.statistics_dataloader())
    torch.manual_seed(5)
    assert same(first, batches(fashion.statistics_dataloader()))
    labels = torch.cat([labels for _, labels in first])
    assert torch.bincount(labels).tolist() == [10] * 10


def test_batches_follow_seed_and_epoch_with_and_without_workers(fashion):
    loader = fashion.train_dataloader()
    epochs = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        epochs.append(batches(loader))
    assert len(epochs[0]) == 10
    assert not same(epochs[0], epochs[1])

    workers = FashionMini(batch_size=500, num_workers=2).train_dataloader()
    for epoch in (1, 0):
        workers.sampler.set_epoch(epoch)
        assert same(batches(workers), epochs[epoch])


def test_loading_leaves_global_generators_alone(fashion):
    state = torch.get_rng_state()
    batches(fashion.train_dataloader())
    batches(fashion.search_dataloader())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_broken_off_pass_starts_again(fashion):
    loader = fashion.train_dataloader()
    first = next(iter(loader))[0]
    assert torch.equal(first, next(iter(loader))[0])


def test_loader_resumes_in_the_middle_of_an_epoch(fashion):
    loader = fashion.train_dataloader()
    loader.sampler.set_epoch(3)
    iterator = iter(loader)
    whole = [next(iterator) for _ in range(4)]
    state = loader.state_dict()
    assert state == {"epoch": 3, "batches": 4}
    rest = list(iterator)

    resumed = fashion.train_dataloader()
    resumed.load_state_dict(state)
    resumed.sampler.set_epoch(3)
    assert resumed.state_dict() == state
    assert same(list(resumed), rest)
    assert same(list(resumed), whole + rest)

    resumed.load_state_dict(state)
    resumed.sampler.set_epoch(4)
    assert len(list(resumed)) == 10


def test_other_sizes_and_channels():
    module = FashionMini(image_size=16, in_chans=3, batch_size=64)
    images, _ = next(iter(module.train_dataloader()))
    assert images.shape == (64, 3, 16, 16)
    assert images.dtype == torch.float32
    images, _ = next(iter(module.test_dataloader()))
    assert images.shape == (256, 3, 16, 16)


def test_normalised(fashion):
    images = next(iter(fashion.search_dataloader()))[0]
    assert abs(images.mean().item()) < 0.1
    assert abs(images.std().item() - 1) < 0.1


@pytest.mark.parametrize("place", ["", "raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_whole_data_set_is_found_in_each_place(tmp_path, place, end):
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        array = read_idx(EMBEDDED / name)[:400]
        write_idx(folder / (name.removesuffix(".gz") + end), array)
    module = FashionMNIST(tmp_path, batch_size=16)
    module.prepare_data()
    assert len(module.split_indices("test")) == 400
    assert next(iter(module.train_dataloader()))[0].shape == (16, 1, 28, 28)


def test_missing_files_are_named(tmp_path, one_line_error):
    with one_line_error(str(tmp_path), "train-images-idx3-ubyte", "t10k-labels", "download=True"):
        FashionMNIST(tmp_path).setup()


def test_failed_download_is_one_line(tmp_path, one_line_error, monkeypatch):
    import torchvision.datasets

    def fail(*args, **kwargs):
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fail)
    with one_line_error(str(tmp_path), "download failed: no route to host"):
        FashionMNIST(tmp_path, download=True).prepare_data()


def test_images_and_labels_must_agree(tmp_path, one_line_error):
    for name in NAMES:
        write_idx(tmp_path / name, read_idx(EMBEDDED / name)[: 50 if "labels" in name else 40])
    with one_line_error("40 images", "50 labels"):
        FashionMNIST(tmp_path).setup()


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"eval_batch_size": -1},
        {"image_size": 0},
        {"in_chans": 2},
        {"search_fraction": 0.0},
        {"search_fraction": 1.0},
        {"search_fraction": 1.5},
        {"search_per_class": 0},
        {"num_workers": -1},
        {"statistics_images": 0},
    ],
    ids=str,
)
def test_arguments_out_of_range(options, one_line_error):
    ((name, value),) = options.items()
    with one_line_error(f"{name}={value}", "must "):
        FashionMini(**options)


def test_too_large_a_batch(one_line_error):
    with one_line_error("5000 images", "batch_size=5001"):
        FashionMini(batch_size=5001).setup()


def test_too_many_search_images(one_line_error):
    with one_line_error("'T-shirt/top'", "600 images"):
        FashionMini(search_per_class=600).setup()


def test_unknown_split(fashion, one_line_error):
    with one_line_error("'valid'", "train, search, test, statistics"):
        fashion.split_indices("valid")
