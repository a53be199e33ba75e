"""`python -m vitsearch.audit checkpoint=<run>`: how far can a supernet's scores be trusted?

Thin: it reads the run's recipe from its `config.yaml` and hands the pieces to `lightning/`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vitsearch.commands import data_section
from vitsearch.commands.architecture_source import task_of_run
from vitsearch.commands.command import command
from vitsearch.commands.pieces import launch, make_datamodule, make_fabric, make_scorer, make_task
from vitsearch.commands.recipe import make_recipe, notes, read_run, settings_of_run
from vitsearch.commands.session import Session
from vitsearch.commands.spec import RunSpec, with_settings
from vitsearch.errors import CheckpointError
from vitsearch.lightning.audit.log import TrainingLog
from vitsearch.lightning.audit.plan import make_plan
from vitsearch.lightning.audit.run import run_audit
from vitsearch.lightning.search.factory import make_constraint
from vitsearch.reports import start_panel
from vitsearch.spaces import SearchSpace
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


@command(
    "audit",
    locks=True,
    no_sweep="is not for audits, which write into the run's folder; start one at a time",
)
def main(config: DictConfig, session: Session) -> None:
    """Load a run, audit it."""
    checkpoint = find_checkpoint(config.checkpoint)
    run = read_run(checkpoint)
    net = load_supernet(checkpoint)
    spec = resolve(config, session.folder, checkpoint, run, net.space)
    datamodule = make_datamodule(spec.config.data, checkpoint, net)
    recipe = make_recipe(spec.config, run, spec.folder)
    plain: Any = OmegaConf.to_container(spec.config, resolve=True)
    constraint = make_constraint(plain["constraint"]).computed()
    plan = make_plan(
        net.space,
        constraint,
        n=plain["n"],
        seeds=plain["seeds"],
        seed=plain["seed"],
        searches=plain["compare_searches"],
        num_classes=net.num_classes,
        training_free=plain["training_free"],
    )
    recipe.make_classifier(VisionTransformer(net.space, plan.architectures[0], net.num_classes))
    TrainingLog(spec.folder).check(recipe.digest)
    fabric = make_fabric(spec.config.trainer)
    launch(fabric, config.process_timeout, datamodule)
    where = session.compute_on(fabric.device, net.space, spec.config)
    facts = {
        "supernet": str(checkpoint),
        "data": f"{type(datamodule).__name__}, {datamodule.num_classes} classes",
        "devices": f"{fabric.world_size} x {where}",
        "trained alone": f"{config.n} architectures, {recipe.length}, "
        f"seeds {', '.join(map(str, plan.seeds))}",
        "folder": str(spec.folder),
    }
    session.begin(
        spec,
        partial(
            start_panel, net.space, num_classes=net.num_classes, constraint=constraint, facts=facts
        ),
        notes=[f"note: {note}" for note in (*notes(spec.config, run), *plan.notes)],
    )
    run_audit(
        make_scorer(fabric, net, datamodule, make_task(task_of_run(checkpoint.parent))),
        plan,
        recipe,
        datamodule,
        spec.folder,
        console=session.console if session.is_first else None,
        test=partial(datamodule.test_dataloader, shard=False) if config.use_test_split else None,
    )


def resolve(
    config: DictConfig, folder: Path, checkpoint: Path, run: DictConfig, space: SearchSpace
) -> RunSpec:
    """Complete the settings of an audit with those of the run.

    Args:
        config: Of the audit.
        folder: Of the audit.
        checkpoint: The supernet.
        run: The configuration that trained it.
        space: The supernet's.

    Raises:
        CheckpointError: The data of the run is unknown.
    """
    data = data_section.of_supernet(config.get("data"), checkpoint, space)
    if config.batch_size is not None:
        data = with_settings(data, {"batch_size": config.batch_size})
    complete = {"data": data, "space": space.config, **settings_of_run(config, run)}
    return RunSpec(folder=folder, config=with_settings(config, complete))


if __name__ == "__main__":
    main()
