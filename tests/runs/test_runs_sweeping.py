"""What a killed process leaves half written is taken away, whatever file it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitsearch.runs import layout
from vitsearch.runs.files import atomic_folder, write_text
from vitsearch.runs.resume import sweep

FOLDERS = (layout.BEST_FOLDER, layout.MODEL_FOLDER, layout.PICTURES_FOLDER)


def write(target: Path, *, is_folder: bool) -> None:
    if not is_folder:
        write_text(target, "half")
        return
    with atomic_folder(target) as folder:
        (folder / "file").write_text("half")


def killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("written", layout.WRITTEN, ids=str)
def test_no_temporary_file_stays(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / written
    with monkeypatch.context() as patch:  # a killed process runs no `finally`
        patch.setattr("vitsearch.runs.files.os.replace", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr("vitsearch.runs.files.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            write(target, is_folder=written in FOLDERS)
    assert list(target.parent.glob(f".{written.name}.*"))
    keep = target.parent / f"{written.name}.mine"
    keep.write_text("a user's own")
    sweep(tmp_path)
    assert list(target.parent.iterdir()) == [keep]


def test_what_is_in_an_audits_own_folder(tmp_path: Path) -> None:
    half = tmp_path / f".{layout.AUDIT_FILE.name}.123.tmp"
    half.touch()
    sweep(tmp_path)
    assert not half.exists()
