from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from vitsearch.data import FashionMini, FashionMNIST, ImageFolder
from vitsearch.data.idx import read_idx, write_idx


def fashion_mnist(tmp_path):
    from pathlib import Path

    import vitsearch.data

    for path in (Path(vitsearch.data.__file__).parent / "fashion_mini").glob("*.gz"):
        write_idx(tmp_path / path.name, read_idx(path)[:300])
    return FashionMNIST(tmp_path, batch_size=50)


@pytest.mark.parametrize("kind", ["fashion_mini", "fashion_mnist", "image_folder"])
def test_fit_validate_and_test(tmp_path, fill, recorder, trainer, kind):
    module = {
        "fashion_mini": lambda: FashionMini(batch_size=500),
        "fashion_mnist": lambda: fashion_mnist(tmp_path),
        "image_folder": lambda: ImageFolder(fill(tmp_path), image_size=16, batch_size=4),
    }[kind]()
    module.prepare_data()
    module.setup()
    model = recorder(module.in_chans, module.image_size, module.num_classes)
    runner = trainer(num_sanity_val_steps=0)
    runner.fit(model, datamodule=module)
    assert len(model.batches) == len(module.split_indices("train")) // module.batch_size
    assert model.seen["validate"] == len(module.split_indices("search"))
    runner.validate(model, datamodule=module, verbose=False)
    assert model.seen["validate"] == 2 * len(module.split_indices("search"))
    runner.test(model, datamodule=module, verbose=False)
    assert model.seen["test"] == len(module.split_indices("test"))


class SaveAt(pl.Callback):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(("step", "workers"), [(2, 0), (6, 0), (5, 0), (6, 1), (5, 1)])
def test_a_resumed_training_reads_the_remaining_batches(tmp_path, recorder, trainer, step, workers):
    def fit(callbacks=(), ckpt_path=None):
        module = FashionMini(batch_size=1000, num_workers=workers)
        model = recorder(1, 28, 10)
        options = {"max_epochs": 3, "limit_val_batches": 0, "callbacks": list(callbacks)}
        trainer(**options).fit(model, datamodule=module, ckpt_path=ckpt_path)
        return model.batches

    path = tmp_path / "saved.ckpt"
    whole = fit([SaveAt(path, step)])
    assert len(whole) == 15
    assert len({total for _, _, total in whole}) == 15
    torch.load(path, weights_only=True)
    assert fit(ckpt_path=path) == whole[step:]


def test_overfit_batches(recorder, trainer):
    model = recorder(1, 28, 10)
    options = {"max_epochs": 2, "overfit_batches": 2, "limit_val_batches": 0}
    trainer(**options).fit(model, datamodule=FashionMini(batch_size=500))
    totals = [total for _, _, total in model.batches]
    assert totals[:2] == totals[2:]


def test_no_more_workers_than_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    module = FashionMini(batch_size=500, num_workers=8)
    module.setup("fit")
    assert module.num_workers == 8
    assert module.train_dataloader().num_workers == 3
    assert FashionMini(batch_size=500).num_workers == 0
