"""The recipe of a run, read from its `config.yaml`, for training one network as the run trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import WeightAveraging

from vitsearch.commands.pieces import make_classifier
from vitsearch.commands.spec import with_settings
from vitsearch.costs.metrics import MEASURED, metrics
from vitsearch.errors import CheckpointError
from vitsearch.errors.checks import check_whole
from vitsearch.lightning.retraining.train_alone import Recipe
from vitsearch.runs.layout import CONFIG_FILE

_SUPERVISION = ("task", "optimizer", "scheduler", "label_smoothing", "mixup", "cutmix")
_LOSSES_OF_THE_LIBRARY = (
    "vitsearch.lightning.SearchableClassifier",
    "vitsearch.lightning.SearchableSegmenter",
)
_CLASSIFIER = "vitsearch.lightning.Classifier"
_NO_PART_OF_THE_RESULT = (
    "accelerator",
    "check_files",
    "check_val_every_n_epoch",
    "default_root_dir",
    "devices",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "eval_batch_size",
    "log_every_n_steps",
    "num_nodes",
    "num_sanity_val_steps",
    "num_workers",
    "pin_memory",
    "strategy",
)


def read_run(checkpoint: Path) -> DictConfig:
    """The configuration of the run that a checkpoint comes from.

    Raises:
        CheckpointError: It is not there, or has no recipe.
    """
    file = checkpoint.with_name(CONFIG_FILE.name)
    if not file.is_file():
        raise CheckpointError(
            f"{file} does not exist, so the recipe of the checkpoint is unknown; give a folder "
            f"that vitsearch.train wrote"
        )
    try:
        run = OmegaConf.load(file)
    except Exception as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    missing = [name for name in ("data", "model", "trainer") if name not in run]
    if missing or not isinstance(run, DictConfig):
        raise CheckpointError(f"{file} is no configuration of vitsearch.train: no {missing}")
    return run


def settings_of_run(config: DictConfig, run: DictConfig) -> dict[str, Any]:
    """What the command was not told, as the run has it: the window, the precision."""
    found: dict[str, Any] = {}
    if config.get("constraint") is None:
        found["constraint"] = run.get("constraint") or {}
    if config.trainer.precision is None:
        precision = {"precision": run.trainer.get("precision", "32-true")}
        found["trainer"] = with_settings(config.trainer, precision)
    return found


def make_recipe(config: DictConfig, run: DictConfig, folder: Path) -> Recipe:
    """How the run trained, for one network.

    Raises:
        ConfigError: `epochs` is out of range.
    """
    trainer: Any = OmegaConf.to_container(run.trainer, resolve=True)
    epochs = config.epochs
    if epochs is not None:
        check_whole("epochs", epochs, 1, otherwise="null")
        trainer["max_steps"] = -1  # no limit
        trainer["max_epochs"] = epochs
    if trainer.get("max_steps") == -1:
        del trainer["max_steps"]  # the same as none, also in the recipe's digest
    trainer.update(default_root_dir=str(folder), precision=config.trainer.precision)
    model: Any = OmegaConf.to_container(run.model, resolve=True)
    classifier: Any = OmegaConf.to_container(config.classifier, resolve=True)
    classifier = {name: model[name] for name in _SUPERVISION if name in model} | classifier
    averaging = [c for c in (run.get("callbacks") or {}).values() if averages_weights(c)]
    data: Any = OmegaConf.to_container(config.data, resolve=True)

    def make_trainer(**settings: Any) -> pl.Trainer:
        callbacks = [instantiate(section) for section in averaging]
        return instantiate(trainer | settings, callbacks=callbacks)  # type: ignore[no-any-return]

    drop_path_rate = model.get("drop_path_rate", 0.0)
    zero_init = model.get("zero_init_residual", False)
    return Recipe(
        make_trainer=make_trainer,
        make_classifier=lambda network: make_classifier(classifier, network, "classifier"),
        drop_path_rate=drop_path_rate,
        zero_init_residual=zero_init,
        settings={
            "epochs": trainer.get("max_epochs"),
            "trainer": {n: v for n, v in trainer.items() if n not in _NO_PART_OF_THE_RESULT},
            "classifier": classifier,
            "drop_path_rate": drop_path_rate,
            **({"zero_init_residual": zero_init} if zero_init else {}),  # older digests have none
            "averaging": [OmegaConf.to_container(section, resolve=True) for section in averaging],
            "data": {n: v for n, v in data.items() if n not in _NO_PART_OF_THE_RESULT},
            "space": OmegaConf.to_container(config.space, resolve=True),
        },
    )


def averages_weights(section: DictConfig | None) -> bool:
    """Whether a callback averages weights: then the networks alone are averaged, too."""
    if section is None:
        return False
    made_by = get_object(section["_target_"])
    return isinstance(made_by, type) and issubclass(made_by, WeightAveraging)


def notes(config: DictConfig, run: DictConfig) -> list[str]:
    """Where training alone is not what the run did."""
    found = []
    loss, here = run.model.get("_target_"), config.classifier.get("_target_")
    if loss not in _LOSSES_OF_THE_LIBRARY and here == _CLASSIFIER:
        found.append(
            f"the run was trained by {loss}; if its loss or mixing is its own, point "
            f"classifier._target_ to a subclass of Classifier with the same"
        )
    terms = [name for name in run.model.get("objective") or {} if name != "cross_entropy"]
    if terms:
        found.append(f"the run also learned from {', '.join(terms)}; networks alone from labels")
    if (run.get("searcher") or {}).get("phases"):
        found.append("the run had phases; architectures are drawn from its supernet's whole space")
    measured = [
        metric.name
        for metric in metrics(MEASURED)
        if config.constraint.get(metric.name) is not None
    ]
    if measured:
        found.append(f"windows on measured costs are left out: {', '.join(measured)}")
    devices, nodes = run.trainer.get("devices", 1), run.trainer.get("num_nodes", 1)
    if config.batch_size is None and (devices not in (1, "1", "auto") or nodes != 1):
        found.append(
            f"the run had trainer.devices={devices}, trainer.num_nodes={nodes}, each process with "
            f"batches of {config.data.get('batch_size')}; batch_size= sets those of one network"
        )
    return found
