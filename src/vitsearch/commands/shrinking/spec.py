"""A shrinking, resolved: complete and checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from vitsearch.commands import data_section
from vitsearch.commands.shrinking.source import (
    FITTED,
    NO_HEAD,
    OWN,
    Source,
    fits,
    head_line,
    read_source,
    with_classes,
)
from vitsearch.commands.spec import RunSpec, with_settings
from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag, check_one_of, check_whole
from vitsearch.lightning.search.factory import make_constraint
from vitsearch.lightning.shrinking.targets import Targets, read_targets
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.repairing.ordering import IMPORTANCES

SCORES = ("auto", "accuracy", "fidelity")
AUTO = "auto"
_IMAGES = (256, 1000)  # that candidates are scored on, if nothing else is said
_WORK = 1.5e11  # MACs of scoring the full network: seconds of a CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkSpec(RunSpec):
    """A shrinking of a pretrained network.

    Attributes:
        source: The network in words.
        net: The network, converted.
        datamodule: The images.
        targets: The budgets.
        constraint: The windows that were given.
        preprocessing: How the original's images were prepared, if that is known.
        head: `own`, `fitted`, or `none` where there is none.
        by_features: Whether scores compare features instead of counting right answers.
        notes: Lines for the start.
    """

    source: str
    net: SuperTransformer
    datamodule: Any
    targets: Targets
    constraint: Constraint
    preprocessing: Mapping[str, Any]
    head: str
    by_features: bool
    notes: tuple[str, ...]


def resolve(config: DictConfig, folder: Path) -> ShrinkSpec:
    """Load the network, fit the data to it and a classifier to the data, read the budgets.

    Raises:
        CheckpointError: There are no weights, or they do not fit.
        ConfigError: A setting is out of range, or one does not go with another.
        ConstraintError: A budget is malformed or out of reach.
        DataError: A setting of the data is out of range.
        SpaceError: The network cannot be converted.
    """
    for name in ("calibration_images", "head_images", "finalists"):
        check_whole(name, config[name], 1)
    if config.search_images != AUTO:
        check_whole("search_images", config.search_images, 1, otherwise=AUTO)
    check_one_of("score", config.score, SCORES)
    check_one_of("importance", config.importance, IMPORTANCES)
    for name in ("use_test_split", "report"):
        check_flag(name, config[name])
    source = read_source(config, folder)
    data = data_section.of_original(config.data, source.net.space, source.preprocessing)
    datamodule = instantiate(data)
    by_features = _by_features(config.score, datamodule, source)
    net, head, notes = _with_head(source, datamodule, by_features, config.head_images)
    constraint = make_constraint(OmegaConf.to_container(config.constraint, resolve=True))  # type: ignore[arg-type]
    budgets: Any = config.budgets
    if isinstance(budgets, DictConfig):
        raise ConfigError(f"budgets={budgets} must be a list, such as [0.75, 0.5]")
    plain: Any = budgets
    if OmegaConf.is_list(budgets):
        plain = OmegaConf.to_container(budgets, resolve=True)
    targets = read_targets(plain, constraint, net.space, net.cost(net.largest), net.num_classes)
    complete = {
        "model": {"path": source.path},
        "data": data,
        "space": net.space.config,
    }
    return ShrinkSpec(
        folder=folder,
        config=with_settings(config, complete),
        source=source.words,
        net=net,
        datamodule=datamodule,
        targets=targets,
        constraint=constraint,
        preprocessing=source.preprocessing,
        head=head,
        by_features=by_features,
        notes=notes,
    )


def number_of_images(given: int | str, macs: int) -> int:
    """How many images of the search split candidates are scored on, at most.

    Args:
        given: The setting; `auto` for fewer where networks are large.
        macs: Of the full network.
    """
    if given != AUTO:
        return int(given)
    fewest, most = _IMAGES
    return max(fewest, min(most, round(_WORK / macs)))


def _by_features(score: str, datamodule: Any, source: Source) -> bool:
    has_labels = bool(getattr(datamodule, "num_classes", 0))
    if score == "accuracy" and not has_labels:
        raise ConfigError(
            f"score=accuracy needs labels, which {type(datamodule).__name__} does not have; "
            f"score=fidelity compares features with those of {source.words} instead"
        )
    return score == "fidelity" or not has_labels


def _with_head(
    source: Source, datamodule: Any, by_features: bool, images: int
) -> tuple[SuperTransformer, str, tuple[str, ...]]:
    """The network with a classifier that fits, where that is from, and what to say of it."""
    net = source.net
    if by_features:
        return net, source.head or (OWN if net.num_classes else NO_HEAD), ()
    names = getattr(datamodule, "class_names", None)
    if source.head is not None or fits(net, datamodule.num_classes, names):
        return net, source.head or OWN, ()
    note = head_line(net, datamodule.num_classes, images)
    return with_classes(net, datamodule.num_classes), FITTED, (note,)
