"""How a training begins with a pretrained network, and goes on without it."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.utilities.seed import isolate_rng

from vitsearch.commands.spec import SupernetSpec
from vitsearch.errors import CheckpointError
from vitsearch.lightning import SearchableClassifier
from vitsearch.lightning.training.pretrained_start import PretrainedStart
from vitsearch.runs.layout import ORIGINAL_FOLDER, SUPERNET_FILE
from vitsearch.supernet import load_model
from vitsearch.supernet.converting.origin import Origin


def begin_with_original(
    run: SupernetSpec, module: SearchableClassifier, class_names: tuple[str, ...] | None
) -> PretrainedStart | None:
    """Load the network that a run begins with, and let the objective learn from it.

    A run that has begun finds it in its own folder, as it was made ready then.

    Args:
        run: The training.
        module: What trains.
        class_names: Of the data, if they are known.

    Returns:
        What makes the network ready when training begins; `None` if that is done, or where there
        is none.

    Raises:
        CheckpointError: Weights are missing or do not fit.
    """
    if run.origin is None:
        return None
    with isolate_rng():  # the same training follows, wherever the network is from
        return _begin(run, run.origin, module, class_names)


def _begin(
    run: SupernetSpec,
    origin: Origin,
    module: SearchableClassifier,
    class_names: tuple[str, ...] | None,
) -> PretrainedStart | None:
    folder = run.folder / ORIGINAL_FOLDER
    if folder.is_dir():
        _load_ready(module, folder)
        return None
    if (run.folder / SUPERNET_FILE).is_file():
        return None  # someone took it away: who needs it says so
    net = origin.load(run.space, module.num_classes)
    module.net.load_state_dict(net.state_dict())
    module.begin_with(module.net.extract(module.net.largest))
    return PretrainedStart(
        folder=folder,
        calibration_images=origin.calibration_images,
        importance=origin.importance,
        fits_head=not (run.space.head.dense or origin.keeps_head(module.num_classes, class_names)),
    )


def _load_ready(module: SearchableClassifier, folder: Path) -> None:
    network = load_model(folder)
    if (network.space, network.num_classes) != (module.space, module.num_classes):
        raise CheckpointError(
            f"{folder} is another network than the one that this run began with; choose a fresh "
            f"run_dir"
        )
    module.net.load_state_dict(network.state_dict())
    module.begin_with(network)
