"""What a retraining is made of: an architecture and its space, the data, the network to begin with.

Everything that is found out is written back into the configuration, so that a run folder says all
of it and goes on without the folder that its architecture came from.
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from vitsearch.commands.architecture_source import ArchitectureSource, data_of_run, find_source
from vitsearch.commands.command import required_space
from vitsearch.data import SearchDataModule
from vitsearch.errors import CheckpointError, ConfigError, SpaceError, VitSearchError
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
_SHAPE = ("image_size", "in_chans")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """What is retrained.

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
        return "as the run began with" if self.source is None else self.source.words

    def origin(self, checkpoint: str | None) -> str:
        """Where weights of it are from; `checkpoint` is the authors' file, if there is one."""
        if self.source is None:
            return "where they were when the run began"
        return str(checkpoint or self.source.model or self.source.supernet)


def find_retraining(config: DictConfig, folder: Path) -> Retraining:
    """Find the architecture and its data, and write both into the configuration.

    Raises:
        CheckpointError: A file is missing or damaged.
        ConfigError: A setting contradicts what was found.
        SpaceError: The images do not fit.
    """
    for name, legal in (("init", INITS), ("train_on", TRAIN_ON)):
        if config[name] not in legal:
            raise ConfigError(f"{name}={config[name]} is unknown; legal: {', '.join(legal)}")
    goes_on = config.digest is not None and (folder / NETWORK_FILE).is_file()
    if goes_on and config.get("space") is not None:
        return _found_before(config, folder / NETWORK_FILE)
    given = None if config.get("space") is None else SearchSpace(required_space(config))
    source = find_source(config.architecture, run=config.run, space=given)
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
    _fill_data(config, source)
    space = _fitted(source.space, source.architecture, config)
    with open_dict(config):
        config.architecture, config.run = source.given, None
        config.digest = source.architecture.digest
        config.space = space.config
    return Retraining(space=space, architecture=source.architecture, source=source)


def _found_before(config: DictConfig, file: Path) -> Retraining:
    """The network of a run that goes on, from its own checkpoint."""
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
    return Retraining(space=space, architecture=architecture, source=source)


def _fill_data(config: DictConfig, source: ArchitectureSource) -> None:
    """The data section: the command's, else that of the run, with the command's changes."""
    given = config.get("data")
    with open_dict(config):
        if given is None or "_target_" not in given:
            if source.run is None:
                raise ConfigError(
                    f"architecture={config.architecture} lies in no run, so its data is unknown; "
                    f"add data=<name> and its settings"
                )
            config.data = OmegaConf.merge(data_of_run(source.run), given or {})
        for name in _SHAPE:
            if name in config.data and config.data[name] is None:
                config.data[name] = getattr(source.space, name)
        if _takes_train_on(get_object(config.data._target_)):
            config.data.train_on = config.train_on


def _takes_train_on(made_by: Any) -> bool:
    """Whether a data module can be told which images to train on."""
    parameters = inspect.signature(made_by).parameters
    passes_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    ours = isinstance(made_by, type) and issubclass(made_by, SearchDataModule)
    return "train_on" in parameters or (ours and passes_on)


def _fitted(space: SearchSpace, architecture: Architecture, config: DictConfig) -> SearchSpace:
    """The space for the images of the data, with a distillation token if one is wanted."""
    size = {name: config.data[name] for name in _SHAPE if name in config.data}
    changed = {**space.config, **size}
    if config.distillation_token is not None:
        changed["head"] = {**changed["head"], "distillation": config.distillation_token}
    if changed == space.config:
        return space
    try:
        return SearchSpace(changed)
    except SpaceError:  # of patch sizes that the architecture has not
        own = architecture.get("stem.patch_size")
        if own is None or len(changed["patch_sizes"]) == 1:
            raise
        return SearchSpace({**changed, "patch_sizes": [own]})


def make_datamodule(config: DictConfig) -> Any:
    """The images: split by `data.seed`, as the run did, in an order of this run's `seed`."""
    datamodule = instantiate(config.data)
    offset = config.seed - config.data.get("seed", config.seed)
    return with_order(datamodule, offset) if offset else datamodule


def network_before(found: Retraining, config: DictConfig) -> VisionTransformer | None:
    """The architecture with the weights that lie beside it: to inherit, and to compare with.

    Raises:
        CheckpointError: They are to be inherited, and are not there or damaged.
    """
    if found.source is None:
        return None
    if config.init == "inherited":
        return found.source.network(config.checkpoint)
    if not found.source.has_weights(config.checkpoint):
        return None
    with contextlib.suppress(VitSearchError):  # a network from scratch does without
        return found.source.network(config.checkpoint)
    return None


def make_network(
    found: Retraining,
    settings: dict[str, Any],
    num_classes: int,
    *,
    inherits: VisionTransformer | None,
    origin: str,
) -> tuple[VisionTransformer, tuple[str, ...]]:
    """The network to begin with.

    Args:
        found: Which.
        settings: Of the module; what is the network's own is taken out.
        num_classes: Of the data.
        inherits: Whose weights it gets; fresh ones without.
        origin: Where those are from, for messages.

    Returns:
        The network, and what of its weights is not as they were.

    Raises:
        CheckpointError: The weights do not fit.
        ConfigError: A setting is out of range.
    """
    network = VisionTransformer(
        found.space,
        found.architecture,
        num_classes=num_classes,
        drop_path_rate=settings.pop("drop_path_rate", 0.0),
        patch_head=PATCHES in WeightedObjectives(settings.get("objective")).uses,
    )
    network.zero_init_residual(settings.pop("zero_init_residual", False))
    if inherits is None:
        return network, ()
    if found.space.head.distillation and not inherits.space.head.distillation:
        raise ConfigError(
            "distillation_token=true needs init=scratch: the weights that would be inherited have "
            "no such token"
        )
    return network, inherit_weights(network, inherits.state_dict(), origin)


def comparable(
    before: VisionTransformer | None, network: VisionTransformer
) -> dict[str, VisionTransformer]:
    """The network as it was before, if it sees the same images and classes."""
    if before is None or before.num_classes != network.num_classes:
        return {}
    same = all(getattr(before.plan, name) == getattr(network.plan, name) for name in _SHAPE)
    return {"inherited": before} if same else {}
