"""What vitsearch takes from Lightning without a promise works, name by name, in real trainings.

A test that fails here after an update of Lightning names what has to be read again, and where:
`vitsearch/lightning/resuming/lightning_internals.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric import Fabric
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor, distributed, nn

from tests.lightning.conftest import quiet_trainer
from vitsearch.errors import VitSearchError
from vitsearch.lightning.resuming import lightning_internals
from vitsearch.lightning.resuming.lightning_internals import (
    RELIED_ON,
    averaged_model,
    complete_epoch_sums,
    ddp_settings,
    dump_checkpoint,
    epoch_sums,
    given_loaders,
    is_accumulating,
    keep_average,
    loader_states,
    restore_loaders,
    set_timeout,
    turn_back,
)
from vitsearch.lightning.resuming.metrics_csv import MetricsFile

BATCHES = 4


class Numbers:
    """A loader of the batches 0, 1, 2, 3 that goes on where `load_state_dict` says."""

    def __init__(self) -> None:
        self.position = 0

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[Tensor]:
        return self._from(self.position)

    def _from(self, start: int) -> Iterator[Tensor]:
        self.position = start
        return map(self._hand_out, range(start, BATCHES))

    def _hand_out(self, number: int) -> Tensor:
        self.position = (number + 1) % BATCHES
        return torch.full((2, 3), float(number))

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class Tiny(pl.LightningModule):
    """A linear layer; notes which batches it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.seen: list[int] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        number = batch[0, 0]
        self.seen.append(int(number))
        for name in ("mean", "sum", "max", "min"):
            self.log(name, number, on_step=False, on_epoch=True, reduce_fx=name)
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert self.trainer.estimated_stepping_batches > 0  # makes the loaders, early
        return torch.optim.SGD(self.parameters(), lr=0.1)


class At(pl.Callback):
    """Calls a function in one hook, each time or in one batch."""

    def __init__(
        self, hook: str, call: Callable[[pl.Trainer], Any], batch: int | None = None
    ) -> None:
        self.results: list[Any] = []

        def hooked(trainer: pl.Trainer, module: pl.LightningModule, *rest: Any, **_: Any) -> None:
            if batch is None or rest[-1] == batch:
                self.results.append(call(trainer))

        setattr(self, hook, hooked)


def fit(
    folder: Path, *callbacks: pl.Callback, ckpt_path: Path | None = None, **settings: Any
) -> Tiny:
    pl.seed_everything(0)
    module = Tiny()
    trainer = quiet_trainer(
        folder, callbacks=list(callbacks), **{"limit_train_batches": BATCHES, **settings}
    )
    trainer.fit(module, Numbers(), ckpt_path=ckpt_path, weights_only=True)
    return module


class Stop(pl.Callback):
    """Takes a checkpoint before batch 2, and everything else that going on with it needs."""

    def __init__(self) -> None:
        self.loaders: list[Any] = []
        self.sums: dict[str, dict[str, Tensor]] = {}
        self.checkpoint: dict[str, Any] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        if rest[-1] == 1:
            self.loaders = loader_states(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        if rest[-1] == 2:
            self.sums = epoch_sums(trainer)
            self.checkpoint = deepcopy(dump_checkpoint(trainer))  # weights go on to change
            turn_back(self.checkpoint, self.loaders)


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Stop, Path]:
    """A training stopped before batch 2, and its checkpoint."""
    stop = Stop()
    fit(tmp_path, stop)
    torch.save(stop.checkpoint, tmp_path / "stopped.ckpt")
    return stop, tmp_path / "stopped.ckpt"


# Training loaders


def test_combined_loader_and_state_dicts(tmp_path: Path) -> None:
    asked = At("on_train_batch_end", loader_states)
    fit(tmp_path, asked)
    assert asked.results == [[{"position": position}] for position in (1, 2, 3, 0)], (
        "_combined_loader._state_dicts() does not say where the training loaders stand"
    )
    assert loader_states(quiet_trainer(tmp_path)) == []


def test_combined_loader_states_to_load_and_load_combined_loader_states(
    stopped: tuple[Stop, Path], tmp_path: Path
) -> None:
    def left(trainer: pl.Trainer) -> tuple[Any, Any]:
        before = list(trainer.fit_loop._combined_loader_states_to_load)
        restore_loaders(trainer)
        return before, loader_states(trainer)

    asked = At("on_train_start", left)
    fit(tmp_path, asked, ckpt_path=stopped[1])
    assert asked.results == [([{"position": 2}], [{"position": 2}])], (
        "_load_combined_loader_states does not restore _combined_loader_states_to_load"
    )


def test_data_fetcher(stopped: tuple[Stop, Path], tmp_path: Path) -> None:
    module = fit(tmp_path, At("on_train_start", restore_loaders), ckpt_path=stopped[1])
    assert module.seen == [2, 3], "iter(_data_fetcher) does not begin where the loaders stand"


# Checkpoints


def test_should_accumulate(tmp_path: Path) -> None:
    asked = At("on_train_batch_end", is_accumulating)
    fit(tmp_path, asked, accumulate_grad_batches=3)
    assert asked.results == [True, True, False, False], (
        "_should_accumulate does not say whether gradients wait"
    )


def test_checkpoint_connector(tmp_path: Path) -> None:
    taken = At("on_train_end", dump_checkpoint)
    module = fit(tmp_path, taken)
    module.trainer.save_checkpoint(tmp_path / "own.ckpt")
    (ours,), theirs = taken.results, torch.load(tmp_path / "own.ckpt", weights_only=True)
    assert ours.keys() == theirs.keys(), "_checkpoint_connector dumps something else"
    for name, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({}, 2), ({"accumulate_grad_batches": 2}, 1), ({"max_steps": 4, "max_epochs": -1}, 2)],
    ids=str,
)
def test_batch_progress_and_batches_that_stepped(
    settings: dict[str, int], steps: int, tmp_path: Path
) -> None:
    stop = Stop()
    whole = fit(tmp_path, stop, **settings)
    loops = stop.checkpoint["loops"]["fit_loop"]
    progress = loops["epoch_loop.batch_progress"]
    assert progress["current"] == {"ready": 2, "started": 2, "processed": 2, "completed": 1}, (
        "epoch_loop.batch_progress is not that of the hooks after batch 1"
    )
    assert progress["is_last_batch"] is False
    assert loops["state_dict"]["combined_loader"] == [{"position": 2}]
    assert loops["epoch_loop.state_dict"]["_batches_that_stepped"] == steps - 1, (
        "_batches_that_stepped is not that of the hooks after batch 1"
    )
    torch.save(stop.checkpoint, tmp_path / "stopped.ckpt")
    restored = At("on_train_start", restore_loaders)
    counted = At("on_train_end", lambda trainer: trainer.fit_loop.epoch_loop._batches_that_stepped)
    module = fit(tmp_path, restored, counted, ckpt_path=tmp_path / "stopped.ckpt", **settings)
    assert module.seen == [2, 3]
    assert module.trainer.global_step == whole.trainer.global_step
    assert counted.results == [whole.trainer.fit_loop.epoch_loop._batches_that_stepped]
    assert torch.equal(module.layer.weight, whole.layer.weight)


# Means over an epoch


def test_results(stopped: tuple[Stop, Path], tmp_path: Path) -> None:
    sums = stopped[0].sums
    assert {name: float(entry["value"]) for name, entry in sums.items()} == {
        "training_step.mean": 2.0,  # batches 0 and 1 of two samples each
        "training_step.sum": 1.0,
        "training_step.max": 1.0,
        "training_step.min": 0.0,
    }, "_results does not hold the sums of what was logged"
    assert {name for name, entry in sums.items() if "count" in entry} == {"training_step.mean"}
    assert int(sums["training_step.mean"]["count"]) == 4
    completing = At("on_train_batch_end", lambda trainer: complete_epoch_sums(trainer, sums))
    restored = At("on_train_start", restore_loaders)
    module = fit(tmp_path, restored, completing, ckpt_path=stopped[1])
    assert module.seen == [2, 3]
    assert not sums
    means = {name: float(value) for name, value in module.trainer.callback_metrics.items()}
    assert means == {"mean": 1.5, "sum": 6.0, "max": 3.0, "min": 0.0}, (
        "_results does not take sums from before an interruption"
    )


# Averaged weights


def test_average_model(tmp_path: Path) -> None:
    average = EMAWeightAveraging(decay=0.5)
    assert averaged_model(average) is None

    def distance(trainer: pl.Trainer) -> float:
        averaged, module = averaged_model(average), trainer.lightning_module
        assert averaged is not None
        assert isinstance(module, Tiny)
        return float((averaged.module.layer.weight - module.layer.weight).abs().sum().detach())

    asked = At("on_train_batch_end", distance)
    fit(tmp_path, average, asked)
    assert asked.results[0] == 0.0
    assert all(found > 0 for found in asked.results[1:]), "_average_model is not the average"


def test_current_model_state(tmp_path: Path) -> None:
    def ended(trainer: pl.Trainer) -> dict[str, Any]:
        checkpoint = dump_checkpoint(trainer)
        own = checkpoint["current_model_state"]
        differ = any(not torch.equal(own[n], t) for n, t in checkpoint["state_dict"].items())
        assert differ, "current_model_state does not hold the weights beside their average"
        keep_average(checkpoint)
        return checkpoint

    taken = At("on_train_end", ended)  # before the callback that averages has its turn
    module = fit(tmp_path, taken, EMAWeightAveraging(decay=0.5))
    torch.save(taken.results[0], tmp_path / "ended.ckpt")
    again = fit(tmp_path, EMAWeightAveraging(decay=0.5), ckpt_path=tmp_path / "ended.ckpt")
    assert again.seen == []
    assert torch.equal(again.layer.weight, module.layer.weight), (
        "current_model_state is not what a finished training begins with"
    )


# Processes


@pytest.fixture
def one_process() -> Iterator[None]:
    """Undoes what a process group leaves behind."""
    environment = dict(os.environ)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(environment)


@pytest.mark.usefixtures("one_process")
def test_ddp_kwargs(tmp_path: Path) -> None:
    def change(trainer: pl.Trainer) -> None:
        ddp_settings(trainer.strategy)["find_unused_parameters"] = True  # type: ignore[arg-type]

    wrapped = At("on_train_start", lambda trainer: trainer.strategy.model)
    fit(tmp_path, At("setup", change), wrapped, strategy="ddp")
    (model,) = wrapped.results
    assert isinstance(model, nn.parallel.DistributedDataParallel)
    assert model.find_unused_parameters, "_ddp_kwargs is not what DistributedDataParallel is given"


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("kind", ["trainer", "fabric"])
def test_timeout(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[timedelta] = []
    initialise = distributed.init_process_group

    def noting(*args: Any, **settings: Any) -> None:
        given.append(settings["timeout"])
        initialise(*args, **settings)

    monkeypatch.setattr(distributed, "init_process_group", noting)
    if kind == "fabric":
        fabric = Fabric(accelerator="cpu", devices=1, strategy="ddp")
        set_timeout(fabric.strategy, timedelta(seconds=123))
        fabric.launch()
    else:
        trainer = quiet_trainer(tmp_path, strategy="ddp")
        set_timeout(trainer.strategy, timedelta(seconds=123))
        trainer.fit(Tiny(), Numbers())
    assert given == [timedelta(seconds=123)], "_timeout is not how long a collective waits"


def test_a_strategy_without_a_process_group_has_no_timeout(tmp_path: Path) -> None:
    strategy = quiet_trainer(tmp_path).strategy
    set_timeout(strategy, timedelta(seconds=1))
    assert not hasattr(strategy, "_timeout")


# The logger


def test_check_log_dir_exists(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("loss,step\n0.5,0\n")
    state = MetricsFile(tmp_path, name="", version="").state_dict()
    assert state == {"rows": 0}
    assert (tmp_path / "metrics.csv").is_file(), (
        "_check_log_dir_exists is not what removes the files of before (metrics_csv.py)"
    )


def test_what_is_logged_last_is_written_at_the_end(tmp_path: Path) -> None:
    logger = MetricsFile(tmp_path, name="", version="")
    logger.finalize("success")
    assert not list(tmp_path.iterdir())
    logger.log_metrics({"loss": 0.5}, step=0)
    logger.finalize("success")
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["loss,step", "0.5,0"]


# Names that are gone


@contextmanager
def renamed(owner: Any, name: str) -> Iterator[None]:
    """An object without one of its attributes, which may be of its class."""
    place = (
        owner if name in vars(owner) else next(c for c in type(owner).__mro__ if name in vars(c))
    )
    value = vars(place)[name]
    delattr(place, name)
    try:
        yield
    finally:
        setattr(place, name, value)


def averaging(trainer: pl.Trainer) -> WeightAveraging:
    (callback,) = (c for c in trainer.callbacks if isinstance(c, WeightAveraging))  # type: ignore[attr-defined]
    return callback


GONE: dict[str, tuple[Callable[[pl.Trainer], Any], Callable[[pl.Trainer], Any]]] = {
    "_average_model": (averaging, lambda trainer: averaged_model(averaging(trainer))),
    "_checkpoint_connector": (lambda trainer: trainer, dump_checkpoint),
    "_combined_loader": (lambda trainer: trainer.fit_loop, loader_states),
    "_combined_loader_states_to_load": (lambda trainer: trainer.fit_loop, restore_loaders),
    "_data_fetcher": (lambda trainer: trainer.fit_loop, restore_loaders),
    "_load_combined_loader_states": (lambda trainer: trainer.fit_loop, restore_loaders),
    "_results": (lambda trainer: trainer.fit_loop.epoch_loop, epoch_sums),
    "_should_accumulate": (lambda trainer: trainer.fit_loop, is_accumulating),
    "_state_dicts": (lambda trainer: trainer.fit_loop._combined_loader, loader_states),
}


@pytest.mark.parametrize("name", GONE)
def test_a_renamed_attribute_is_one_line_with_its_name(
    name: str, stopped: tuple[Stop, Path], tmp_path: Path
) -> None:
    owner_of, use = GONE[name]

    def rename(trainer: pl.Trainer) -> None:
        with renamed(owner_of(trainer), name), pytest.raises(VitSearchError) as caught:
            use(trainer)
        assert f"has no {name}, which vitsearch needs" in str(caught.value)
        assert "pip install pytorch-lightning==" in str(caught.value)

    asked = At("on_train_start", rename)
    fit(tmp_path, WeightAveraging(), asked, ckpt_path=stopped[1])
    assert len(asked.results) == 1


@pytest.mark.parametrize(
    "name",
    ["epoch_loop.batch_progress", "epoch_loop.state_dict", "_batches_that_stepped"],
)
def test_a_renamed_entry_of_a_checkpoint_is_one_line_with_its_name(
    name: str, stopped: tuple[Stop, Path]
) -> None:
    checkpoint = stopped[0].checkpoint
    loops = checkpoint["loops"]["fit_loop"]
    (loops if name in loops else loops["epoch_loop.state_dict"]).pop(name)
    with pytest.raises(VitSearchError, match=f"has no {name}, which vitsearch needs"):
        turn_back(checkpoint, [])


def test_data_source_has_the_loaders_that_fit_was_given(tmp_path: Path) -> None:
    class Both(pl.LightningModule):
        train_dataloader = val_dataloader = lambda self: ["made anew"]

    trainer = quiet_trainer(tmp_path)
    for split in ("train", "validation"):
        assert given_loaders(trainer, split, hooks=True) is None
    module = Both()
    module.trainer = trainer
    train, validation = [[0]], [[1], [2]]
    connector = trainer._data_connector
    connector.attach_dataloaders(module, train_dataloaders=train, val_dataloaders=validation)
    assert given_loaders(trainer, "train", hooks=False) is train
    assert given_loaders(trainer, "validation", hooks=False) is validation
    connector.attach_dataloaders(module)
    for split in ("train", "validation"):
        assert given_loaders(trainer, split, hooks=True) == ["made anew"]
        assert given_loaders(trainer, split, hooks=False) is None


def test_other_errors_pass() -> None:
    @lightning_internals.relies_on("_mine")
    def use(state: dict[str, int]) -> int:
        return state["other"]

    RELIED_ON.discard("_mine")
    with pytest.raises(KeyError, match="other"):
        use({})


def test_every_name_has_a_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    tests = " ".join(line for line in text.splitlines() if line.startswith("def test_"))
    for name in RELIED_ON:
        assert name.rpartition(".")[2].strip("_") in tests, f"{name} has no test of its own"
