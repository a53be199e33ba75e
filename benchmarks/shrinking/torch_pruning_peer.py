"""Torch-Pruning (Fang et al., 2023) on a vision transformer of timm, as its examples use it.

Group-Taylor importance from labels, ranked over the whole network within equal kinds of layers
("isomorphic", Fang et al., 2024), whole heads, multiples of 8. Its usual mode cuts the embedding,
too; `bottleneck` leaves it whole.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.shrinking.trial import BATCH, Candidate, Trial, macs_of

MODULES, NAME = ("torch_pruning",), "Torch-Pruning"
USUAL = "Torch-Pruning, Taylor, isomorphic"
BOTTLENECK = "Torch-Pruning, Taylor, isomorphic, embedding whole"
_ROUND_TO = 8
# Layers that would lose all their heads are left as they are, so above this MACs would rise again.
_MOST_HEADS = 0.7
# For the same reason the first of these ratios that meets a budget is looked for, then one between
# it and the ratio before.
_RATIOS = tuple(step / 20 for step in range(20))
_HALVINGS = 5
OUT_OF_REACH = "out of reach: layers that would lose everything stay whole"


def torch_pruning(trial: Trial, budgets: tuple[float, ...]) -> Iterator[Candidate]:
    """Both modes, each budget with about the smallest pruning ratio that meets it."""
    with trial.step("Torch-Pruning: gradients"):
        gradients = label_gradients(trial.network, *trial.pictures.calibration)
    for method, bottleneck in ((USUAL, False), (BOTTLENECK, True)):
        known: dict[float, float] = {0.0: trial.macs}
        for budget in budgets:
            limit = budget * trial.macs
            ratio = find_ratio(trial, gradients, limit, known, bottleneck=bottleneck)
            if ratio is None:
                yield Candidate(
                    method=method, budget=budget, network=None, seconds=0.0, note=OUT_OF_REACH
                )
                continue
            began = time.perf_counter()
            made = prune(trial.network, gradients, trial.image, ratio, bottleneck=bottleneck)
            seconds = time.perf_counter() - began
            yield Candidate(method=method, budget=budget, network=made, seconds=seconds)


def label_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Of the cross-entropy, summed over batches, for each parameter."""
    copied = copy.deepcopy(network)
    for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        F.cross_entropy(copied(x), y).backward()
    return {name: p.grad for name, p in copied.named_parameters() if p.grad is not None}


def find_ratio(
    trial: Trial,
    gradients: dict[str, Tensor],
    limit: float,
    known: dict[float, float],
    *,
    bottleneck: bool,
) -> float | None:
    """A small pruning ratio with at most so many MACs; `None` if there is none.

    Args:
        trial: What to prune.
        gradients: Of its labels.
        limit: MACs.
        known: MACs of ratios that were tried; this adds to them.
        bottleneck: Whether the embedding stays whole.
    """

    def macs(ratio: float) -> float:
        if ratio not in known:
            made = prune(trial.network, gradients, trial.image, ratio, bottleneck=bottleneck)
            known[ratio] = macs_of(made, trial.image)
        return known[ratio]

    found = next((pair for pair in pairwise(_RATIOS) if macs(pair[1]) <= limit), None)
    if found is None:
        return None
    low, high = found
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if macs(middle) <= limit else (middle, high)
    return high


def prune(
    network: nn.Module,
    gradients: dict[str, Tensor],
    image: Tensor,
    ratio: float,
    *,
    bottleneck: bool,
) -> nn.Module:
    """A pruned copy that runs.

    Args:
        network: Of timm, in eval mode.
        gradients: By names of its parameters.
        image: (1, 3, H, W) to trace it with.
        ratio: Of channels that go, and of heads up to a share of them.
        bottleneck: Whether the embedding stays whole.
    """
    import torch_pruning as tp

    copied = copy.deepcopy(network)
    for name, parameter in copied.named_parameters():
        parameter.grad = gradients[name].clone() if name in gradients else None
    blocks = list(copied.blocks)  # type: ignore[union-attr, arg-type]
    ignored = [copied.head]
    if bottleneck:
        ignored += [layer for b in blocks for layer in (b.attn.proj, b.mlp.fc2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which parameters lie outside of layers
        pruner = tp.pruner.BasePruner(
            copied,
            image,
            importance=tp.importance.GroupTaylorImportance(),
            pruning_ratio=ratio,
            head_pruning_ratio=min(ratio, _MOST_HEADS),
            num_heads={b.attn.qkv: b.attn.num_heads for b in blocks},
            prune_num_heads=True,
            prune_head_dims=False,
            global_pruning=True,
            isomorphic=True,
            ignored_layers=ignored,
            round_to=_ROUND_TO,
            in_channel_groups={},  # its defaults are shared by all pruners
            out_channel_groups={},
        )
        pruner.step()
    copied.zero_grad()
    set_sizes(copied)
    return copied.eval()


@torch.no_grad()
def set_sizes(network: nn.Module) -> None:
    """Tell timm's modules the sizes that their weights now have: pruning leaves the old ones."""
    for block in network.blocks:  # type: ignore[union-attr]
        attention = block.attn  # heads are cut whole, so their dimension is as before
        attention.attn_dim = attention.qkv.out_features // 3
        attention.num_heads = attention.attn_dim // attention.head_dim
    width = network.norm.normalized_shape[0]  # type: ignore[union-attr, index]
    network.embed_dim = network.num_features = network.head_hidden_size = width
