"""The callback that makes a pretrained network ready to be trained as a supernet."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities.seed import isolate_rng

from vitsearch.data import preprocessing_of
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag, check_one_of, check_whole
from vitsearch.lightning.distributed import from_first, rank_and_world, wait_for_processes
from vitsearch.lightning.scoring.splits import sample_batches
from vitsearch.lightning.tasks import Classification
from vitsearch.lightning.training.calibrating import calibrate_for
from vitsearch.lightning.training.linear_head import fit_heads
from vitsearch.lightning.training.supernet_module import SearchableClassifier
from vitsearch.supernet import save_model
from vitsearch.supernet.repairing.ordering import IMPORTANCES

HEAD_IMAGES = 10_000
"""Training images, at most, that a fresh classifier is fitted on."""


class PretrainedStart(pl.Callback):
    """Before the first step: a classifier that fits, and units in order of their importance.

    The supernet holds a pretrained network already. It fits a classifier that is fresh, looks at
    some training images once and puts heads and hidden channels in order, which changes no output.
    The largest network is then saved, and the objective may learn from it. A training that
    goes on from a checkpoint has all that in it.
    """

    def __init__(
        self,
        *,
        folder: str | Path | None = None,
        calibration_images: int = 1000,
        importance: str = "variance",
        fits_head: bool = False,
    ) -> None:
        """Set up the start.

        Args:
            folder: Where the network goes that is ready; nowhere by default.
            calibration_images: How many images it looks at.
            importance: Of units; see `SuperTransformer.order`. For `taylor` the loss is the task's.
            fits_head: Whether the classifier is fresh.

        Raises:
            ConfigError: A setting is out of range.
        """
        self.folder = None if folder is None else Path(folder)
        self.calibration_images = check_whole("calibration_images", calibration_images, 1)
        self.importance = check_one_of("importance", importance, IMPORTANCES)
        self.fits_head = check_flag("fits_head", fits_head)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the network ready, before optimiser and copies of the weights are made.

        Raises:
            ConfigError: The module is no `SearchableClassifier`, or has no classes to fit.
        """
        if not isinstance(pl_module, SearchableClassifier):
            raise ConfigError(
                f"PretrainedStart needs a SearchableClassifier, not {type(pl_module).__name__}"
            )
        if stage != "fit" or trainer.ckpt_path is not None:
            return
        net, data = pl_module.net, trainer.datamodule  # type: ignore[attr-defined]
        with isolate_rng():  # the same training follows, whether this runs or has run
            self._make_ready(trainer, pl_module)
            net.load_state_dict(from_first({n: t.cpu() for n, t in net.state_dict().items()}))
            original = net.extract(net.largest).cpu()
        original.set_preprocessing(preprocessing_of(data))
        is_trial = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        if self.folder is not None and rank_and_world()[0] == 0 and not is_trial:
            save_model(
                original, self.folder, class_names=getattr(data, "class_names", None) or None
            )
        wait_for_processes()
        pl_module.begin_with(original)

    def _make_ready(self, trainer: pl.Trainer, module: SearchableClassifier) -> None:
        module.net.to(trainer.strategy.root_device)
        if self.fits_head:
            _fit_head(trainer, module)
        images = sample_batches(trainer, self.calibration_images)
        calibration = calibrate_for(self.importance, module.net, images, module.task)
        module.net.order(calibration, self.importance)


def _fit_head(trainer: pl.Trainer, module: SearchableClassifier) -> None:
    if not isinstance(module.task, Classification):
        raise ConfigError(
            f"the pretrained network has no head for the task {module.task.name}, and only "
            f"classifiers can be fitted; take a network with {module.num_classes} outputs"
        )
    like = next(module.net.parameters())
    batches = (
        module.task.prepare(batch, module.space) for batch in sample_batches(trainer, HEAD_IMAGES)
    )
    fit_heads(module.net, ((x.to(like), y.to(like.device)) for x, y in batches))
