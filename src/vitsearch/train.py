"""`python -m vitsearch.train +space=<name>`: train a supernet, search it, take out the best.

Thin: it builds the pieces that the configuration names and hands them to Lightning.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict
from rich.console import RenderableType

from vitsearch.commands.building import (
    TRIAL,
    check_training,
    checkpoint_of,
    make_callbacks,
    make_loggers,
)
from vitsearch.commands.command import (
    check_seed,
    command,
    quiet_warnings,
    refuse_distributed_multirun,
    required_space,
    save_config,
)
from vitsearch.commands.launch import fit_to_launch, limit_waiting
from vitsearch.commands.phases import Part, run_phases, split_phases
from vitsearch.costs import Constraint, human, reachable_range
from vitsearch.lightning import (
    EvolutionarySearch,
    MultiArchitectureSampling,
    SearchableClassifier,
)
from vitsearch.lightning.distributed import end_with_parent
from vitsearch.lightning.training.optimizers import check_length
from vitsearch.reports import make_console, start_panel
from vitsearch.runs.launch import is_first_process, is_started_by_lightning
from vitsearch.runs.layout import REPORT_FILE
from vitsearch.runs.resume import (
    finished_line,
    is_finished,
    mark_finished,
    retrain_command,
    shown_path,
)
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet import load_supernet


@command("train", resumes=True)
def main(config: DictConfig, folder: Path) -> None:
    """Build everything, train, search; goes on where the run folder's run has stopped."""
    space_config = required_space(config)
    check_training(config)
    refuse_distributed_multirun(config)
    fit_to_launch(config.trainer)
    quiet_warnings()
    check_seed(config.seed)
    match_images(config, space_config)
    own, phases = split_phases(config)
    if is_finished(config, folder):
        if is_first_process():
            print(f"vitsearch: {finished_line(folder)}")
        return
    space = SearchSpace(space_config)
    if phases:
        writes = is_first_process()
        run_phases(own, folder, space, phases, train_part, run_config=config, is_writer=writes)
    else:
        whole = Part(space=space, search_space=space, run_folder=folder, run_config=config)
        train_part(own, folder, whole)


def train_part(config: DictConfig, folder: Path, part: Part) -> Architecture | None:
    """Train a supernet, search it; the best architecture, if there was a search.

    Args:
        config: Says how.
        folder: Where everything goes.
        part: What of which space, and of which run.
    """
    is_last = folder == part.run_folder
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = instantiate(config.data)
    is_whole = part.search_space == part.space  # then users' modules need not know of parts
    module: SearchableClassifier = instantiate(
        config.model,
        space=part.space,
        num_classes=datamodule.num_classes,
        **({} if is_whole else {"search_space": part.search_space}),
    )
    module.prepare_objective(datamodule)
    callbacks = make_callbacks(config.callbacks, config.trainer)
    check_callbacks(callbacks, module, getattr(datamodule, "batch_size", None))
    loggers = make_loggers(config.logger)
    trainer: pl.Trainer = instantiate(config.trainer, callbacks=callbacks, logger=loggers)
    check_length(trainer, module.scheduler_settings)
    limit_waiting(trainer.strategy, config.get("process_timeout", 1800))
    checkpoint = checkpoint_of(callbacks, trainer)
    if checkpoint is None and part.weights is not None:
        module.net.load_state_dict(load_supernet(part.weights, space=part.space).state_dict())
    console = make_console() if is_first_process() else None
    if is_started_by_lightning():
        end_with_parent()
    if console is not None:
        datamodule.prepare_data()
        datamodule.setup("fit")
        if not is_last:
            save_config(config, folder)
        save_config(part.run_config, part.run_folder)
        console.print(_start(config, folder, part, module, callbacks, trainer))
        if checkpoint is not None:
            console.print("going on with the training of this folder", highlight=False)
    trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    search = next((c for c in callbacks if isinstance(c, EvolutionarySearch)), None)
    if console is not None and is_last:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            steps = TRIAL
        else:
            mark_finished(folder)
            steps = next_steps(
                part.search_space, module.num_classes, folder, searched=search is not None
            )
        console.print(steps, highlight=False, markup=False, soft_wrap=True)
    return (
        None
        if search is None or search.result is None
        else search.result.best.candidate.architecture
    )


def _start(
    config: DictConfig,
    folder: Path,
    part: Part,
    module: SearchableClassifier,
    callbacks: list[pl.Callback],
    trainer: pl.Trainer,
) -> RenderableType:
    """The panel at the start."""
    facts = {
        **({} if part.phase is None else {"phase": part.phase}),
        "data": f"{config.data._target_.rpartition('.')[2]}, {module.num_classes} classes, "
        f"{part.space.in_chans} x {part.space.image_size} x {part.space.image_size}",
        "devices": f"{trainer.world_size} x {trainer.strategy.root_device.type}, "
        f"{trainer.precision}",
        "run folder": str(folder),
    }
    constraint = next(
        (c.constraint for c in callbacks if isinstance(c, EvolutionarySearch)), Constraint()
    )
    return start_panel(
        part.search_space, num_classes=module.num_classes, constraint=constraint, facts=facts
    )


def match_images(config: DictConfig, space: dict[str, Any]) -> None:
    """Let data and space agree on image size and channels: the data's where it names them."""
    with open_dict(config):
        for name in ("image_size", "in_chans"):
            if name in config.data:
                if config.data[name] is None:
                    config.data[name] = space.get(name)
                space[name] = config.data[name]
        config.space = space


def check_callbacks(
    callbacks: list[pl.Callback], module: SearchableClassifier, batch_size: int | None
) -> None:
    """Refuse settings of our callbacks before anything is written.

    Raises:
        ConfigError: The batch cannot be shared, a setting is out of range, or the objective needs
            other architectures than are drawn.
        ConstraintError: The space does not reach the budget.
        SpaceError: The sampler needs what the space does not have.
    """
    if not any(isinstance(callback, MultiArchitectureSampling) for callback in callbacks):
        module.objective.check_sampling(module.search_space, 1, None)
    for callback in callbacks:
        if isinstance(callback, MultiArchitectureSampling):
            callback.check(module, batch_size)
        if isinstance(callback, EvolutionarySearch):
            callback.check(module)


def next_steps(space: SearchSpace, num_classes: int, folder: Path, *, searched: bool) -> str:
    """The exact commands that a user may want now."""
    low, high = reachable_range(space, "macs", num_classes)
    middle = (low + high) / 2
    shown = shown_path(folder)
    window = f"[{human(0.9 * middle)},{human(middle)}]".replace(" ", "")
    checkpoint = shlex.quote(f"checkpoint={shown}")
    lines = [
        "what comes next",
        f"  another budget:  python -m vitsearch.search {checkpoint} 'constraint.macs={window}'",
    ]
    if searched:
        lines += [
            f"  train it alone:  {retrain_command(folder)}",
            f"  in Python:       vitsearch.load_model({f'{shown}/best'!r})",
            f"  all candidates:  {shown}/search/history.jsonl",
        ]
    if (folder / REPORT_FILE).is_file():
        lines.append(f"  all in pictures: {shown}/{REPORT_FILE}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
