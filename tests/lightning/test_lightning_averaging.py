"""Averaged weights before their first average are the trained ones, wherever they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor

from tests.lightning.conftest import quiet_trainer
from vitsearch import load_supernet
from vitsearch.data import FashionMini
from vitsearch.lightning import SearchableClassifier, SupernetCheckpoint
from vitsearch.spaces import SearchSpace


class Validated(pl.Callback):
    """Remembers the weights that validation saw."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.weights.append({k: v.clone() for k, v in pl_module.net.state_dict().items()})


def fit(
    folder: Path,
    space: SearchSpace,
    data: FashionMini,
    average: WeightAveraging | None,
    **more: Any,
) -> tuple[dict[str, Tensor], Validated]:
    pl.seed_everything(0)
    module = SearchableClassifier(space, num_classes=10)
    seen = Validated()
    callbacks = [SupernetCheckpoint(every_n_steps=2), seen, *([] if average is None else [average])]
    quiet_trainer(folder, callbacks=callbacks, limit_val_batches=1, **more).fit(module, data)
    return module.net.state_dict(), seen


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_weights_that_were_never_averaged_are_kept(
    space: SearchSpace, data: FashionMini, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, validated = fit(tmp_path / "a", space, data, None, max_epochs=2)
    late = EMAWeightAveraging(decay=0.5, update_starting_at_step=1000)
    capsys.readouterr()
    kept, seen = fit(tmp_path / "b", space, data, late, max_epochs=2)
    assert same(kept, trained)
    assert same(load_supernet(tmp_path / "b").state_dict(), trained)
    assert len(seen.weights) == len(validated.weights) == 2
    assert all(map(same, seen.weights, validated.weights))
    said = capsys.readouterr().err
    assert "EMAWeightAveraging has averaged nothing: training ended after 6 step(s)" in said


def test_an_average_that_begins_late_is_that_of_the_steps_since(
    space: SearchSpace, data: FashionMini, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first update takes the weights as they are, whatever the average was before."""
    plain, _ = fit(tmp_path / "a", space, data, None, max_epochs=2)
    capsys.readouterr()
    last = EMAWeightAveraging(decay=0.5, update_starting_at_step=5)
    assert same(fit(tmp_path / "b", space, data, last, max_epochs=2)[0], plain)
    two = EMAWeightAveraging(decay=0.5, update_starting_at_step=4)
    assert not same(fit(tmp_path / "c", space, data, two, max_epochs=2)[0], plain)
    assert "averaged nothing" not in capsys.readouterr().err
