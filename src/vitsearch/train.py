"""`python -m vitsearch.train +space=<name>`: train a supernet, search it, take out the best.

Thin: it builds the pieces that the configuration names and hands them to Lightning.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from vitsearch._command import (
    check_seed,
    command,
    is_first_process,
    quiet_warnings,
    refuse_distributed_multirun,
    required_space,
    save_config,
)
from vitsearch.costs import Constraint, human, reachable_range
from vitsearch.errors import ConfigError, MissingExtraError
from vitsearch.lightning import (
    EvolutionarySearch,
    MultiArchitectureSampling,
    SearchableClassifier,
)
from vitsearch.lightning.sampling import check_batch
from vitsearch.reports import make_console, start_panel
from vitsearch.spaces import SearchSpace


@command("train")
def main(config: DictConfig, folder: Path) -> None:
    """Build everything, train, search."""
    space_config = required_space(config)
    check_training(config)
    refuse_distributed_multirun(config)
    quiet_warnings()
    check_seed(config.seed)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    match_images(config, space_config)
    space = SearchSpace(space_config)
    datamodule = instantiate(config.data)
    module: SearchableClassifier = instantiate(
        config.model, space=space, num_classes=datamodule.num_classes
    )
    callbacks = make_callbacks(config.callbacks)
    check_callbacks(callbacks, module, getattr(datamodule, "batch_size", None))
    loggers = make_loggers(config.logger)
    trainer: pl.Trainer = instantiate(config.trainer, callbacks=callbacks, logger=loggers)
    console = make_console() if is_first_process() else None
    if console is not None:
        datamodule.prepare_data()
        datamodule.setup("fit")
        save_config(config, folder)
        facts = {
            "data": f"{type(datamodule).__name__}, {datamodule.num_classes} classes, "
            f"{space.in_chans} x {space.image_size} x {space.image_size}",
            "devices": f"{trainer.world_size} x {trainer.strategy.root_device.type}, "
            f"{trainer.precision}",
            "run folder": str(folder),
        }
        constraint = next(
            (c.constraint for c in callbacks if isinstance(c, EvolutionarySearch)), Constraint()
        )
        console.print(
            start_panel(space, num_classes=module.num_classes, constraint=constraint, facts=facts)
        )
    trainer.fit(module, datamodule=datamodule)
    if console is not None:
        searched = any(isinstance(callback, EvolutionarySearch) for callback in callbacks)
        steps = next_steps(space, module.num_classes, folder, searched=searched)
        console.print(steps, highlight=False, markup=False, soft_wrap=True)


def check_training(config: DictConfig) -> None:
    """Refuse a training that could not train.

    Raises:
        ConfigError: `max_epochs` is below 1 although no number of steps is given.
    """
    experiment: Any = config.get("experiment")  # a file that was found has been merged
    if experiment is not None:
        raise ConfigError(f"experiment={experiment} is no file on the search path")
    epochs = config.trainer.get("max_epochs")
    steps = config.trainer.get("max_steps")
    if steps not in (None, -1) and (not isinstance(steps, int) or steps < 1):
        raise ConfigError(f"trainer.max_steps={steps} must be a whole number, 1 or more, or -1")
    if steps in (None, -1) and (not isinstance(epochs, int) or epochs < 1):
        raise ConfigError(f"trainer.max_epochs={epochs} must be a whole number, 1 or more")


def make_callbacks(config: DictConfig) -> list[pl.Callback]:
    """The callbacks that the configuration names.

    Raises:
        ConfigError: One is no callback.
    """
    callbacks = []
    for name, section in config.items():
        assert isinstance(name, str)
        callback = None if section is None else instantiate(section)
        if isinstance(callback, pl.Callback):
            callbacks.append(callback)
        elif callback is not None:
            raise ConfigError(
                f"callbacks.{name}: {type(callback).__name__} is no pytorch_lightning.Callback"
            )
    return callbacks


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
        ConfigError: The batch cannot be shared, or a setting is out of range.
        ConstraintError: The space does not reach the budget.
    """
    for callback in callbacks:
        if isinstance(callback, MultiArchitectureSampling):
            check_batch(batch_size, callback.num_architectures)
        if isinstance(callback, EvolutionarySearch):
            callback.check(module)


def make_loggers(config: dict[str, Any] | DictConfig) -> list[Any]:
    """The loggers that the configuration names.

    Raises:
        MissingExtraError: One needs a package that is not installed.
    """
    loggers = []
    for name, logger in config.items():
        assert isinstance(name, str)
        try:
            loggers.append(instantiate(logger))
        except Exception as error:
            if isinstance(error.__cause__, ModuleNotFoundError):
                raise MissingExtraError(
                    f"logger={name} needs a package that is not installed: "
                    f"pip install 'vitsearch[{name}]'"
                ) from error
            raise
    return loggers


def next_steps(space: SearchSpace, num_classes: int, folder: Path, *, searched: bool) -> str:
    """The exact commands that a user may want now."""
    low, high = reachable_range(space, "macs", num_classes)
    middle = (low + high) / 2
    shown = os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)
    window = f"[{human(0.9 * middle)},{human(middle)}]".replace(" ", "")
    checkpoint = shlex.quote(f"checkpoint={shown}")
    lines = [
        "what comes next",
        f"  another budget:  python -m vitsearch.search {checkpoint} 'constraint.macs={window}'",
    ]
    if searched:
        lines += [
            f"  in Python:       vitsearch.load_model({f'{shown}/best'!r})",
            f"  all candidates:  {shown}/search/history.jsonl",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
