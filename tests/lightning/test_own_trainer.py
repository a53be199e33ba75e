"""Loaders of one's own in a Trainer of one's own: what works, and what is refused before it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.lightning import plain_loaders
from tests.lightning.conftest import quiet_trainer
from tests.lightning.test_lightning_search import history_of
from vitsearch.errors import DataError
from vitsearch.lightning import (
    Classifier,
    EvolutionarySearch,
    MultiArchitectureSampling,
    SearchableClassifier,
)
from vitsearch.lightning.scoring.splits import training_loaders, validation_loaders
from vitsearch.spaces import SearchSpace, build_space
from vitsearch.supernet import VisionTransformer

FEW = {"population": 3, "generations": 1, "parents": 2, "mutations": 1, "crossovers": 1}


@pytest.fixture
def space() -> SearchSpace:
    return build_space("glit", num_blocks=1, embed_dims=[24])


def images_of(count: int) -> TensorDataset:
    rng = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(count, 1, 28, 28, generator=rng), torch.arange(count) % 3)


def loader(count: int = 32) -> DataLoader[Any]:
    return DataLoader(images_of(count), 16)


def trainer_of(
    folder: Path, *, search: bool = True, sampling: bool = True, **settings: Any
) -> pl.Trainer:
    callbacks: list[pl.Callback] = [MultiArchitectureSampling(4)] if sampling else []
    if search:
        callbacks.append(EvolutionarySearch(None, FEW, report=False))
    settings = {"limit_train_batches": 1.0, "callbacks": callbacks} | settings
    return quiet_trainer(folder, **settings)


class Hooks(pl.LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return loader()

    def val_dataloader(self) -> Any:
        return [loader()]


@pytest.mark.parametrize("given", ["loaders", "data module", "module"])
@pytest.mark.parametrize(
    "settings", [{"check_val_every_n_epoch": 5}, {"max_steps": 1}, {"limit_val_batches": 0}]
)
def test_a_validation_loader_that_training_did_not_run_is_searched_on(
    given: str, settings: dict[str, Any], space: SearchSpace, tmp_path: Path
) -> None:
    class WithLoaders(SearchableClassifier):
        train_dataloader = Hooks.train_dataloader
        val_dataloader = Hooks.val_dataloader

    module = (WithLoaders if given == "module" else SearchableClassifier)(space, 3)
    data: dict[str, Any] = {
        "loaders": {"train_dataloaders": loader(), "val_dataloaders": loader()},
        "data module": {"datamodule": Hooks()},
        "module": {},
    }[given]
    trainer_of(tmp_path, **settings).fit(module, **data)
    assert [line["total"] for line in history_of(tmp_path)] == [32] * 3


@pytest.mark.parametrize(
    ("train", "validation", "words"),
    [
        (loader(), None, "images held out of training.* or give the trainer a validation loader"),
        (loader(), [], "images held out of training"),
        (loader(), [loader(), loader()], "2 validation loaders"),
        (loader(), {"a": loader(), "b": [loader()]}, "2 validation loaders"),
        (loader(), CombinedLoader([loader(), loader()]), "2 validation loaders"),
        ([loader(), loader()], loader(), "2 training loaders"),
        ({"a": loader(), "b": loader()}, loader(), "2 training loaders"),
    ],
)
def test_no_loader_or_several_are_refused_before_training(
    train: Any, validation: Any, words: str, space: SearchSpace, tmp_path: Path
) -> None:
    trainer = trainer_of(tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        trainer.fit(SearchableClassifier(space, 3), train, validation)
    assert trainer.global_step == 0
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_several_training_loaders_of_a_data_module_are_refused_by_their_batches(
    space: SearchSpace, tmp_path: Path
) -> None:
    class Two(Hooks):
        def train_dataloader(self) -> Any:
            return [loader(), loader()]

    trainer = trainer_of(tmp_path)
    with pytest.raises(DataError, match="a batch is a list of list, list; it must be"):
        trainer.fit(SearchableClassifier(space, 3), datamodule=Two())
    assert trainer.global_step == 0


@pytest.mark.filterwarnings("error:.*overridden")
def test_looking_at_batches_makes_no_warning(space: SearchSpace, tmp_path: Path) -> None:
    trainer_of(tmp_path, search=False).fit(SearchableClassifier(space, 3), datamodule=Hooks())


def test_several_validation_loaders_are_for_those_who_take_them(
    space: SearchSpace, tmp_path: Path
) -> None:
    class Several(SearchableClassifier):
        seen: ClassVar[list[int]] = []

        def validation_step(  # type: ignore[override]
            self, batch: Any, batch_idx: int, dataloader_idx: int = 0
        ) -> None:
            self.seen.append(dataloader_idx)

    module = Several(space, 3)
    trainer_of(tmp_path, search=False).fit(module, loader(), [loader(), loader(16)])
    assert module.seen == [0, 0, 1]
    one = trainer_of(tmp_path, search=False)
    with pytest.raises(DataError, match="2 validation loaders; SearchableClassifier takes one"):
        one.fit(SearchableClassifier(space, 3), loader(), [loader(), loader()])


def test_loaders_of_a_trainer_are_those_that_were_given(space: SearchSpace, tmp_path: Path) -> None:
    train, validation = loader(), loader()
    trainer = trainer_of(tmp_path, search=False)
    assert training_loaders(trainer) == validation_loaders(trainer) == []
    trainer.fit(SearchableClassifier(space, 3), train, validation)
    assert training_loaders(trainer) == [train]
    assert validation_loaders(trainer) == validation_loaders(trainer, hooks=False) == [validation]
    trainer = trainer_of(tmp_path, search=False)
    trainer.fit(SearchableClassifier(space, 3), datamodule=Hooks())
    assert [len(loaders) for loaders in training_loaders(trainer)] == [2]
    assert validation_loaders(trainer, hooks=False) == []


@pytest.mark.parametrize("count", [49, 50, 51, 63])
@pytest.mark.parametrize("settings", [{}, {"mixup": 0.5, "cutmix": 0.5}])
def test_the_last_batch_may_be_smaller(
    count: int, settings: dict[str, float], space: SearchSpace, tmp_path: Path
) -> None:
    trainer = trainer_of(tmp_path)
    trainer.fit(SearchableClassifier(space, 3, **settings), loader(count), loader())
    assert trainer.global_step == 4
    assert len(history_of(tmp_path)) == 3


@pytest.mark.parametrize(("images", "shares"), [(16, [4] * 4), (7, [1] * 4), (3, [1] * 3)])
def test_a_small_batch_is_shared_evenly_and_the_rest_left_out(
    images: int, shares: list[int], space: SearchSpace
) -> None:
    module = SearchableClassifier(space, 3)
    rng = torch.Generator().manual_seed(0)
    drawn = [space.largest(), *(space.restrict({}).smallest() for _ in range(3))]
    module.step_architectures = drawn
    x, y = torch.randn(images, 1, 28, 28, generator=rng), torch.arange(images) % 3
    step = module.run_step(x, y)
    used = sum(shares)
    assert [len(share) for share in step.shares] == shares
    assert list(step.architectures) == drawn[: len(shares)]
    assert torch.equal(step.images, x[:used])
    assert torch.equal(step.targets, y[:used])
    assert step.logits.shape == (used, 3)
    module.step_whole_batch = True
    assert [len(share) for share in module.run_step(x, y).shares] == [images] * 4


class Forms(Dataset[Any]):
    def __init__(self, form: Callable[[Tensor, int], Any]) -> None:
        self.form = form

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> Any:
        image = torch.randn(1, 28, 28, generator=torch.Generator().manual_seed(index))
        return self.form(image, index % 3)


TAKEN: dict[str, Callable[[Tensor, int], Any]] = {
    "albumentations": lambda image, label: {"image": image, "label": label},
    "hugging face": lambda image, label: {"pixel_values": image, "labels": label},
    "with a path": lambda image, label: (image, label, "a.png"),
}


@pytest.mark.parametrize("form", TAKEN)
def test_batches_of_other_libraries_are_trained_on_and_searched(
    form: str, space: SearchSpace, tmp_path: Path
) -> None:
    histories = []
    for name, made in (("other", TAKEN[form]), ("plain", lambda image, label: (image, label))):
        pl.seed_everything(0)
        data = DataLoader(Forms(made), 16)
        folder = tmp_path / name
        trainer_of(folder).fit(SearchableClassifier(space, 3), data, data)
        histories.append(history_of(folder))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("form", TAKEN)
def test_one_network_takes_them_too(form: str, space: SearchSpace, tmp_path: Path) -> None:
    data = DataLoader(Forms(TAKEN[form]), 16)
    trainer = trainer_of(tmp_path, search=False, sampling=False)
    trainer.fit(Classifier(VisionTransformer(space, space.smallest(), 3)), data, data)
    assert 0 <= float(trainer.callback_metrics["val/top1"]) <= 1


def test_wrong_labels_are_named_before_the_first_step(space: SearchSpace, tmp_path: Path) -> None:
    data = DataLoader(Forms(lambda image, label: (image, label + 1)), 16)
    trainer = trainer_of(tmp_path)
    with pytest.raises(DataError, match="labels range from 1 to 3; legal are 0 to 2"):
        trainer.fit(SearchableClassifier(space, 3), data, data)
    assert trainer.global_step == 0


@pytest.mark.parametrize("changed_later", [False, True])
def test_on_an_accelerator_a_batch_is_checked_before_it_goes_there(
    changed_later: bool, space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnAccelerator(Hooks):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch

    module = SearchableClassifier(space, 3)
    trainer = trainer_of(tmp_path, search=False)
    trainer.fit(module, datamodule=OnAccelerator() if changed_later else Hooks())
    monkeypatch.setattr(type(module), "device", torch.device("cuda"))
    wrong = (torch.randn(4, 1, 28, 28), torch.full((4,), 3))
    if changed_later:
        assert module.on_before_batch_transfer(wrong, 0) is wrong
    else:
        with pytest.raises(DataError, match="labels range from 3 to 3"):
            module.on_before_batch_transfer(wrong, 0)


@pytest.mark.slow
def test_scores_on_plain_loaders_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    histories = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        command = [sys.executable, plain_loaders.__file__, str(folder), str(processes)]
        subprocess.run(command, check=True, timeout=300, capture_output=True)
        histories.append(history_of(folder))
    assert histories[0] == histories[1]
    assert [line["total"] for line in histories[0]] == [50] * 6
