"""What a retraining is made of: an architecture and its space, the data, the network to begin with.

Everything that is found out stands in the resolved configuration, so that a run folder says all of
it and goes on without the folder that its architecture came from.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from vitsearch.commands.architecture_source import ArchitectureSource, find_source, task_of_run
from vitsearch.commands.data_section import SHAPE, of_architecture
from vitsearch.commands.pieces import space_for
from vitsearch.commands.spec import RunSpec, check_training, required_space, with_settings
from vitsearch.errors import CheckpointError, ConfigError, SpaceError, VitSearchError
from vitsearch.errors.checks import check_one_of
from vitsearch.lightning.objectives import WeightedObjectives
from vitsearch.lightning.objectives.base import PATCHES
from vitsearch.lightning.retraining.train_alone import with_order
from vitsearch.runs.layout import NETWORK_FILE
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.storage.checkpoint import describe_space, read_network_entry
from vitsearch.supernet.storage.inherit import inherit_weights

INITS = ("scratch", "inherited")
TRAIN_ON = ("train", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSpec(RunSpec):
    """A training of one network.

    Attributes:
        space: Fitted to the images.
        architecture: What of it.
        source: Where it was found; `None` if that is gone since the run began.
    """

    space: SearchSpace
    architecture: Architecture
    source: ArchitectureSource | None

    @property
    def words(self) -> str:
        """Where the architecture is from."""
        if self.source is None:
            return "the architecture saved when this run began (its source is gone)"
        return self.source.words

    @property
    def origin(self) -> str:
        """Where weights of it are from."""
        if self.source is None:
            return "where they were when the run began"
        return str(self.config.checkpoint or self.source.model or self.source.supernet)

    @property
    def inherits(self) -> bool:
        """Whether the network begins with weights that it had before."""
        return bool(self.config.init == "inherited")


def resolve(config: DictConfig, folder: Path) -> RetrainSpec:
    """Find the architecture, its space and its data; the configuration then says all three.

    Raises:
        CheckpointError: A file is missing or damaged.
        ConfigError: A setting is out of range, or contradicts what was found.
        SpaceError: The images do not fit.
    """
    check_training(config)
    for name, legal in (("init", INITS), ("train_on", TRAIN_ON)):
        check_one_of(name, config[name], legal)
    given = None if config.get("space") is None else SearchSpace(required_space(config))
    goes_on = config.digest is not None and (folder / NETWORK_FILE).is_file()
    if goes_on and given is not None:
        return _going_on(config, folder)
    source = find_source(config.architecture, run=config.run, space=given)
    _check_source(config, source, given)
    data = of_architecture(config, source)
    space = _fitted(config, source, data)
    task = config.model.get("task") or task_of_run(source.run)
    complete = {
        "data": data,
        **({} if task is None else {"model": with_settings(config.model, {"task": task})}),
        "architecture": source.given,
        "run": None,
        "digest": source.architecture.digest,
        "space": space.config,
    }
    return RetrainSpec(
        folder=folder,
        config=with_settings(config, complete),
        space=space,
        architecture=source.architecture,
        source=source,
    )


def _check_source(
    config: DictConfig, source: ArchitectureSource, given: SearchSpace | None
) -> None:
    """Refuse settings that contradict what was found."""
    if config.digest not in (None, source.architecture.digest):
        raise ConfigError(
            f"architecture={config.architecture} is {source.architecture.digest} now, not "
            f"digest={config.digest}"
        )
    if config.digest is None and given not in (None, source.space):
        assert given is not None
        raise CheckpointError(
            f"architecture={config.architecture} is of another space: "
            f"{describe_space(source.space)}, not {describe_space(given)}; leave +space out"
        )
    if config.checkpoint is not None and source.published is None:
        raise ConfigError(
            f"checkpoint={config.checkpoint} is for published architectures; weights of "
            f"architecture={config.architecture} are taken from beside it"
        )


def _going_on(config: DictConfig, folder: Path) -> RetrainSpec:
    """The network of a run that goes on, from its own checkpoint."""
    file = folder / NETWORK_FILE
    entry = read_network_entry(file)
    try:
        space = SearchSpace(entry["space"])
        architecture = Architecture.from_dict(entry["architecture"])
        space.validate(architecture)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {file} is damaged: {error}") from error
    source = None
    with contextlib.suppress(VitSearchError):  # it is only compared with
        source = find_source(config.architecture, space=space)
    if source is not None and source.architecture != architecture:
        source = None
    return RetrainSpec(
        folder=folder, config=config, space=space, architecture=architecture, source=source
    )


def _fitted(config: DictConfig, source: ArchitectureSource, data: DictConfig) -> SearchSpace:
    """The space for the model and its images, with a distillation token if one is wanted."""
    space, token = source.space, config.distillation_token
    shape = {name: data[name] for name in SHAPE if name in data}
    changed = {**space_for(config.model, space.config), **shape}
    if token is not None:
        changed["head"] = {**changed["head"], "distillation": token}
    if changed == space.config:
        return space
    try:
        return SearchSpace(changed)
    except SpaceError:  # of patch sizes that the architecture has not
        own = source.architecture.get("stem.patch_size")
        if own is None or len(changed["patch_sizes"]) == 1:
            raise
        return SearchSpace({**changed, "patch_sizes": [own]})


def make_datamodule(config: DictConfig) -> Any:
    """The images: split by `data.seed`, as the run did, in an order of this run's `seed`."""
    datamodule = instantiate(config.data)
    offset = config.seed - config.data.get("seed", config.seed)
    return with_order(datamodule, offset) if offset else datamodule


def network_before(run: RetrainSpec) -> VisionTransformer | None:
    """The architecture with the weights that lie beside it: to inherit, and to compare with.

    Raises:
        CheckpointError: They are to be inherited, and are not there or damaged.
    """
    checkpoint = run.config.checkpoint
    if run.source is None:
        return None
    if run.inherits:
        return run.source.network(checkpoint)
    if not run.source.has_weights(checkpoint):
        return None
    with contextlib.suppress(VitSearchError):  # a network from scratch does without
        return run.source.network(checkpoint)
    return None


def make_network(
    run: RetrainSpec,
    settings: dict[str, Any],
    num_classes: int,
    *,
    inherits: VisionTransformer | None,
) -> tuple[VisionTransformer, tuple[str, ...]]:
    """The network to begin with.

    Args:
        run: Says which.
        settings: Of the module; what is the network's own is taken out.
        num_classes: Of the data.
        inherits: Whose weights it gets; fresh ones without.

    Returns:
        The network, and what of its weights is not as they were.

    Raises:
        CheckpointError: The weights do not fit.
        ConfigError: A setting is out of range.
    """
    network = VisionTransformer(
        run.space,
        run.architecture,
        num_classes=num_classes,
        drop_path_rate=settings.pop("drop_path_rate", 0.0),
        patch_head=PATCHES in WeightedObjectives(settings.get("objective")).uses,
    )
    network.zero_init_residual(settings.pop("zero_init_residual", False))
    if inherits is None:
        return network, ()
    if run.space.head.distillation and not inherits.space.head.distillation:
        raise ConfigError(
            "distillation_token=true needs init=scratch: the weights that would be inherited have "
            "no such token"
        )
    return network, inherit_weights(network, inherits.state_dict(), run.origin)


def comparable(
    before: VisionTransformer | None, network: VisionTransformer
) -> dict[str, VisionTransformer]:
    """The network as it was before, if it sees the same images and classes."""
    if before is None or before.num_classes != network.num_classes:
        return {}
    if before.space.head.dense != network.space.head.dense:
        return {}
    same = all(getattr(before.plan, name) == getattr(network.plan, name) for name in SHAPE)
    return {"inherited": before} if same else {}
