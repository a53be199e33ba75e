"""`python -m vitsearch.retrain architecture=<run>`: train what a search found as a network alone.

Thin: `commands/retrain_setup.py` finds the architecture, its data and weights; Lightning trains.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import RenderableType

from vitsearch.commands.building import (
    TRIAL,
    check_training,
    checkpoint_of,
    make_callbacks,
    make_classifier,
    make_loggers,
)
from vitsearch.commands.command import (
    check_seed,
    command,
    quiet_warnings,
    refuse_distributed_multirun,
    save_config,
)
from vitsearch.commands.launch import fit_to_launch, limit_waiting
from vitsearch.commands.retrain_setup import (
    Retraining,
    comparable,
    find_retraining,
    make_datamodule,
    make_network,
    network_before,
)
from vitsearch.costs import human
from vitsearch.lightning import Classifier, SaveNetwork
from vitsearch.lightning.distributed import end_with_parent
from vitsearch.lightning.training.optimizers import check_length
from vitsearch.reports import facts_panel, make_console
from vitsearch.reports.words.training import length_in_words
from vitsearch.runs.launch import is_first_process, is_started_by_lightning
from vitsearch.runs.resume import finished_line, is_finished, mark_finished, shown_path
from vitsearch.runs.versions import installed_versions
from vitsearch.supernet.measuring.compiling import check_compiling


@command("retrain", resumes=True)
def main(config: DictConfig, folder: Path) -> None:
    """Build everything, train, test, save; goes on where the run folder's training has stopped."""
    check_training(config)
    refuse_distributed_multirun(config)
    fit_to_launch(config.trainer)
    quiet_warnings()
    check_seed(config.seed)
    found = find_retraining(config, folder)
    if is_finished(config, folder):
        if is_first_process():
            print(f"vitsearch: {finished_line(folder)}")
        return
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = make_datamodule(config)
    callbacks = make_callbacks(config.callbacks, config.trainer)
    loggers = make_loggers(config.logger)
    trainer: pl.Trainer = instantiate(config.trainer, callbacks=callbacks, logger=loggers)
    limit_waiting(trainer.strategy, config.process_timeout)
    if config.model.get("compile") is True:
        check_compiling(trainer.strategy.root_device)
    checkpoint = checkpoint_of(callbacks, trainer)
    settings: Any = OmegaConf.to_container(config.model, resolve=True)
    before = network_before(found, config)
    network, notes = make_network(
        found,
        settings,
        datamodule.num_classes,
        inherits=before if config.init == "inherited" and checkpoint is None else None,
        origin=found.origin(config.checkpoint),
    )
    module = make_classifier(settings, network, "model")
    check_length(trainer, module.scheduler_settings)
    module.prepare_objective(datamodule)
    for callback in callbacks:
        if isinstance(callback, SaveNetwork):
            callback.facts = _facts(config, found, notes)
            callback.compared = comparable(before, network)
    console = make_console() if is_first_process() else None
    if is_started_by_lightning():
        end_with_parent()
    if console is not None:
        datamodule.prepare_data()
        datamodule.setup("fit")
        save_config(config, folder)
        console.print(_start(config, folder, found, module, datamodule, trainer))
        for note in notes:
            console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
        if checkpoint is not None:
            console.print("going on with the training of this folder", highlight=False)
    trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    if console is not None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            steps = TRIAL
        else:
            mark_finished(folder)
            steps = next_steps(folder)
        console.print(steps, highlight=False, markup=False, soft_wrap=True)


def _facts(config: DictConfig, found: Retraining, notes: tuple[str, ...]) -> dict[str, Any]:
    """What `result.json` says beside the result."""
    return {
        "architecture": config.architecture,
        "init": config.init,
        "checkpoint": config.checkpoint,
        "notes": list(notes),
        "data": config.data._target_,
        "train_on": config.data.get("train_on"),
        "seed": config.seed,
        "versions": installed_versions(),
    }


def _start(
    config: DictConfig,
    folder: Path,
    found: Retraining,
    module: Classifier,
    datamodule: Any,
    trainer: pl.Trainer,
) -> RenderableType:
    """The panel at the start."""
    network, space = module.net, module.space
    cost = network.cost()
    optimizer, schedule = module.optimizer_settings, module.scheduler_settings
    recipe = [
        length_in_words(trainer.max_epochs, trainer.max_steps),
        f"batches of {getattr(datamodule, 'batch_size', '?')}",
        f"{optimizer.get('opt', 'sgd')} {optimizer.get('lr')}",
        str(schedule.get("sched", "constant")),
        *([f"layer decay {optimizer['layer_decay']}"] if optimizer.get("layer_decay") else []),
    ]
    terms = ", ".join(term.name.replace("_", " ") for term in module.objective.terms)
    facts = {
        "architecture": f"{network.architecture.digest}, {found.words}",
        "network": f"{human(cost.macs)} MACs, {human(cost.params)} parameters",
        "weights": f"inherited from {found.origin(config.checkpoint)}"
        if config.init == "inherited"
        else "fresh",
        "data": f"{type(datamodule).__name__}, {module.num_classes} classes, "
        f"{space.in_chans} x {space.image_size} x {space.image_size}",
        "trains on": _images(datamodule),
        "recipe": f"{', '.join(recipe)}; learns from {terms}",
        "devices": f"{trainer.world_size} x {trainer.strategy.root_device.type}, "
        f"{trainer.precision}{', compiled' if config.model.get('compile') else ''}",
        "run folder": str(folder),
    }
    return facts_panel(facts)


def _images(datamodule: Any) -> str:
    """Which images train, and which do not."""
    count = getattr(datamodule, "split_indices", None)
    if count is None:
        return "what the data module says"
    total = f"{len(count('train'))} images"
    if datamodule.train_on == "all":
        return (
            f"{total}, all but the test split: the search is over (train_on=train holds its images "
            f"out and validates on them)"
        )
    return f"{total}; {len(count('search'))} of the search split validate"


def next_steps(folder: Path) -> str:
    """The exact commands that a user may want now."""
    shown = shown_path(folder)
    model = shlex.quote(f"model={shown}")
    return "\n".join(
        [
            "what comes next",
            f"  evaluate it:     python -m vitsearch.evaluate {model}",
            f"  export it:       python -m vitsearch.export {model} format=onnx",
            f"  in Python:       vitsearch.load_model({f'{shown}/model'!r})",
        ]
    )


if __name__ == "__main__":
    main()
