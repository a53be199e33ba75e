"""A linear classifier on a frozen network's features: multinomial logistic regression."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.errors import DataError

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
"""Half of this times the squared weights is added to the mean cross-entropy."""
_HELD_OUT = 5  # every fifth training image chooses the penalty


def fit_head(features: Tensor, labels: Tensor, num_classes: int) -> nn.Linear:
    """The classifier with the penalty that is best on held-out images, fitted again on all.

    Args:
        features: (n, C) in random order.
        labels: (n,).
        num_classes: Outputs.

    Raises:
        DataError: There are too few images to hold some out.
    """
    if len(labels) < 2 * _HELD_OUT:
        raise DataError(f"{len(labels)} training images are too few for a classifier")
    mean, std = features.double().mean(0), features.double().std(0).clamp_min(1e-6)
    x = (features.double() - mean) / std
    held = torch.arange(len(labels)) % _HELD_OUT == 0
    losses = {}
    weight = torch.zeros(num_classes, x.shape[1] + 1, dtype=torch.float64)
    for penalty in PENALTIES:  # from the strongest: each begins where the last one ended
        weight = minimise(x[~held], labels[~held], weight, penalty)
        losses[penalty] = float(F.cross_entropy(logits(x[held], weight), labels[held]))
    best = min(losses, key=lambda penalty: losses[penalty])
    weight = minimise(x, labels, torch.zeros_like(weight), best)
    scaled = weight[:, :-1] / std
    head = nn.Linear(x.shape[1], num_classes)
    with torch.no_grad():
        head.weight.copy_(scaled)
        head.bias.copy_(weight[:, -1] - scaled @ mean)
    return head


def minimise(x: Tensor, labels: Tensor, start: Tensor, penalty: float) -> Tensor:
    """Weights (K, C + 1), the bias last, of least penalised cross-entropy."""
    weight = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=300, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits(x, weight), labels)
        loss = loss + penalty / 2 * weight[:, :-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach()


def logits(x: Tensor, weight: Tensor) -> Tensor:
    """(n, K)."""
    return x @ weight[:, :-1].T + weight[:, -1]
