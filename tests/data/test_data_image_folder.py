from __future__ import annotations

import random
import re
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from vitsearch.data import ImageFolder

SMALL = {"image_size": 16, "batch_size": 4, "num_workers": 0, "statistics_images": 6}


def everything(loader):
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("layout", ["test", "val", "flat"])
def test_layouts(tmp_path, fill, layout, in_chans):
    if layout == "flat":
        fill(tmp_path, 12)
    else:
        fill(tmp_path / "train", 9)
        fill(tmp_path / layout, 3)
    module = ImageFolder(tmp_path, in_chans=in_chans, search_fraction=1 / 3, **SMALL)
    assert module.class_names == ("ant", "bee", "cat")
    module.setup()
    ids = {split: module.sample_ids(split) for split in ("train", "search", "test")}
    assert sorted(chain.from_iterable(ids.values())) == sorted(
        str(p) for p in tmp_path.rglob("*.*")
    )
    assert len(set(chain.from_iterable(ids.values()))) == 36
    tests = 2 if layout == "flat" else 3
    assert torch.bincount(module.split_labels("test")).tolist() == [tests] * 3
    assert torch.bincount(module.split_labels("search")).tolist() == [3] * 3
    if layout != "flat":
        assert all(f"/{layout}/" in path for path in ids["test"])
    for split, loader in (
        ("search", module.search_dataloader()),
        ("test", module.test_dataloader()),
        ("statistics", module.statistics_dataloader()),
    ):
        images, labels = everything(loader)
        assert images.shape == (len(module.sample_ids(split)), in_chans, 16, 16)
        assert torch.equal(labels, module.split_labels(split))
    images, labels = next(iter(module.train_dataloader()))
    assert images.shape == (4, in_chans, 16, 16)
    assert images.isfinite().all()


def test_the_files_name_their_classes(tmp_path, fill):
    module = ImageFolder(fill(tmp_path), mean=0.5, std=0.5, search_fraction=0.3, **SMALL)
    names = [path.split("/")[-2] for path in module.sample_ids("train")]
    assert names == [module.class_names[label] for label in module.split_labels("train")]


def test_splits_follow_the_seed_and_the_names_only(tmp_path, fill):
    first = ImageFolder(fill(tmp_path / "a"), **SMALL)
    moved = ImageFolder(fill(tmp_path / "b"), **SMALL)
    other = ImageFolder(tmp_path / "a", seed=1, **SMALL)
    for split in ("train", "search", "test"):
        tails = [path.split("/a/")[1] for path in first.sample_ids(split)]
        assert tails == [path.split("/b/")[1] for path in moved.sample_ids(split)]
    assert first.sample_ids("train") != other.sample_ids("train")


def test_augmentation_is_reproducible_and_private(tmp_path, fill):
    options = {"auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.5, "color_jitter": 0.3}
    root = fill(tmp_path)

    def epoch(number, **more):
        module = ImageFolder(root, **{**SMALL, **options, **more})
        loader = module.train_dataloader()
        loader.sampler.set_epoch(number)
        return everything(loader)[0]

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    images = epoch(0)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    assert torch.equal(images, epoch(0))
    assert torch.equal(images, epoch(0, num_workers=2))
    assert not torch.equal(images, epoch(1))
    assert not torch.equal(images, epoch(0, seed=1))


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "augmix-m3", "3a", "original"])
def test_every_policy_works_for_grey_and_colour(tmp_path, fill, policy, in_chans):
    module = ImageFolder(
        fill(tmp_path),
        in_chans=in_chans,
        auto_augment=policy,
        re_prob=1.0,
        re_mode="pixel",
        color_jitter=0.2,
        train_interpolation="random",
        vflip=0.5,
        crop_pct=1.0,
        **SMALL,
    )
    loader = module.train_dataloader()
    for number in range(2):
        loader.sampler.set_epoch(number)
        assert everything(loader)[0].shape[1:] == (in_chans, 16, 16)


def test_corrupt_files_are_skipped_everywhere(tmp_path, fill, said):
    fill(tmp_path)
    for number in range(25):
        (tmp_path / "ant" / f"bad{number:02d}.png").write_bytes(b"no picture")
    module = ImageFolder(tmp_path, **SMALL)
    module.setup()
    line = said()
    assert re.search("skipping 25 image.*bad00.*bad19.png.*, and 5 more", line)
    assert "bad20" not in line
    ids = [path for split in ("train", "search", "test") for path in module.sample_ids(split)]
    assert len(ids) == 24
    assert not any("bad" in path for path in ids)


def test_corrupt_files_are_refused(tmp_path, fill, one_line_error):
    fill(tmp_path)
    for name in ("bad0.png", "bad1.jpg"):
        (tmp_path / "bee" / name).write_bytes(b"")
    with one_line_error("2 image(s)", str(tmp_path / "bee" / "bad0.png"), "corrupt=skip"):
        ImageFolder(tmp_path, corrupt="refuse", **SMALL).setup()


@pytest.fixture
def truncated(tmp_path, fill):
    """A root with truncated files in training, search and test split, and their paths."""
    root = fill(tmp_path / "root", 12)
    module = ImageFolder(root, **SMALL)
    paths = {}
    for split in ("train", "search", "test"):
        path = module.sample_ids(split)[0]
        paths[split] = path
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: len(content) // 2])
    return root, paths


@pytest.mark.parametrize("num_workers", [0, 1])
def test_truncated_files_are_skipped_when_decoded(truncated, num_workers, said):
    root, paths = truncated
    options = {**SMALL, "num_workers": num_workers, "check_files": False}
    module = ImageFolder(root, **options)
    train = module.train_dataloader()
    images, labels = everything(train)
    line = said()
    assert "skipping 1 image" in line
    assert paths["train"] in line
    assert len(images) == len(train) * 4
    expected = module.split_labels("train")
    order = [number % len(expected) for number in train.sampler][: len(labels)]
    assert torch.equal(labels, expected[order])
    assert torch.equal(everything(train)[0], images)
    assert said() == ""
    for split, loader in (
        ("search", module.search_dataloader()),
        ("test", module.test_dataloader()),
    ):
        images, _ = everything(loader)
        line = said()
        assert "skipping 1 image" in line
        assert paths[split] in line
        assert len(images) == len(module.split_indices(split)) - 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_truncated_files_are_refused_when_decoded(truncated, one_line_error, num_workers):
    root, paths = truncated
    options = {**SMALL, "num_workers": num_workers, "check_files": False, "corrupt": "refuse"}
    module = ImageFolder(root, **options)
    for split, loader in (
        ("train", module.train_dataloader()),
        ("search", module.search_dataloader()),
    ):
        with one_line_error("1 image(s)", paths[split]):
            list(loader)


def test_a_batch_without_any_readable_image_is_left_out(tmp_path, fill, said):
    module = ImageFolder(fill(tmp_path, 12), **{**SMALL, "eval_batch_size": 2})
    for path in module.sample_ids("test")[:2]:
        Path(path).write_bytes(b"")
    loader = module.test_dataloader()
    assert len(loader) == 3
    assert [len(labels) for _, labels in loader] == [2, 2]
    assert "skipping 2 image" in said()


def test_a_class_that_cannot_be_read_ends_training(tmp_path, fill, one_line_error):
    root = fill(tmp_path, 8)
    for path in (root / "cat").iterdir():
        path.write_bytes(b"")
    module = ImageFolder(root, check_files=False, **SMALL)
    with one_line_error("cat", "can be read"):
        for _ in range(3):
            list(module.train_dataloader())
    with one_line_error("'cat'", "can be read"):
        ImageFolder(root, **SMALL).setup()


def test_layout_errors(tmp_path, fill, one_line_error):
    with one_line_error("nothing", "is not a folder"):
        ImageFolder(tmp_path / "nothing")
    with one_line_error(str(tmp_path), "no class folders"):
        ImageFolder(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with one_line_error("train", "no class folders"):
        ImageFolder(tmp_path)
    fill(tmp_path / "train", 4)
    fill(tmp_path / "test", 2, ("ant", "bee", "dog"))
    with one_line_error("'cat'", "'dog'", "but not in"):
        ImageFolder(tmp_path)


def test_empty_and_single_classes(tmp_path, fill, one_line_error):
    fill(tmp_path / "a", 4)
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "a" / "empty" / "notes.txt").write_text("no image")
    (tmp_path / "a" / ".cache").mkdir()
    with one_line_error("'empty'", ".png"):
        ImageFolder(tmp_path / "a").setup()
    fill(tmp_path / "b", 9, ("ant",))
    with one_line_error("1 class", "ant", "at least 2"):
        ImageFolder(tmp_path / "b", **SMALL).setup()
    fill(tmp_path / "c", 9, ("ant", "bee"))
    fill(tmp_path / "c", 1, ("cat",))
    with one_line_error("'cat'", "1 images", "test split"):
        ImageFolder(tmp_path / "c", **SMALL).setup()


@pytest.mark.parametrize(
    "options",
    [
        {"in_chans": 4},
        {"corrupt": "ignore"},
        {"interpolation": "random"},
        {"train_interpolation": "best"},
        {"test_fraction": 1.0},
        {"hflip": 2},
        {"re_prob": -0.1},
        {"crop_pct": 0},
        {"std": 0.0},
        {"mean": (0.5, 0.5)},
        {"scale": (0.5,)},
        {"ratio": (2.0, 1.0)},
        {"auto_augment": "nonsense"},
        {"re_mode": "nonsense", "re_prob": 0.5},
    ],
    ids=str,
)
def test_options_out_of_range(tmp_path, fill, options, one_line_error):
    with one_line_error(next(iter(options))):
        ImageFolder(fill(tmp_path, 2), **options)
