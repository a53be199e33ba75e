from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.data.conftest import draw
from tests.data.folders import SMALL, fill, read, used
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from vitsearch.data import ImageFolder
from vitsearch.data.folder_images import ImageFiles
from vitsearch.data.folder_walk import LeftOut


def test_files_have_the_order_of_torchvision(tmp_path):
    fill(tmp_path, "a", "a/x", "a/x y", "a/x/z", "a b", "b/deep/er", "b", "B", images=3)
    draw(tmp_path / "a" / "UPPER.PNG", 0, 0)
    names = ("B", "a", "a b", "b")
    expected = make_dataset(str(tmp_path), {n: i for i, n in enumerate(names)}, IMG_EXTENSIONS)
    left_out = LeftOut(tmp_path)
    files = ImageFiles.scan(tmp_path, names, left_out)
    assert list(zip(files.paths, files.table.labels, strict=True)) == expected
    assert not left_out.line()


def test_every_readable_file_counts(tmp_path, said):
    fill(tmp_path, "a", "b")
    kinds = ("GIF", "Jfif", "BMP", "tiff", "webp", "")
    for number, end in enumerate(kinds):
        path = draw(tmp_path / "a" / f"image{number}.png", 0, number)
        if end.lower() in ("", "jfif"):
            path.rename(path.with_suffix(end and f".{end}"))
        else:
            draw(path.with_suffix(f".{end}"), 0, number)
            path.unlink()
    assert len(used(read(tmp_path))) == 12 + len(kinds)
    assert said() == ""


def test_files_that_are_no_images_are_counted(tmp_path, said):
    fill(tmp_path, "a", "b")
    for name in ("0.txt", "1.TXT", "deep/0.csv", "drawing.svg", "README", "photo.heic"):
        path = tmp_path / "a" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("text")
    assert len(used(read(tmp_path))) == 12
    line = said()
    kinds = "2 .txt, 1 .csv, 1 .heic, 1 .svg, 1 without suffix"
    assert f"left out 6 not readable as images ({kinds})" in line
    assert "pip install pillow-heif" in line
    assert str(tmp_path) in line


def test_hidden_files_and_folders_are_counted(tmp_path, said):
    fill(tmp_path, "a", "b", ".ipynb_checkpoints", "a/.ipynb_checkpoints", "a/@eaDir", "__MACOSX/a")
    for name in (".DS_Store", "a/Thumbs.db", "b/desktop.ini", "b/._0.png", "b/deep/.hidden.png"):
        draw(tmp_path / f"{name}.png", 0, 0).rename(tmp_path / name)
    assert len(used(read(tmp_path))) == 12
    assert "left out 9 hidden (.DS_Store, .ipynb_checkpoints, __MACOSX, and 6 more)" in said()


def test_a_hidden_root_is_no_hidden_folder(tmp_path, said):
    assert len(used(read(fill(tmp_path / ".cache" / "__pycache__", "a", "b")))) == 12
    assert said() == ""


@pytest.mark.parametrize("target", [".", "..", "../..", "../a", "../b", "deep"])
def test_links_that_lead_back(tmp_path, said, target):
    root = fill(tmp_path / "root", "a", "a/deep", "b")
    (root / "a" / "loop").symlink_to(target)
    assert len(used(read(root))) == 18
    assert "1 linking back to what is read already (a/loop)" in said()


def test_links_beside_the_classes(tmp_path, said, one_line_error):
    root = fill(tmp_path / "root", "a", "b")
    (root / "loop").symlink_to(".")
    (root / "self").symlink_to("self")
    assert read(root).class_names == ("a", "b")
    assert "1 linking back to what is read already (loop)" in said()
    (root / "again").symlink_to("a")
    with one_line_error("class 'again'", "2 linking back to what is read already (loop, again)"):
        read(root)


def test_links_to_elsewhere_are_followed_once(tmp_path, said):
    outside = fill(tmp_path / "outside", "c", "c/deep", "d")
    root = fill(tmp_path / "root", "a", "b")
    (root / "c").symlink_to(outside / "c")
    (root / "b" / "more").symlink_to(outside / "d")
    (root / "b" / "more_again").symlink_to(outside / "d")
    (outside / "d" / "back").symlink_to(root)
    module = read(root)
    assert module.class_names == ("a", "b", "c")
    assert len(used(module)) == 30
    assert "2 linking back to what is read already (b/more_again, b/more/back)" in said()


def test_links_to_files(tmp_path, said):
    root = fill(tmp_path / "root", "a", "b")
    elsewhere = draw(tmp_path / "elsewhere.png", 0, 0)
    (root / "a" / "0again.png").symlink_to("0.png")
    for name in ("x", "y"):
        (root / "a" / f"{name}.png").symlink_to(elsewhere)
        (root / "b" / f"{name}.png").symlink_to(root / "a" / f"{name}.png")
    module = read(root)
    assert used(module) >= {"a/0.png", "a/x.png", "b/x.png"}
    assert len(used(module)) == 14
    assert "3 linking back to what is read already (a/0again.png, a/y.png, b/y.png)" in said()


def test_broken_links_are_damaged_images(tmp_path, said, one_line_error):
    root = fill(tmp_path, "a", "b")
    (root / "a" / "gone.png").symlink_to("nowhere.png")
    assert len(used(read(root))) == 12
    assert "skipping 1 image(s)" in said()
    with one_line_error("gone.png", "corrupt=skip"):
        ImageFolder(root, corrupt="refuse", **SMALL).setup()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_not_opened(tmp_path, said):
    fill(tmp_path, "a", "b")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert len(used(read(tmp_path))) == 12
    assert "1 not readable as images (1 .png)" in said()


def test_folders_that_cannot_be_opened(tmp_path, said, monkeypatch):
    fill(tmp_path, "a", "a/private", "b")
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "private":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert len(used(read(tmp_path))) == 12
    assert "1 without access (a/private)" in said()


def test_names_with_line_breaks_stay_in_one_line(tmp_path, said):
    fill(tmp_path, "a", "b", "a/.new\nline")
    read(tmp_path)
    assert "1 hidden (a/.new line)" in said()


def test_a_second_process_says_nothing(tmp_path, said, monkeypatch):
    from pytorch_lightning.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    fill(tmp_path, "a", "b", "a/.hidden")
    (tmp_path / "a" / "bad.png").write_bytes(b"")
    read(tmp_path)
    assert said() == ""
