"""`python -m vitsearch.audit checkpoint=<run>`: how far can a supernet's scores be trusted?

Thin: it reads the run's recipe from its `config.yaml` and hands the pieces to `lightning/`.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vitsearch.commands.command import check_seed, command, fail, quiet_warnings, save_config
from vitsearch.commands.launch import fit_to_launch
from vitsearch.commands.run_recipe import fill_from_run, make_recipe, notes, read_run
from vitsearch.commands.supernet_setup import (
    launch,
    make_datamodule,
    make_fabric,
    make_scorer,
    run_data,
)
from vitsearch.errors import CheckpointError
from vitsearch.lightning.audit.log import TrainingLog
from vitsearch.lightning.audit.plan import make_plan
from vitsearch.lightning.audit.run import run_audit
from vitsearch.lightning.search.factory import make_constraint
from vitsearch.reports import make_console, start_panel
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.storage.checkpoint import find_checkpoint, load_supernet


def run_folder(checkpoint: str | None) -> str:
    """The folder of a run, for the configuration; so nothing is made before the run is found.

    Raises:
        CheckpointError: It has no supernet.
    """
    if checkpoint is None:
        raise CheckpointError("no checkpoint: add checkpoint=<run folder>")
    return str(find_checkpoint(checkpoint).parent)


OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)


@command("audit", locks=True)
def audit(config: DictConfig, folder: Path) -> None:
    """Load a run, audit it."""
    fit_to_launch(config.trainer)
    quiet_warnings()
    check_seed(config.seed)
    checkpoint = find_checkpoint(config.checkpoint)
    run = read_run(checkpoint)
    net = load_supernet(checkpoint)
    fill_from_run(config, run)
    data = run_data(config, checkpoint, net.space)
    if config.batch_size is not None:
        data.batch_size = config.batch_size
    datamodule = make_datamodule(data, checkpoint, net)
    recipe = make_recipe(config, run, folder)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    constraint = make_constraint(plain["constraint"]).computed()
    plan = make_plan(
        net.space,
        constraint,
        n=config.n,
        seeds=plain["seeds"],
        seed=config.seed,
        searches=plain["compare_searches"],
        num_classes=net.num_classes,
    )
    recipe.make_classifier(VisionTransformer(net.space, plan.architectures[0], net.num_classes))
    TrainingLog(folder).check(recipe.digest)
    fabric = make_fabric(config.trainer)
    launch(fabric, config.process_timeout, datamodule)
    console = make_console() if fabric.is_global_zero else None
    if console is not None:
        save_config(config, folder)
        facts = {
            "supernet": str(checkpoint),
            "data": f"{type(datamodule).__name__}, {datamodule.num_classes} classes",
            "devices": f"{fabric.world_size} x {fabric.device.type}",
            "trained alone": f"{config.n} architectures, {recipe.length}, "
            f"seeds {', '.join(map(str, plan.seeds))}",
            "folder": str(folder),
        }
        console.print(
            start_panel(net.space, num_classes=net.num_classes, constraint=constraint, facts=facts)
        )
        for note in notes(config, run):
            console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    run_audit(
        make_scorer(fabric, net, datamodule),
        plan,
        recipe,
        datamodule,
        folder,
        console=console,
        test=partial(datamodule.test_dataloader, shard=False) if config.use_test_split else None,
    )


def main() -> None:
    """The command."""
    if any(argument == "-m" or argument.startswith("--m") for argument in sys.argv[1:]):
        fail("--multirun is not for audits, which write into the run's folder; start one at a time")
    audit()


if __name__ == "__main__":
    main()
