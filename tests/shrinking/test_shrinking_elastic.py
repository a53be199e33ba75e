"""A network for every budget: found without labels, written, read again, refused where damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.shrinking.conftest import make_images

import vitsearch
from vitsearch import SuperTransformer
from vitsearch.errors import CheckpointError, ConfigError, ConstraintError, FormatError
from vitsearch.shrinking import Elastic
from vitsearch.supernet.repairing import Calibration


@pytest.fixture(scope="module")
def elastic(network: SuperTransformer, calibration: Calibration) -> Elastic:
    return vitsearch.shrink(network, calibration, population=8, generations=2)


@pytest.fixture
def folder(elastic: Elastic, tmp_path: Path) -> Path:
    return vitsearch.save_elastic(elastic, tmp_path / "elastic")


def test_every_budget_has_a_network_inside_it(elastic: Elastic) -> None:
    full = elastic.full
    assert full.architecture == elastic.supernet.largest
    assert full.score == pytest.approx(1, abs=1e-6)
    macs = [point.cost.macs for point in elastic.front]
    assert macs == sorted(macs)
    for share in (0.5, "75%", 0.9):
        network = elastic.at(macs=share)
        limit = (0.75 if share == "75%" else float(share)) * full.cost.macs
        assert network.cost().macs <= limit
    assert elastic.at(params=full.cost.params).architecture == full.architecture
    with pytest.raises(ConstraintError, match="below the smallest network of the front"):
        elastic.at(macs=0.1)
    with pytest.raises(ConfigError, match="no budget"):
        elastic.at()


def test_the_full_network_ends_the_front_even_where_a_smaller_one_beats_it(
    network: SuperTransformer, calibration: Calibration
) -> None:
    def smaller_is_better(candidate: torch.nn.Module) -> float:
        return -float(sum(p.numel() for p in candidate.parameters()))

    found = vitsearch.shrink(
        network, calibration, score=smaller_is_better, population=6, generations=1
    )
    assert found.full.architecture == network.largest
    assert found.figure == "score"


def test_it_comes_back_as_it_was(elastic: Elastic, folder: Path) -> None:
    back = vitsearch.load_elastic(folder)
    assert back.front == elastic.front
    assert back.figure == "fidelity"
    images = make_images(4)[0]
    for share in (0.5, 0.8):
        one, other = elastic.at(macs=share, images=()), back.at(macs=share)
        assert one.architecture == other.architecture
        assert torch.equal(one(images), other(images))
        fitted = elastic.at(macs=share)  # to the images that a file does not hold
        assert not torch.equal(fitted(images), one(images))
        again = back.at(macs=share, images=elastic.calibration.images)
        torch.testing.assert_close(again(images), fitted(images))
    run = folder.parent
    assert vitsearch.load_elastic(run).front == back.front  # a run folder has it, too


def test_damage_and_newer_formats(folder: Path, tmp_path: Path) -> None:
    described = json.loads((folder / "elastic.json").read_text())

    def write(content: object) -> None:
        (folder / "elastic.json").write_text(json.dumps(content))

    write({**described, "format": 99})
    with pytest.raises(FormatError, match="format 99"):
        vitsearch.load_elastic(folder)
    write({name: value for name, value in described.items() if name != "space"})
    with pytest.raises(CheckpointError, match="elastic folder"):
        vitsearch.load_elastic(folder)
    write({**described, "front": []})
    with pytest.raises(CheckpointError, match="its run has not ended"):
        vitsearch.load_elastic(folder)
    write(described)
    weights = folder / "calibration.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="elastic folder"):
        vitsearch.load_elastic(folder)
    with pytest.raises(CheckpointError, match=r"elastic\.json is missing"):
        vitsearch.load_elastic(tmp_path / "nowhere")


def test_images_are_needed_to_search(elastic: Elastic, folder: Path) -> None:
    back = vitsearch.load_elastic(folder)
    with pytest.raises(ConfigError, match="calibration has no images"):
        vitsearch.shrink(back.supernet, back.calibration)


CALLED = """
import vitsearch
{first}
assert callable(vitsearch.shrink)
try:
    vitsearch.shrink(None, None, population=1)
except vitsearch.VitSearchError as error:
    print(error)
{then}
try:
    vitsearch.shrink(None, None, population=1)
except vitsearch.VitSearchError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("first", "then"),
    [("", "import vitsearch.shrink"), ("import vitsearch.shrink", "import vitsearch.search")],
)
def test_the_function_and_the_module_of_its_name(first: str, then: str) -> None:
    code = CALLED.format(first=first, then=then)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("population=1 must be") == 2
