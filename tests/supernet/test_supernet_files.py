"""Files that appear whole or not at all."""

from __future__ import annotations

import json

import pytest

from vitsearch.runs.files import atomic_folder, atomic_path, write_json, write_text


def test_file_appears_whole(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("first half, ")
        assert not target.exists()
        assert temporary.parent == target.parent
        temporary.write_text("all of it")
    assert target.read_text() == "all of it"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("exists", [True, False])
def test_failed_file_leaves_what_was_there(exists, tmp_path):
    target = tmp_path / "file.txt"
    if exists:
        target.write_text("before")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == (["file.txt"] if exists else [])
    assert not exists or target.read_text() == "before"


def test_texts_and_json(tmp_path):
    write_text(tmp_path / "a.txt", "größer")
    write_text(tmp_path / "a.txt", "größte")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "größte"
    write_json(tmp_path / "b.json", {"a": [1, None]})
    assert json.loads((tmp_path / "b.json").read_text()) == {"a": [1, None]}
    assert (tmp_path / "b.json").read_text().endswith("\n")


@pytest.mark.parametrize("exists", [True, False])
def test_folder_takes_the_place_of_the_old(exists, tmp_path):
    target = tmp_path / "folder"
    if exists:
        (target / "deep").mkdir(parents=True)
        (target / "deep" / "old.txt").write_text("before")
    with atomic_folder(target) as temporary:
        (temporary / "new.txt").write_text("after")
        assert target.exists() == exists
    assert [p.name for p in target.iterdir()] == ["new.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("exists", [True, False])
def test_failed_folder_leaves_what_was_there(exists, tmp_path):
    target = tmp_path / "folder"
    if exists:
        target.mkdir()
        (target / "old.txt").write_text("before")

    def fail():
        with atomic_folder(target) as temporary:
            (temporary / "new.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == (["folder"] if exists else [])
    assert not exists or [p.name for p in target.iterdir()] == ["old.txt"]
