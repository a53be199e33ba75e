"""Exact scores of architectures: how many images of a split a sub-network classifies correctly.

Every process that scores an architecture looks at the whole split, so a score is two integers that
do not depend on how many processes there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor

from vitsearch.elastic import NormStatistics
from vitsearch.errors import DataError
from vitsearch.spaces import Architecture
from vitsearch.supernet import SuperTransformer, VisionTransformer

Batch = tuple[Tensor, Tensor]
Autocast = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Correct answers out of all images of a split."""

    correct: int
    total: int

    @property
    def top1(self) -> float:
        """Top-1 accuracy, in [0, 1]."""
        return self.correct / self.total


class Scorer:
    """Scores architectures of one super-transformer.

    Attributes:
        net: Whose sub-networks.
        num_images: How many images a score rests on.
        device: Where it computes.
    """

    def __init__(
        self,
        net: SuperTransformer,
        batches: Iterable[Batch],
        statistics_images: Sequence[Tensor],
        *,
        device: torch.device,
        autocast: Autocast = nullcontext,
        extracted: bool = False,
    ) -> None:
        """Put network and images on the device.

        Args:
            net: The super-transformer; it is moved to the device.
            batches: Images (B, C, H, W) and labels (B,) of the split; read once, kept.
            statistics_images: Batches of training images for BatchNorm statistics.
            device: Where to compute.
            autocast: Makes the context in which the network runs.
            extracted: Score the networks that would be taken out; of a bilateral supernet they are
                half of what it runs.

        Raises:
            DataError: There is no image.
        """
        self.net = net.to(device)
        self.device = device
        self._autocast = autocast
        self._extracted = extracted
        dtype = next(net.parameters()).dtype  # not float32 after a training in true half precision
        self._batches = [(x.to(device, dtype), y.to(device)) for x, y in batches]
        self._statistics_images = [x.to(device, dtype) for x in statistics_images]
        self.num_images = sum(len(labels) for _, labels in self._batches)
        if not self.num_images:
            raise DataError("there is no image to score architectures on")

    def labels(self) -> list[Tensor]:
        """The labels of the split, batch by batch."""
        return [labels for _, labels in self._batches]

    def on(self, batches: Iterable[Batch]) -> Scorer:
        """The same network and statistics on another split, for networks as they are taken out."""
        return self._on(batches, extracted=True)

    @property
    def batches(self) -> list[Batch]:
        """The images and labels that scores rest on, on the device."""
        return list(self._batches)

    def restricted_to(self, batches: Sequence[Batch]) -> Scorer:
        """The same scorer on some of its images."""
        return self._on(batches, extracted=self._extracted)

    def _on(self, batches: Iterable[Batch], *, extracted: bool) -> Scorer:
        return Scorer(
            self.net,
            batches,
            self._statistics_images,
            device=self.device,
            autocast=self._autocast,
            extracted=extracted,
        )

    def statistics(self, architecture: Architecture) -> NormStatistics:
        """BatchNorm statistics of an architecture over the training images."""
        with self._autocast():
            return self.net.estimate_statistics(architecture, self._statistics_images)

    @torch.inference_mode()
    def score(self, architecture: Architecture, statistics: NormStatistics | None = None) -> Score:
        """Classify the whole split, with statistics of the architecture's own."""
        if statistics is None:
            statistics = self.statistics(architecture)
        self.net.eval()
        return self._count(self._runner(architecture, statistics))

    @torch.inference_mode()
    def score_network(self, network: VisionTransformer) -> Score:
        """Classify the whole split with a network of its own weights.

        Its BatchNorm statistics are replaced by those of the same training images. The network is
        moved to the scorer's device.
        """
        network = network.to(self.device)
        with self._autocast():
            network.reestimate_statistics(self._statistics_images)
        return self._count(network)

    def _count(self, network: Callable[[Tensor], Tensor]) -> Score:
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        for images, labels in self._batches:
            with self._autocast():
                logits = network(images)
            correct += (logits.argmax(dim=1) == labels).sum()
        return Score(correct=int(correct), total=self.num_images)

    def _runner(
        self, architecture: Architecture, statistics: NormStatistics
    ) -> Callable[[Tensor], Tensor]:
        if self._extracted:
            return self.net.extract(architecture, statistics=statistics)
        return lambda images: self.net(images, architecture, statistics=[statistics])


def statistics_batches(trainer: pl.Trainer) -> list[Tensor]:
    """Training images for BatchNorm statistics, on the CPU.

    A data module says which (`statistics_dataloader`: a fixed, unaugmented subset). Without one,
    the first batches of the training loader serve.
    """
    loader_of = getattr(trainer.datamodule, "statistics_dataloader", None)  # type: ignore[attr-defined]
    if loader_of is not None:
        return [images for images, _ in loader_of()]
    batches = []
    seen = 0
    for images, _ in trainer.train_dataloader or []:
        batches.append(images)
        seen += len(images)
        if seen >= 512:
            break
    return batches


def search_batches(trainer: pl.Trainer) -> list[Batch]:
    """The whole search split on every process: the data module's, else the validation loader's.

    Raises:
        DataError: There is neither.
    """
    loader_of = getattr(trainer.datamodule, "search_dataloader", None)  # type: ignore[attr-defined]
    if loader_of is not None:
        return [(images, labels) for images, labels in loader_of(shard=False)]
    loaders = trainer.val_dataloaders
    if loaders is None:
        raise DataError(
            "searching needs images held out of training: use a data module with a search split, "
            "or give the trainer a validation loader"
        )
    return [(images, labels) for images, labels in loaders]


def test_batches(trainer: pl.Trainer) -> list[Batch] | None:
    """The whole test split of the data module, if it has one."""
    loader_of = getattr(trainer.datamodule, "test_dataloader", None)  # type: ignore[attr-defined]
    if loader_of is None or not hasattr(trainer.datamodule, "search_dataloader"):  # type: ignore[attr-defined]
        return None
    return [(images, labels) for images, labels in loader_of(shard=False)]
