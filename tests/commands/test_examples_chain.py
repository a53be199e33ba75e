"""The examples that are several commands run as their texts say, and print what the pages show."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from docs.outputs import Block, blocks_of, markdown_files, shape

import vitsearch
from tests.commands.running import (
    FEW_CANDIDATES,
    FEW_IMAGES,
    FEW_STEPS,
    REPOSITORY,
    Outcome,
    read_history,
    run_here,
)
from vitsearch.data import FashionMini, ImageFolder

pytestmark = pytest.mark.slow
EXAMPLES = REPOSITORY / "examples"
ONE = ("trainer.devices=1", "trainer.accelerator=cpu")
LITTLE: Mapping[str, tuple[str, ...]] = {
    "train": (*FEW_STEPS, *FEW_IMAGES, *FEW_CANDIDATES, "trainer.devices=1"),
    "search": (*ONE, *FEW_CANDIDATES, "use_test_split=false"),
    "retrain": (*FEW_STEPS, "trainer.devices=1", "+data.batch_size=16"),
    "evaluate": (*ONE, "speed.batch_sizes=[1]", "speed.memory=false"),
    "export": (),
    "report": (),
}
"""What makes each command take a second or two."""

RECORDED = [b for path in markdown_files() for b in blocks_of(path) if b.kind == "recorded"]


def commands_of(readme: Path) -> list[list[str]]:
    """The words of the commands of a README, as a shell splits them."""
    lines = readme.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("    python ")]


def run_script(words: list[str], folder: Path) -> str:
    """A script of the repository, from another folder; what it prints."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        patch.setattr(sys, "argv", words)
        runpy.run_path(str(REPOSITORY / words[0]), run_name="__main__")
    return printed.getvalue()


def run_example(name: str, folder: Path, **more: tuple[str, ...]) -> dict[str, str]:
    """Run the commands of an example one after the other; what each has printed."""
    printed = {}
    for _, *words in commands_of(EXAMPLES / name / "README.md"):
        if words[0] == "-m":
            command = words[1].removeprefix("vitsearch.")
            arguments = [*words[2:], *LITTLE[command], *more.get(command, ())]
            if "callbacks.search=null" in words:
                arguments = [a for a in arguments if not a.startswith("callbacks.search.")]
            printed[command] = run_here(command, *arguments, folder=folder).succeeded().out
        else:
            extra = more.get(Path(words[0]).stem, ())
            printed[words[0]] = run_script([*words, *extra], folder)
    return printed


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """`examples/own_images`, on a few pictures."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("own_images")
    few = ("data.num_workers=0", "space.num_blocks=2", "space.embed_dims=[24]")
    return folder, run_example("own_images", folder, make_images=("--per-class", "24"), train=few)


def test_own_images_from_pictures_to_a_file(chain: tuple[Path, dict[str, str]]) -> None:
    folder, printed = chain
    assert "images: 120 pictures of" in printed["examples/own_images/make_images.py"]
    network = vitsearch.load_model(folder / "runs" / "retrained" / "model")
    assert (network.space.in_chans, network.space.image_size, network.num_classes) == (3, 32, 5)
    best = json.loads((folder / "runs" / "images" / "search" / "best.json").read_text())
    assert network.architecture.digest == best["digest"]
    evaluation = json.loads((folder / "runs/retrained/evaluation/evaluation.json").read_text())
    assert 20 <= evaluation["data"]["images"] <= 30  # a fifth of 120
    classes = printed["examples/onnx/classify.py"].splitlines()
    assert [line.partition(":")[0] for line in classes] == [
        "images/ring/0000.png",
        "images/cross/0001.png",
    ]
    assert (folder / "runs" / "images" / "report.html").is_file()


def test_pictures_are_prepared_as_the_network_has_seen_them(
    chain: tuple[Path, dict[str, str]],
) -> None:
    folder, _ = chain
    facts = json.loads((folder / "runs/retrained/export/model.onnx.json").read_text())
    data = ImageFolder(folder / "images", image_size=32, batch_size=4, search_per_class=5)
    data.setup("test")
    prepare = runpy.run_path(str(EXAMPLES / "onnx" / "classify.py"))["prepare"]
    images, _ = next(iter(data.test_dataloader()))
    for path, image in zip(data.sample_ids("test"), images, strict=False):
        assert np.abs(prepare(Path(path), facts["input"]) - image.numpy()).max() < 1e-5


def test_three_budgets_from_one_supernet(tmp_path: Path) -> None:
    printed = run_example("three_budgets", tmp_path)
    windows = [(4e6, 6e6), (6e6, 8e6), (8e6, 10e6)]
    for number, (low, high) in enumerate(windows):
        run = tmp_path / "runs" / "budgets" / str(number)
        assert all(low <= record["macs"] <= high for record in read_history(run))
        assert (
            vitsearch.load_model(run / "best").architecture.digest
            in printed["examples/three_budgets/table.py"]
        )


@pytest.mark.parametrize("block", RECORDED, ids=lambda block: block.where)
def test_recorded_output_has_the_shape_of_a_run(
    block: Block, chain: tuple[Path, dict[str, str]], trained: Outcome
) -> None:
    command = block.command.partition(" -m vitsearch.")[2].partition(" ")[0]
    printed = {**chain[1], "train": trained.out}
    # Other tests compare these: of the export, of shrinking.
    others = ("searcher=nsga2", "resume=", "quantise=", "callbacks=progressive_shrinking")
    if command not in printed or any(other in block.command for other in others):
        pytest.skip("no run of this kind here")
    classes = set(shape("\n".join(FashionMini.class_names)))  # the pages have other data
    unknown = set(shape(block.text)) - set(shape(printed[command])) - classes
    assert not unknown, f"nothing begins so any more: {unknown}"
