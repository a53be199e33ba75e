"""Exact scores of architectures: the answers of a sub-network to a split, counted.

Every process that scores an architecture looks at the whole split, so a score is made of integers
that do not depend on how many processes there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from vitsearch.elastic import NormStatistics
from vitsearch.errors import DataError
from vitsearch.lightning.scoring.answers import Autocast, count_answers
from vitsearch.lightning.tasks import (
    Batch,
    Classification,
    Score,
    Segmentation,
    Tally,
    Task,
)
from vitsearch.lightning.threads import ItemT, ResultT, side_by_side
from vitsearch.spaces import Architecture
from vitsearch.supernet import SuperTransformer, VisionTransformer
from vitsearch.supernet.repairing.calibration import Calibration


class Scorer:
    """Scores architectures of one super-transformer.

    Attributes:
        net: Whose sub-networks.
        task: How answers are counted.
        num_images: How many images a score rests on.
        device: Where it computes.
        calibration: What sub-networks are repaired from; `None` where they are not.
    """

    def __init__(
        self,
        net: SuperTransformer,
        batches: Iterable[Any],
        statistics_images: Sequence[Tensor],
        *,
        device: torch.device,
        task: Task | None = None,
        autocast: Autocast = nullcontext,
        extracted: bool = False,
        calibration: Calibration | None = None,
    ) -> None:
        """Put network and images on the device.

        Args:
            net: The super-transformer; it is moved to the device.
            batches: Of the split, as a loader gives them; read once, kept.
            statistics_images: Batches of training images for BatchNorm statistics.
            device: Where to compute.
            task: How answers are counted; by default classification, or segmentation where the
                head answers for every pixel.
            autocast: Makes the context in which the network runs.
            extracted: Score the networks that would be taken out; of a bilateral supernet they are
                half of what it runs.
            calibration: Of the supernet on the device, to repair every sub-network from before it
                is scored; `None` to score it as it is.

        Raises:
            DataError: There is no image, or a batch is none of the task's.
        """
        self.net = net.to(device)
        if task is None:
            dense = net.space.head.dense
            task = Segmentation() if dense else Classification(num_classes=net.num_classes)
        self.task = task.for_classes(net.num_classes)
        self.task.check_head(dense=net.space.head.dense)
        self.device = device
        self._autocast = autocast
        self._extracted = extracted
        self.calibration = calibration
        dtype = next(net.parameters()).dtype  # not float32 after a training in true half precision
        ready = (self.task.prepare(batch, net.space) for batch in batches)
        self._batches = [Batch(x.to(device, dtype), y.to(device)) for x, y in ready]
        self._statistics_images = [x.to(device, dtype) for x in statistics_images]
        self.num_images = sum(len(batch.images) for batch in self._batches)
        if not self.num_images:
            raise DataError("there is no image to score architectures on")

    def on(self, batches: Iterable[Any]) -> Scorer:
        """The same network and statistics on another split, for networks as they are taken out."""
        return self._on(batches, extracted=True)

    @property
    def batches(self) -> list[Batch]:
        """The images and targets that scores rest on, on the device."""
        return list(self._batches)

    @property
    def statistics_images(self) -> list[Tensor]:
        """Batches of training images, without labels, on the device."""
        return list(self._statistics_images)

    def restricted_to(self, batches: Sequence[Batch]) -> Scorer:
        """The same scorer on some of its images."""
        return self._on(batches, extracted=self._extracted)

    def _on(self, batches: Iterable[Any], *, extracted: bool) -> Scorer:
        return Scorer(
            self.net,
            batches,
            self._statistics_images,
            device=self.device,
            task=self.task,
            autocast=self._autocast,
            extracted=extracted,
            calibration=self.calibration,
        )

    def is_whole(self, score: Score) -> bool:
        """Whether a score rests on all images: its candidate was not dropped early."""
        return score.total == self.num_images

    def statistics(self, architecture: Architecture) -> NormStatistics:
        """BatchNorm statistics of an architecture over the training images."""
        with self._autocast():
            return self.net.estimate_statistics(architecture, self._statistics_images)

    def extract(
        self, architecture: Architecture, statistics: NormStatistics | None = None
    ) -> VisionTransformer:
        """The network that a score is for, with statistics of its own, repaired where all are."""
        if statistics is None:
            statistics = self.statistics(architecture)
        return self.net.extract(architecture, statistics=statistics, calibration=self.calibration)

    def score(self, architecture: Architecture, statistics: NormStatistics | None = None) -> Score:
        """Answer the whole split, with statistics of the architecture's own."""
        return self.task.score(self.tally(architecture, statistics))

    def scores(self, architectures: Sequence[Architecture]) -> list[Score]:
        """The same for several, side by side where threads are idle."""
        return self.side_by_side(self.score, architectures)

    def side_by_side(
        self, work: Callable[[ItemT], ResultT], items: Sequence[ItemT]
    ) -> list[ResultT]:
        """Work with this scorer on spare threads.

        Not in true half precision, whose context changes what the whole process computes in.
        """
        if next(self.net.parameters()).dtype not in (torch.float32, torch.float64):
            return [work(item) for item in items]
        return side_by_side(work, items)

    @torch.inference_mode()
    def tally(self, architecture: Architecture, statistics: NormStatistics | None = None) -> Tally:
        """The answers of an architecture, counted: what scores on parts of a split add up from."""
        if statistics is None:
            statistics = self.statistics(architecture)
        self.net.eval()
        return self._count(self._runner(architecture, statistics))

    @torch.inference_mode()
    def score_network(self, network: VisionTransformer) -> Score:
        """Answer the whole split with a network of its own weights.

        Its BatchNorm statistics are replaced by those of the same training images. The network is
        moved to the scorer's device.
        """
        network = network.to(self.device)
        with self._autocast():
            network.reestimate_statistics(self._statistics_images)
        return self.task.score(self._count(network))

    def _count(self, network: Callable[[Tensor], Tensor]) -> Tally:
        tally = count_answers(
            self.task, network, self._batches, convert=lambda x: x, autocast=self._autocast
        )
        assert tally is not None  # there are images
        return tally

    def _runner(
        self, architecture: Architecture, statistics: NormStatistics
    ) -> Callable[[Tensor], Tensor]:
        if self._extracted or self.calibration is not None:
            return self.extract(architecture, statistics)
        return lambda images: self.net(images, architecture, statistics=[statistics])
