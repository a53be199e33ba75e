"""A wheel, installed into an environment without the checkout, trains from any folder."""

from __future__ import annotations

import sys
import sysconfig
import zipfile
from functools import partial
from pathlib import Path

import pytest

from tests.commands.running import (
    REPOSITORY,
    SMALL_SPACE,
    TINY,
    files_below,
    run_module,
    run_program,
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    run_program([*pip, REPOSITORY], folder)
    (built,) = folder.glob("vitsearch-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel; the dependencies come from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    run_program([sys.executable, "-m", "venv", "--without-pip", folder], folder)
    python = folder / "bin" / "python"
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(run_program(where, folder).strip())
    # A plain path: .pth files in it, such as that of an editable install, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    run_program([*pip, wheel], folder)
    return python


@pytest.mark.slow
def test_what_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for source, target in (("src/vitsearch", "vitsearch"), ("conf", "vitsearch/conf")):
        files = {name for name in files_below(REPOSITORY / source) if "__pycache__" not in name}
        assert {f"{target}/{name}" for name in files} <= names
    assert "vitsearch/py.typed" in names
    assert "vitsearch/data/fashion_mini/LICENSE" in names
    assert {
        f"vitsearch/data/fashion_mini/{part}-images-idx3-ubyte.gz" for part in ("train", "t10k")
    } <= names
    assert {
        f"vitsearch/pretrained/vit_fashion/{file}"
        for file in ("README.md", "config.json", "model.safetensors")
    } <= names
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert all(name.startswith("vitsearch") for name in names)
    assert wheel.stat().st_size < 6_000_000


@pytest.mark.slow
def test_the_wheel_trains_from_any_folder(python: Path, tmp_path: Path) -> None:
    origin = [python, "-c", "import importlib.util as u; print(u.find_spec('vitsearch').origin)"]
    assert run_program(origin, tmp_path, PYTHONPATH="").startswith(str(python.parents[1]))
    train = partial(run_module, "vitsearch.train", folder=tmp_path, python=python, PYTHONPATH="")
    run = train(*SMALL_SPACE, *TINY).succeeded().run
    assert {"supernet.ckpt", "search/history.jsonl", "best/model.safetensors"} <= files_below(run)
    unknown = train("+space=nope")
    assert unknown.code == 2
    assert "glit_tiny" in unknown.err
