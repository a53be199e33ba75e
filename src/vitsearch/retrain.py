"""`python -m vitsearch.retrain architecture=<run>`: train what a search found as a network alone.

Thin: `commands/retraining.py` finds the architecture, its data and weights; Lightning trains.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import RenderableType

from vitsearch.commands.command import command
from vitsearch.commands.pieces import (
    checkpoint_of,
    make_callbacks,
    make_classifier,
    make_trainer,
)
from vitsearch.commands.retraining import (
    RetrainSpec,
    comparable,
    make_datamodule,
    make_network,
    network_before,
    resolve,
)
from vitsearch.commands.session import Session
from vitsearch.costs import human
from vitsearch.lightning import Classifier, SaveNetwork
from vitsearch.lightning.training.optimizers import check_length
from vitsearch.reports import facts_panel
from vitsearch.reports.words.training import length_in_words
from vitsearch.runs.command_line import command_text, override, shown_path
from vitsearch.runs.versions import installed_versions
from vitsearch.spaces.words import grid_in_words
from vitsearch.supernet.measuring.compiling import check_compiling


@command("retrain", resumes=True)
def main(config: DictConfig, session: Session) -> None:
    """Resolve the run and train it; goes on where the training of the folder has stopped."""
    run = resolve(config, session.folder)
    if not session.is_finished(run):
        retrain(run, session)


def retrain(run: RetrainSpec, session: Session) -> None:
    """Train a network, test it, save it."""
    pl.seed_everything(run.config.seed, workers=True, verbose=False)
    datamodule = make_datamodule(run.config)
    callbacks = make_callbacks(run.config)
    trainer = make_trainer(run.config, callbacks)
    if run.config.model.get("compile") is True:
        check_compiling(trainer.strategy.root_device)
    checkpoint = checkpoint_of(callbacks, trainer)
    settings: Any = OmegaConf.to_container(run.config.model, resolve=True)
    before = network_before(run)
    inherits = before if run.inherits and checkpoint is None else None
    network, notes = make_network(run, settings, datamodule.num_classes, inherits=inherits)
    module = make_classifier(settings, network, "model")
    check_length(trainer, module.scheduler_settings)
    module.prepare_objective(datamodule)
    for callback in callbacks:
        if isinstance(callback, SaveNetwork):
            callback.facts = _facts(run, notes)
            callback.compared = comparable(before, network)
    where = session.compute_on(trainer.strategy.root_device, module.space, run.config)
    panel = partial(_start, run, module, datamodule, trainer, where)
    lines = [f"note: {note}" for note in notes]
    session.begin_training(run, datamodule, panel, checkpoint=checkpoint, notes=lines)
    trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    session.finish(run, partial(next_steps, run.folder))


def _facts(run: RetrainSpec, notes: tuple[str, ...]) -> dict[str, Any]:
    """What `result.json` says beside the result."""
    config = run.config
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
    run: RetrainSpec, module: Classifier, datamodule: Any, trainer: pl.Trainer, where: str
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
        "architecture": f"{network.architecture.digest}, {run.words}",
        "network": f"{human(cost.macs)} MACs, {human(cost.params)} parameters",
        "weights": f"inherited from {run.origin}" if run.inherits else "fresh",
        "data": f"{type(datamodule).__name__}, {module.num_classes} classes, "
        f"{grid_in_words(space.input_shape)}",
        "trains on": _images(datamodule),
        "recipe": f"{', '.join(recipe)}; learns from {terms}",
        "devices": f"{trainer.world_size} x {where}, {trainer.precision}"
        f"{', compiled' if run.config.model.get('compile') else ''}",
        "run folder": str(run.folder),
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
    model = override("model", shown)
    return "\n".join(
        [
            "what comes next",
            f"  evaluate it:     {command_text('evaluate', model)}",
            f"  export it:       {command_text('export', model, 'format=onnx')}",
            f"  in Python:       vitsearch.load_model({f'{shown}/model'!r})",
        ]
    )


if __name__ == "__main__":
    main()
