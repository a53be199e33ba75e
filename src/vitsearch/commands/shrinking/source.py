"""The network that is made smaller, as `model=` names it, converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.seed import isolate_rng

from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.pretrained import pretrained_folder
from vitsearch.runs.formats import read_json
from vitsearch.runs.layout import ELASTIC_FOLDER, START_FILE
from vitsearch.shrinking.storage import read_elastic
from vitsearch.supernet import SuperTransformer, from_timm
from vitsearch.supernet.converting.from_timm import HUB, LOCAL
from vitsearch.supernet.repairing.folding import is_repairable

EMBEDDED = "vit_fashion"
OWN, FITTED, NO_HEAD = "own", "fitted", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A converted network, and where it is from.

    Attributes:
        path: What names it from any folder; `None` for the one inside the package.
        words: The same for people.
        net: The network.
        preprocessing: How its images were prepared, if that is known.
        head: Whether its classifier is its own or fitted; `None` before that is decided.
    """

    path: str | None
    words: str
    net: SuperTransformer
    preprocessing: Mapping[str, Any]
    head: str | None = None


def read_source(config: DictConfig, folder: Path) -> Source:
    """Load and convert the network; a run that goes on finds it in its own folder.

    Args:
        config: Of the command.
        folder: The run folder.

    Raises:
        CheckpointError: Weights are missing or do not fit.
        ConfigError: It has nothing that could be repaired.
        SpaceError: It cannot be converted, or an option is not legal.
    """
    given = config.model.get("path")
    path = None if given is None else _from_anywhere(str(given))
    words = f"{EMBEDDED}, inside the package" if path is None else path
    if (folder / START_FILE).is_file() and (folder / ELASTIC_FOLDER).is_dir():
        start = read_json(folder / START_FILE, CheckpointError)
        net = read_elastic(folder / ELASTIC_FOLDER).supernet
        return Source(
            path=path,
            words=words,
            net=net,
            preprocessing=start["preprocessing"],
            head=str(start["head"]),
        )
    options: Any = OmegaConf.to_container(config.options, resolve=True)
    weights, tokens = config.get("weights"), config.get("tokens")
    with isolate_rng():
        net = from_timm(
            str(pretrained_folder(EMBEDDED)) if path is None else path,
            pretrained=weights is None,
            weights=weights,
            img_size=config.image_size,
            options={name: value for name, value in (options or {}).items() if value is not None},
            tokens=None if tokens is None else OmegaConf.to_container(tokens, resolve=True),  # type: ignore[arg-type]
        )
    if net.has_predictors:
        raise ConfigError(
            "tokens.kind=predict needs training: python -m vitsearch.train +space=timm; a "
            "shrinking without any has tokens.kind=merge and keep"
        )
    if not is_repairable(net):
        raise ConfigError(f"model={words} has no attention or MLP that could be cut and repaired")
    return Source(path=path, words=words, net=net, preprocessing=net.preprocessing or {})


def with_classes(net: SuperTransformer, num_classes: int) -> SuperTransformer:
    """The same network with fresh classifiers."""
    with isolate_rng():
        made = SuperTransformer(net.space, num_classes)
    fresh = made.state_dict()
    kept = {
        name: tensor
        for name, tensor in net.state_dict().items()
        if name in fresh and not name.startswith(("head.", "head_dist."))
    }
    made.load_state_dict({**fresh, **kept})
    made.preprocessing = net.preprocessing
    return made.to(next(net.parameters()).dtype).eval()


def _from_anywhere(model: str) -> str:
    """A folder by its whole path; anything else as it is."""
    prefix, path = (LOCAL, model.removeprefix(LOCAL)) if model.startswith(LOCAL) else ("", model)
    if model.startswith(HUB):
        return model
    folder = Path(path).expanduser()
    return f"{prefix}{folder.absolute()}" if folder.is_dir() else model


def fits(net: SuperTransformer, num_classes: int, names: Any) -> bool:
    """Whether a network's own classifier has the classes of some data."""
    if net.num_classes != num_classes:
        return False
    return not names or net.class_names is None or net.class_names == tuple(names)


def head_line(net: SuperTransformer, num_classes: int, images: int) -> str:
    """Why a linear head is fitted, and on what.

    Args:
        net: With its own head.
        num_classes: Of the data.
        images: How many training images, at most.
    """
    if not net.num_classes:
        why = "the network has no classifier"
    elif net.num_classes != num_classes:
        why = f"the network tells {net.num_classes} classes apart, the data has {num_classes}"
    else:
        why = "the network's classes have other names than those of the data"
    return (
        f"{why}: a linear head is fitted once, on the full network's features of up to "
        f"{images:,} training images"
    )
