"""An elastic folder: weights, calibration, front. It describes itself, and no code from it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vitsearch.errors import CheckpointError
from vitsearch.runs.files import atomic_folder, write_json
from vitsearch.runs.formats import read_json, with_format
from vitsearch.shrinking.elastic_network import Elastic, FrontPoint
from vitsearch.spaces import Architecture, Cost, SearchSpace
from vitsearch.supernet.repairing.calibration import Calibration
from vitsearch.supernet.storage.weights import DAMAGE, check_state, damaged
from vitsearch.supernet.super_transformer import SuperTransformer

ELASTIC_FILE = "elastic.json"
WEIGHTS_FILE = "model.safetensors"
CALIBRATION_FILE = "calibration.safetensors"


def save_elastic(elastic: Elastic, folder: str | Path) -> Path:
    """Write an elastic network into a folder, which is replaced whole if it exists.

    Args:
        elastic: What to write. Of the calibration images nothing is kept but sums.
        folder: Where.

    Returns:
        The folder.
    """
    target = Path(folder)
    network = elastic.supernet
    described: dict[str, Any] = {
        "space": network.space.config,
        "num_classes": network.num_classes,
        "class_names": None if network.class_names is None else list(network.class_names),
        "preprocessing": network.preprocessing,
        "figure": elastic.figure,
        "front": [
            {"architecture": p.architecture.to_dict(), "score": p.score, **p.cost.to_dict()}
            for p in elastic.front
        ],
    }
    with atomic_folder(target) as temporary:
        write_json(temporary / ELASTIC_FILE, with_format(described))
        for name, state in (
            (WEIGHTS_FILE, network.state_dict()),
            (CALIBRATION_FILE, elastic.calibration.state_dict()),
        ):
            tensors = {key: tensor.cpu().contiguous() for key, tensor in state.items()}
            save_file(tensors, temporary / name, metadata={"format": "pt"})
            # safetensors writes files that only their owner can read.
            (temporary / name).chmod((temporary / ELASTIC_FILE).stat().st_mode)
    return target


def load_elastic(folder: str | Path) -> Elastic:
    """The elastic network that `save_elastic` wrote, in eval mode.

    Args:
        folder: An elastic folder, or a run folder of `vitsearch.shrink`, which has one.

    Raises:
        CheckpointError: A file is missing or damaged, weights do not fit, or the run that writes
            the folder has not ended.
        FormatError: A newer version has written it.
    """
    found = read_elastic(folder)
    if not found.front:
        raise CheckpointError(
            f"{find_elastic(folder)} has no front yet: its run has not ended; go on with it first"
        )
    return found


def read_elastic(folder: str | Path) -> Elastic:
    """The same, also of a run that has not ended, whose front is empty."""
    source = find_elastic(folder)
    described = read_json(source / ELASTIC_FILE, CheckpointError)
    try:
        space = SearchSpace(described["space"])
        network = _load_network(space, described, source)
        calibration = Calibration.from_state(load_file(source / CALIBRATION_FILE))
        front = tuple(_point(space, network, own) for own in described["front"])
        return Elastic(
            supernet=network,
            calibration=calibration,
            front=front,
            figure=str(described["figure"]),
        )
    except (*DAMAGE, SafetensorError, OSError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise damaged(f"elastic folder {source}", error) from error


def find_elastic(folder: str | Path) -> Path:
    """The elastic folder that is meant: the folder itself, or that of a run.

    Raises:
        CheckpointError: There is none.
    """
    given = Path(folder).expanduser()
    for source in (given, given / "elastic"):
        if (source / ELASTIC_FILE).is_file():
            return source
    raise CheckpointError(f"{given} is no elastic folder: {ELASTIC_FILE} is missing in it")


def _load_network(space: SearchSpace, described: dict[str, Any], source: Path) -> SuperTransformer:
    num_classes = described["num_classes"]
    with torch.device("meta"):  # sizes first: weights that do not fit take no memory
        expected = SuperTransformer(space, num_classes).state_dict()
    state = load_file(source / WEIGHTS_FILE)
    check_state(expected, state, f"elastic folder {source}")
    network = SuperTransformer(space, num_classes)
    network.load_state_dict(state)
    network.preprocessing = described.get("preprocessing")
    names = described.get("class_names")
    network.class_names = None if names is None else tuple(map(str, names))
    return network.eval()


def _point(space: SearchSpace, network: SuperTransformer, own: dict[str, Any]) -> FrontPoint:
    architecture = Architecture.from_dict(own["architecture"])
    space.validate(architecture)
    cost: Cost = network.cost(architecture)
    return FrontPoint(architecture=architecture, cost=cost, score=float(own["score"]))
