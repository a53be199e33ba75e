from __future__ import annotations

import pytest
from tests.data.conftest import draw
from tests.data.folders import SMALL, fill, read, used

from vitsearch.data import ImageFolder


@pytest.mark.parametrize("train", ["train", "Training", "train_set", "TRAIN"])
@pytest.mark.parametrize("test", ["test", "Testing", "val", "valid", "Validation", "dev", "eval"])
def test_splits_by_any_usual_name(tmp_path, said, train, test):
    fill(tmp_path, f"{train}/ant", f"{train}/bee", f"{test}/ant", f"{test}/bee")
    module = read(tmp_path)
    assert module.class_names == ("ant", "bee")
    assert all(f"/{test}/" in path for path in module.sample_ids("test"))
    assert len(module.sample_ids("test")) == 12
    assert said() == ""


@pytest.mark.parametrize(
    "name", ["train", "Training", "test", "val", "valid", "validation", "dev", "eval", "testset"]
)
@pytest.mark.parametrize("nested", [True, False])
def test_a_class_may_have_the_name_of_a_split(tmp_path, said, name, nested):
    inside = ("/old", "/new") if nested else ("",)
    fill(tmp_path, *(f"{c}{folder}" for c in ("car", "plane", name) for folder in inside))
    module = read(tmp_path)
    assert module.class_names == tuple(sorted(("car", "plane", name)))
    assert len(used(module)) == 18 * len(inside)
    line = said()
    assert (f"{name} is read as a class" in line) is nested
    assert (str(tmp_path / name) in line) is nested


def test_a_class_of_a_split_may_be_called_train(tmp_path, said):
    names = ("car", "test", "train")
    fill(tmp_path, *(f"{split}/{name}" for split in ("train", "val") for name in names))
    assert read(tmp_path).class_names == names
    assert said() == ""


def test_two_classes_called_train_and_test_beside_another(tmp_path):
    fill(tmp_path, "car", "train/steam", "train/diesel", "test/crash")
    assert read(tmp_path).class_names == ("car", "test", "train")


def test_what_lies_beside_splits(tmp_path, said):
    fill(tmp_path, *(f"{s}/{c}" for s in ("train", "val", "test", "extra") for c in "ab"))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "0.xml").write_text("<xml/>")
    draw(tmp_path / "sample.png", 0, 0)
    draw(tmp_path / "train" / "sample.png", 0, 0)
    (tmp_path / "train" / "labels.csv").write_text("a,b")
    module = read(tmp_path)
    assert {path.split("/")[0] for path in used(module)} == {"train", "test"}
    line = said()
    assert "3 beside train and test (annotations, extra, val)" in line
    assert "2 outside the class folders (sample.png, train/sample.png)" in line


def test_a_test_folder_without_classes(tmp_path, said):
    fill(tmp_path, "train/a", "train/b", "test")
    module = read(tmp_path)
    assert len(used(module)) == 12
    assert "1 without class folders (test)" in said()
    fill(tmp_path, "annotations")  # now `train` may be a class
    assert ImageFolder(tmp_path, **SMALL).class_names == ("annotations", "test", "train")


@pytest.mark.parametrize("names", [("val", "validation"), ("test", "Test"), ("train", "training")])
def test_one_split_under_two_names(tmp_path, one_line_error, names):
    other = "test" if "train" in names else "train"
    fill(tmp_path, *(f"{split}/{name}" for split in (*names, other) for name in "ab"))
    with one_line_error(str(tmp_path), *names, "keep one"):
        ImageFolder(tmp_path)


def test_two_validation_splits_beside_a_test_split(tmp_path, said):
    splits = ("train", "val", "validation", "test")
    fill(tmp_path, *(f"{split}/{name}" for split in splits for name in "ab"))
    read(tmp_path)
    assert "2 beside train and test (val, validation)" in said()


def test_splits_without_one_to_train_on(tmp_path, one_line_error):
    fill(tmp_path, "test/a", "test/b", "val/a", "val/b")
    with one_line_error(str(tmp_path), "test, val", "no class folders", "train/<class>"):
        ImageFolder(tmp_path)
    fill(tmp_path, "train")
    with one_line_error("no class folders"):
        ImageFolder(tmp_path)


def test_splits_inside_of_classes_are_read_as_one(tmp_path, said):
    fill(tmp_path, "a/train", "a/test", "b/train", "b/test")
    module = read(tmp_path)
    assert module.class_names == ("a", "b")
    assert len(used(module)) == 24
    assert "test and train inside of every class are read as one" in said()
    fill(tmp_path, "c/train", "c/wood")
    read(tmp_path)
    assert said() == ""


def test_classes_that_differ_in_case(tmp_path, said, one_line_error):
    fill(tmp_path / "flat", "Cat", "cat", "dog")
    assert read(tmp_path / "flat").class_names == ("Cat", "cat", "dog")
    assert "classes that differ only in case: 'Cat' and 'cat'" in said()
    fill(tmp_path / "splits", "train/Cat", "train/dog", "test/cat", "test/dog")
    with one_line_error("class 'Cat' is in", "class 'cat' is in"):
        ImageFolder(tmp_path / "splits")


def test_hidden_classes_alone(tmp_path, one_line_error):
    fill(tmp_path, ".a", "__MACOSX/b")
    with one_line_error("no class folders", "2 hidden (.a, __MACOSX)"):
        ImageFolder(tmp_path)
