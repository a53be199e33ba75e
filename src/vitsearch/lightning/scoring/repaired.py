"""Scores of networks that are made smaller: of repaired sub-networks, and of networks at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from vitsearch.elastic import NormStatistics
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.lightning.tasks import Score
from vitsearch.shrinking.fidelity import features_of
from vitsearch.spaces import Architecture
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.repairing import Calibration
from vitsearch.supernet.super_transformer import SuperTransformer

_MOST_BYTES = 2_000_000_000  # of repaired weights that are kept for the next candidates


class RepairedScorer(Scorer):
    """A scorer that always repairs, by accuracy or by features.

    Attributes:
        calibration: What sub-networks are repaired from; on the scorer's device.
        compares_features: Whether networks answer with features instead of logits.
    """

    calibration: Calibration

    def __init__(
        self,
        net: SuperTransformer,
        batches: Iterable[Any],
        calibration: Calibration,
        *,
        compares_features: bool = False,
        **options: Any,
    ) -> None:
        """Put network and images on the device.

        Args:
            net: Calibrated and in order.
            batches: Of the split, as a loader gives them; read once, kept.
            calibration: Of it.
            compares_features: Whether the task is about features.
            **options: `device`, `task` and `autocast`, see `Scorer`.
        """
        super().__init__(net, batches, (), calibration=calibration, **options)
        self.compares_features = compares_features

    def on(self, batches: Iterable[Any]) -> RepairedScorer:
        """The same network and calibration on another split."""
        return self._on(batches, extracted=True)

    def _on(self, batches: Iterable[Any], *, extracted: bool) -> RepairedScorer:
        return RepairedScorer(
            self.net,
            batches,
            self.calibration,
            compares_features=self.compares_features,
            device=self.device,
            task=self.task,
            autocast=self._autocast,
        )

    @torch.inference_mode()
    def score_as_is(self, network: VisionTransformer) -> Score:
        """Answer the whole split with a network of its own weights, as it is."""
        return self.task.score(self._count(self._answering(network)))

    def _runner(
        self, architecture: Architecture, statistics: NormStatistics
    ) -> Callable[[Tensor], Tensor]:
        self._keep_folds_small()
        return self._answering(self.extract(architecture, statistics))

    def _answering(self, network: VisionTransformer) -> Callable[[Tensor], Tensor]:
        return features_of(network) if self.compares_features else network

    def _keep_folds_small(self) -> None:
        """Forget repaired weights where they are many; what they are made from stays."""
        folds = self.calibration.folds
        by_sizes = {key: own for key, own in list(folds.items()) if isinstance(own, dict)}
        kept = sum(t.numel() * t.element_size() for own in by_sizes.values() for t in own.values())
        if kept > _MOST_BYTES:
            for key in by_sizes:
                folds.pop(key, None)
