"""How many images of a split one network classifies correctly, counted over all processes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from vitsearch.errors import DataError
from vitsearch.lightning.distributed import sum_over_processes
from vitsearch.lightning.scoring.scorer import Autocast, Batch
from vitsearch.supernet import VisionTransformer

TOP_K = (1, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkScore:
    """Correct answers out of all images of a split.

    Attributes:
        correct: By k: how often the label is among the k best classes; only k below the number of
            classes.
        total: How many images.
    """

    correct: dict[int, int]
    total: int

    def top(self, k: int) -> float:
        """Top-k accuracy, in [0, 1]."""
        return self.correct[k] / self.total

    def record(self) -> dict[str, Any]:
        """As plain data."""
        rates = {f"top{k}": self.top(k) for k in self.correct}
        counts = {f"correct_top{k}": count for k, count in self.correct.items()}
        return {**rates, **counts, "total": self.total}


@torch.inference_mode()
def score_network(
    network: VisionTransformer,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    autocast: Autocast = nullcontext,
) -> NetworkScore:
    """Classify a split; every process its own part of it, and all get the sum.

    Args:
        network: Put into eval mode, on the device.
        batches: Images (B, C, H, W) and labels (B,) of this process.
        device: Where to compute.
        autocast: Makes the context in which the network runs.

    Raises:
        DataError: There is no image.
    """
    network.to(device).eval()
    dtype = next(network.parameters()).dtype  # half or double, where a trainer has it so
    ks = [k for k in TOP_K if k < network.num_classes]
    counts = torch.zeros(len(ks) + 1, dtype=torch.int64, device=device)
    for images, labels in batches:
        images, labels = images.to(device, dtype), labels.to(device)
        with autocast():
            logits = network(images)
        hits = logits.topk(ks[-1], dim=1).indices == labels[:, None]
        for row, k in enumerate(ks):
            counts[row] += hits[:, :k].sum()
        counts[-1] += len(labels)
    *correct, total = sum_over_processes(counts).tolist()
    if not total:
        raise DataError("there is no image to score the network on")
    return NetworkScore(correct=dict(zip(ks, correct, strict=True)), total=total)
