"""`python -m vitsearch.train +space=<name>`: train a supernet, search it, take out the best.

Thin: it builds the pieces that the configuration names and hands them to Lightning.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import RenderableType

from vitsearch.commands.command import command
from vitsearch.commands.data_section import agreeing_with_space, prepared_as
from vitsearch.commands.phases import PhasedSpec, resolve_phases
from vitsearch.commands.pieces import checkpoint_of, make_callbacks, make_trainer, space_for
from vitsearch.commands.pretrained.section import (
    RECORDED,
    check_images,
    names_network,
    origin_of,
)
from vitsearch.commands.pretrained.start import begin_with_original
from vitsearch.commands.session import Session
from vitsearch.commands.spec import (
    SupernetSpec,
    check_training,
    required_space,
    with_settings,
)
from vitsearch.costs import Constraint, human, reachable_range
from vitsearch.errors import ConfigError
from vitsearch.lightning import (
    EvolutionarySearch,
    MultiArchitectureSampling,
    ProgressiveShrinking,
    SearchableClassifier,
)
from vitsearch.lightning.training.optimizers import check_length
from vitsearch.lightning.training.pretrained_start import PretrainedStart
from vitsearch.reports import start_panel
from vitsearch.runs.command_line import command_text, override, shown_path
from vitsearch.runs.layout import HISTORY_FILE, REPORT_FILE, SHRINKS_FILE
from vitsearch.runs.resume import retrain_command
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.phases import check_phases
from vitsearch.spaces.words import grid_in_words
from vitsearch.supernet import load_supernet

_SEARCHES = (EvolutionarySearch, ProgressiveShrinking)
"""What finds an architecture: behind the training, or in it."""


@command("train", resumes=True)
def main(config: DictConfig, session: Session) -> None:
    """Resolve the run and train it; goes on where the run of the folder has stopped."""
    run = resolve(config, session.folder)
    if not session.is_finished(run):
        run.carry_out(partial(train, session=session))


def resolve(config: DictConfig, folder: Path) -> SupernetSpec | PhasedSpec:
    """Complete and check the settings of a training.

    Raises:
        ConfigError: A setting is out of range, or contradicts another.
        SpaceError: The space, or a phase of it, is malformed, or a network cannot be converted.
    """
    named, origin = space_for(config.model, required_space(config)), origin_of(config)
    check_training(config)
    data, found = config.data, {}
    if origin is not None and names_network(config.space):  # not a run that goes on
        check_images(data, named, origin)
        data = prepared_as(data, origin.preprocessing(named["in_chans"]))
        found = {RECORDED: origin.to_dict()}
    data, fitted = agreeing_with_space(data, named)
    complete = with_settings(config, {"data": data, "space": fitted, **found})
    space, phases = SearchSpace(fitted), resolve_phases(config)
    if not phases:
        return SupernetSpec(
            folder=folder, config=complete, space=space, search_space=space, origin=origin
        )
    if origin is not None:
        raise ConfigError(
            f"searcher.phases makes a supernet for each phase, but {space.name} has the weights of "
            f"one; use searcher.phases=null"
        )
    check_phases(space, phases)
    return PhasedSpec(folder=folder, config=complete, space=space, phases=phases)


def train(run: SupernetSpec, session: Session) -> Architecture | None:
    """Train a supernet, search it; the best architecture, if there was a search."""
    pl.seed_everything(run.config.seed, workers=True, verbose=False)
    datamodule = instantiate(run.config.data)
    module, start = make_module(run, datamodule)
    callbacks = [*([] if start is None else [start]), *make_callbacks(run.config)]
    check_callbacks(callbacks, module, getattr(datamodule, "batch_size", None))
    trainer = make_trainer(run.config, callbacks)
    check_length(trainer, module.scheduler_settings)
    checkpoint = checkpoint_of(callbacks, trainer)
    if checkpoint is None and run.weights is not None:
        module.net.load_state_dict(load_supernet(run.weights, space=run.space).state_dict())
    where = session.compute_on(trainer.strategy.root_device, run.space, run.config)
    panel = partial(_start, run, module, callbacks, trainer, where)
    session.begin_training(run, datamodule, panel, checkpoint=checkpoint)
    trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    search = next((c for c in callbacks if isinstance(c, _SEARCHES)), None)
    session.finish(run, partial(next_steps, run, module.num_classes, search))
    found = None if search is None else search.result
    return None if found is None else found.best.candidate.architecture


def make_module(
    run: SupernetSpec, datamodule: Any
) -> tuple[SearchableClassifier, PretrainedStart | None]:
    """The supernet in the module that trains it, with what its objective needs.

    Returns:
        The module, and what makes a pretrained network ready for it; `None` where nothing does.
    """
    is_whole = run.search_space == run.space  # then users' modules need not know of parts
    module: SearchableClassifier = instantiate(
        run.config.model,
        space=run.space,
        num_classes=datamodule.num_classes,
        **({} if is_whole else {"search_space": run.search_space}),
    )
    start = begin_with_original(run, module, getattr(datamodule, "class_names", None) or None)
    module.prepare_objective(datamodule)
    return module, start


def _start(
    run: SupernetSpec,
    module: SearchableClassifier,
    callbacks: list[pl.Callback],
    trainer: pl.Trainer,
    where: str,
) -> RenderableType:
    """The panel at the start."""
    facts = {
        **({} if run.phase is None else {"phase": run.phase}),
        "data": f"{run.config.data._target_.rpartition('.')[2]}, {module.num_classes} classes, "
        f"{grid_in_words(run.space.input_shape)}",
        "devices": f"{trainer.world_size} x {where}, {trainer.precision}",
        "run folder": str(run.folder),
    }
    constraint = next((c.constraint for c in callbacks if isinstance(c, _SEARCHES)), Constraint())
    return start_panel(
        run.search_space, num_classes=module.num_classes, constraint=constraint, facts=facts
    )


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
        if isinstance(callback, _SEARCHES):
            callback.check(module)


def next_steps(
    run: SupernetSpec,
    num_classes: int,
    search: EvolutionarySearch | ProgressiveShrinking | None,
) -> str:
    """The exact commands that a user may want now."""
    low, high = reachable_range(run.search_space, "macs", num_classes)
    middle = (low + high) / 2
    shown = shown_path(run.folder)
    window = f"[{human(0.9 * middle)},{human(middle)}]".replace(" ", "")
    again = command_text("search", override("checkpoint", shown), f"constraint.macs={window}")
    lines = ["what comes next"]
    if not isinstance(search, ProgressiveShrinking):  # which leaves one network
        lines.append(f"  another budget:  {again}")
    if search is not None:
        lines += [
            f"  train it alone:  {retrain_command(run.folder)}",
            f"  in Python:       vitsearch.load_model({f'{shown}/best'!r})",
        ]
    if isinstance(search, EvolutionarySearch):
        lines.append(f"  all candidates:  {shown}/{HISTORY_FILE}")
    if isinstance(search, ProgressiveShrinking):
        lines.append(f"  every shrink:    {shown}/{SHRINKS_FILE}")
    if (run.folder / REPORT_FILE).is_file():
        lines.append(f"  all in pictures: {shown}/{REPORT_FILE}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
