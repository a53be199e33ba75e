"""The same short training for every network that a method made: all weights, labelled images."""

from __future__ import annotations

import copy
import time

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.shrinking.trial import Candidate, Trial

_BATCH = 50
_LR, _WEIGHT_DECAY = 1e-4, 0.05
_WARM_UP = 0.1  # of all steps


def fine_tuned(made: Candidate, trial: Trial, epochs: int) -> Candidate:
    """A copy of a network, trained on the classifier's training images.

    AdamW with weight decay; the learning rate goes up, then down to about zero, along cosines.
    Images are taken as they are.

    Args:
        made: With a network.
        trial: Its training images and its seed, which shuffles them.
        epochs: Passes over the images.
    """
    assert made.network is not None
    began = time.perf_counter()
    network = trained(made.network, trial, epochs)
    passes = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    return Candidate(
        method=f"{made.method}, then {passes}",
        budget=made.budget,
        network=network,
        seconds=time.perf_counter() - began,
    )


def trained(network: nn.Module, trial: Trial, epochs: int) -> nn.Module:
    """The copy, in eval mode."""
    images, labels = trial.pictures.training
    generator = torch.Generator().manual_seed(trial.seed)
    network = copy.deepcopy(network).requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LR, weight_decay=_WEIGHT_DECAY)
    steps = epochs * -(-len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=_LR, total_steps=steps, pct_start=_WARM_UP, cycle_momentum=False
    )
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=generator).split(_BATCH):
            optimizer.zero_grad()
            F.cross_entropy(network(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()
