"""A training that shrinks goes on from any of its checkpoints and ends the same.

A kill loses nothing but the steps behind the last checkpoint, so these are all the moments at which
a run can end; `tests/commands` kills a command.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import vitsearch
from tests.lightning.shrinking_runs import fit
from vitsearch.errors import CheckpointError
from vitsearch.lightning import SearchableClassifier
from vitsearch.spaces import SearchSpace

FILES = ("metrics.csv", "search/shrinks.json", "search/history.jsonl", "search/best.json")


def assert_equal(one: SearchableClassifier, other: SearchableClassifier) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(
    ("name", "every", "settings"),
    [
        ("autoformer", 1, {}),
        ("glit", 3, {"optimizer": {"opt": "sgd", "lr": 0.05, "momentum": 0.9}}),
        ("vit_resnas", 2, {"ema": True}),
        ("autoformer", 2, {"accumulate_grad_batches": 2, "limit_train_batches": 6}),
        ("autoformer", 3, {"shrinking": {"published": True, "threshold": 0.9975}}),
    ],
    ids=str,
)
def test_every_checkpoint_leads_to_the_same_end(
    name: str, every: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    straight = tmp_path / "straight"
    expected, shrinking, keep = fit(straight, name, **settings)
    sizes = {SearchSpace(read(copy)["vitsearch"]["space"]) for copy in keep.copies}
    assert len(sizes) >= 2, "it has shrunk between checkpoints"
    for number, copy in enumerate(keep.copies[::every]):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(straight / "metrics.csv", folder)
        module, again, _ = fit(folder, name, resume=copy, **settings)
        assert_equal(module, expected)
        assert again.result.best.line() == shrinking.result.best.line()
        for file in FILES:
            assert (folder / file).read_bytes() == (straight / file).read_bytes(), (number, file)


def test_what_is_left_can_be_trained_for_longer(tmp_path: Path) -> None:
    module, _, keep = fit(tmp_path / "short")
    longer, _, _ = fit(tmp_path / "long", resume=keep.copies[-1], max_epochs=3)
    assert longer.net.space == module.net.space
    assert longer.trainer.global_step == 12


def read(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=True)


def test_a_checkpoint_in_the_middle_is_a_supernet_with_its_gates_folded_in(tmp_path: Path) -> None:
    module, _, keep = fit(tmp_path, drop_path=0.0)
    images = torch.randn(2, 1, 28, 28)
    checkpoint = read(keep.copies[3])
    gates = {n: t for n, t in checkpoint["state_dict"].items() if n.startswith("penalty.gates.")}
    assert gates
    assert any((gate != 1).any() for gate in gates.values())
    found = vitsearch.load_supernet(keep.copies[3])
    plain = vitsearch.SuperTransformer(found.space, 10).eval()
    own = {n.removeprefix("net."): t for n, t in checkpoint["state_dict"].items()}
    plain.load_state_dict({n: t for n, t in own.items() if not n.startswith("penalty.")})
    assert (found(images) - plain(images)).abs().max() > 1e-7
    key, gate = next(iter(gates.items()))
    name = key.removeprefix("penalty.gates.").removesuffix(".weight").replace("/", ".")
    scale = gate.repeat_interleave(plain.get_parameter(name).shape[1] // len(gate))
    assert torch.allclose(found.get_parameter(name), plain.get_parameter(name) * scale)
    assert not [n for n in module.state_dict() if n.startswith("penalty")]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    _, _, keep = fit(tmp_path / "on")
    checkpoint = read(keep.copies[1])
    checkpoint["callbacks"] = {}
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="is of a training that does not shrink"):
        fit(tmp_path / "other", resume=tmp_path / "other.ckpt")
