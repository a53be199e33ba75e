"""Classifiers fitted to the features of a frozen network: logistic regression."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from vitsearch.elastic import ElasticLinear
from vitsearch.supernet import SuperTransformer

DECAY = 1e-3  # half of its product with the sum of squared weights is added to the loss
_STEPS = 200


def fit_heads(net: SuperTransformer, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Fit the classifiers of a supernet to features of its largest network.

    Args:
        net: Whose classifiers are replaced; nothing else of it changes.
        batches: Images (B, C, H, W) and labels (B,), on the network's device.
    """
    network = net.extract(net.largest)
    pooled, distilled, labels = [], [], []
    with torch.no_grad():
        for images, targets in batches:
            tokens = network.forward_features(images)
            pooled.append(network.forward_head(tokens, pre_logits=True))
            distilled.append(tokens[:, 1] if net.head_dist is not None else tokens[:, :0])
            labels.append(targets)
    for head, features in ((net.head, pooled), (net.head_dist, distilled)):
        if isinstance(head, ElasticLinear):
            weight, bias = logistic_regression(
                torch.cat(features), torch.cat(labels), net.num_classes
            )
            with torch.no_grad():
                head.weight.copy_(weight)
                if head.bias is not None:
                    head.bias.copy_(bias)


def logistic_regression(
    features: Tensor, labels: Tensor, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Weight (classes, C) and bias (classes,) of the classifier of features with the least loss.

    The loss is convex, so there is one best classifier; L-BFGS draws nothing at random. Features
    are centred and brought to one scale, by which the decay is measured.

    Args:
        features: (N, C).
        labels: (N,) from 0.
        num_classes: How many.
    """
    exact = torch.float32 if features.device.type == "mps" else torch.float64
    own = features.to(exact)
    mean = own.mean(0)
    scale = (own - mean).square().mean().sqrt().clamp(min=1e-12)
    seen = (own - mean) / scale
    weight = torch.zeros(num_classes, own.shape[1], dtype=exact, device=own.device)
    bias = torch.zeros(num_classes, dtype=exact, device=own.device)
    for parameter in (weight, bias):
        parameter.requires_grad_(True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(seen @ weight.T + bias, labels)
        value = value + DECAY / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    found = (weight / scale).detach()
    return found.to(features), (bias - found @ mean).detach().to(features)
