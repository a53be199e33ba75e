"""What a finished network says of every image of a split: the ground of all figures about it.

An image leaves five numbers, not its logits, so those of many processes fit into one: the first
process has them in the order of the split, and every figure is computed once, from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from lightning_fabric.plugins import Precision
from torch import Tensor, nn

from vitsearch.errors import CheckpointError, DataError
from vitsearch.lightning.distributed import gathered
from vitsearch.lightning.scoring.answers import answers
from vitsearch.lightning.tasks import Batch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a network says of N images; every tensor is (N,), on the CPU.

    Attributes:
        positions: Where each image stands in its split, ascending.
        labels: The true class.
        predicted: The class with the largest logit; of equals the first.
        ranks: How many classes come before the true one; 0 where it is the predicted one.
        confidences: Probability of the predicted class, float64.
        losses: Cross-entropy in nats, float64.
    """

    positions: Tensor
    labels: Tensor
    predicted: Tensor
    ranks: Tensor
    confidences: Tensor
    losses: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def num_correct(self, top: int = 1) -> int:
        """Images whose true class is among the `top` first ones."""
        return int((self.ranks < top).sum())


@torch.inference_mode()
def predict(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: Precision | None = None,
    positions: Callable[[], Sequence[int]] | None = None,
) -> Predictions:
    """Run a network, as it is, over this process's images.

    Args:
        network: In eval mode, on the device, in the number format of `precision`.
        batches: Images (B, C, H, W) and labels (B,).
        device: Where to compute.
        precision: Lightning's, for half precision; plain float32 by default.
        positions: Asked, when all images are read, where they stand in their split; by default
            in a row from 0.

    Raises:
        DataError: There is another number of images than of positions.
    """
    precision = Precision() if precision is None else precision
    rows: list[tuple[Tensor, ...]] = []
    for logits, labels in answers(
        network,
        batches,
        convert=lambda images: precision.convert_input(images.to(device)),
        autocast=precision.forward_context,
    ):
        rows.append((labels.cpu(), *_judge(logits.float().cpu().double(), labels.cpu())))
    if not rows:
        whole = torch.zeros(0, dtype=torch.int64)
        rows = [(whole, whole, whole, whole.double(), whole.double())]
    labels, predicted, ranks, confidences, losses = (
        torch.cat(column) for column in zip(*rows, strict=True)
    )
    places = range(len(labels)) if positions is None else positions()
    if len(places) != len(labels):
        raise DataError(f"the split has {len(places)} images, its loader gave {len(labels)}")
    return Predictions(
        positions=torch.tensor(places, dtype=torch.int64),
        labels=labels,
        predicted=predicted,
        ranks=ranks,
        confidences=confidences,
        losses=losses,
    )


def _judge(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Predicted class, rank of the true one, confidence, loss of each image (B,)."""
    own = logits.gather(1, labels[:, None])
    before = torch.arange(logits.shape[1]) < labels[:, None]  # of equals the first, as argmax does
    ranks = ((logits > own) | ((logits == own) & before)).sum(dim=1)
    confidences = logits.softmax(dim=1).amax(dim=1)
    losses = F.cross_entropy(logits, labels, reduction="none")
    return logits.argmax(dim=1), ranks, confidences, losses


def gather_predictions(own: Predictions) -> Predictions:
    """Those of all processes, in the order of the split; all processes must ask.

    Raises:
        CheckpointError: The logits of an image are not finite.
        DataError: There is no image.
    """
    shards = gathered({field.name: getattr(own, field.name) for field in fields(own)})
    columns = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
    bad = int((~torch.isfinite(columns["losses"])).sum())
    if bad:
        raise CheckpointError(
            f"the network's logits are not finite on {bad} of {len(columns['losses'])} images: its "
            f"weights are damaged, or trainer.precision is too low for them"
        )
    if not len(columns["labels"]):
        raise DataError("there is no image to evaluate the network on")
    order = columns["positions"].argsort()
    return Predictions(**{name: column[order] for name, column in columns.items()})


def joined(parts: Sequence[tuple[Predictions, int]]) -> Predictions:
    """Those of several splits, one after the other; each comes with its number of images."""
    columns: dict[str, list[Tensor]] = {field.name: [] for field in fields(Predictions)}
    before = 0
    for part, size in parts:
        for name, column in columns.items():
            column.append(getattr(part, name) + (before if name == "positions" else 0))
        before += size
    return Predictions(**{name: torch.cat(column) for name, column in columns.items()})
