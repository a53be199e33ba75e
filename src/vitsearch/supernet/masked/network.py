"""A whole network in masked execution: shares with as many tokens are one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitsearch.elastic import ElasticBlock, ElasticLayerNorm, ElasticModule
from vitsearch.supernet.masked.basic import linear
from vitsearch.supernet.masked.forms import fit, run_layer
from vitsearch.supernet.masked.shares import Shares
from vitsearch.supernet.network import ElasticTransformer, HeadOutputs, run_twice
from vitsearch.supernet.together import Run, has_own_statistics, run_shares


def run(network: ElasticTransformer, runs: Sequence[Run]) -> list[Tensor]:
    """Images to logits (B, num_classes), for each sub-network."""
    return [said.answer for said in run_heads(network, runs)]


def run_heads(network: ElasticTransformer, runs: Sequence[Run]) -> list[HeadOutputs]:
    """Images to what each classifier says, for each sub-network."""
    found: dict[int, HeadOutputs] = {}
    for group in _run_features(network, runs):
        found |= _heads_of(network, group, [runs[place] for place in group.places])
    return [found[place] for place in range(len(runs))]


@dataclass(slots=True)
class _Group:
    """Shares that have as many tokens all the way.

    Attributes:
        places: Which of all runs.
        shares: What they carry.
        x: (B, N, C) of all of them while padded.
    """

    places: list[int]
    shares: Shares
    x: Tensor

    def split(self, x: Tensor) -> list[Tensor]:
        """Something of all of them, share by share."""
        return list(x.chunk(len(self.places)))


def _run_features(network: ElasticTransformer, runs: Sequence[Run]) -> list[_Group]:
    """Images to normalised tokens.

    Stem and transitions, which change width and number of tokens, run share by share. So does a
    layer with statistics of its own if there are several groups, or its running statistics would
    move in another order.
    """
    sizes_of = [dict(network.layers(run.plan)) for run in runs]
    tensors = [run.x for run in runs]
    groups = _grouped(runs)
    padded = False
    for layer in network.all_layers():
        sizes = [own.get(layer) for own in sizes_of]
        own_statistics = has_own_statistics(layer)
        width = _width(layer)
        if width is None or (own_statistics and len(groups) > 1):
            if padded:
                for group in groups:
                    for place, x in zip(group.places, group.split(group.x), strict=True):
                        tensors[place] = x[..., : tensors[place].shape[-1]]
            padded = False
            users = [place for place, own in enumerate(sizes) if own is not None]
            contexts = [runs[place].context for place in users]
            given, used = [tensors[place] for place in users], [sizes[place] for place in users]
            done = run_shares(network.run_layer, layer, given, used, contexts, apart=own_statistics)
            for place, x in zip(users, done, strict=True):
                tensors[place] = x
            continue
        widths = [tensor.shape[-1] for tensor in tensors]
        for group in groups:
            if not padded:
                group.x = torch.cat([fit(tensors[p], max(width, *widths)) for p in group.places])
            _run_group(
                network,
                layer,
                group,
                [sizes[p] for p in group.places],
                [widths[p] for p in group.places],
            )
        padded = True
    return groups


def _run_group(
    network: ElasticTransformer,
    layer: ElasticModule[Any],
    group: _Group,
    sizes: list[Any | None],
    widths: list[int],
) -> None:
    """A layer on a group's tokens; one that no share uses is passed by."""

    def call(x: Tensor, again: bool) -> Tensor:
        return run_layer(layer, x, sizes, group.shares.again(again), widths)

    if any(own is not None for own in sizes):
        group.x = run_twice(call, group.x) if network.recomputes(layer) else call(group.x, False)


def _heads_of(
    network: ElasticTransformer, group: _Group, runs: Sequence[Run]
) -> dict[int, HeadOutputs]:
    """What the classifiers say of a group's tokens, by place."""
    sizes = [network.classifier_sizes(run.plan.head) for run in runs]
    said = network.heads_of(
        group.x,
        runs[0].plan,
        classify=lambda head, features: linear(head, features, sizes, group.shares),
    )
    parts = [
        [None] * len(runs) if one is None else group.split(one)
        for one in (said.logits, said.distillation, said.patches)
    ]
    found = {}
    for place, run, logits, distillation, patches in zip(group.places, runs, *parts, strict=True):
        assert logits is not None
        if not network.num_classes:  # features, as wide as the sub-network
            logits = logits[..., : run.plan.head.embed_dim]
        found[place] = HeadOutputs(logits, distillation, patches, said.grid)
    return found


def _grouped(runs: Sequence[Run]) -> list[_Group]:
    places: dict[Any, list[int]] = {}
    for place, run in enumerate(runs):
        places.setdefault(tuple(stage.grid for stage in run.plan.stages), []).append(place)
    return [
        _Group(same, Shares(tuple(runs[place].context for place in same)), runs[same[0]].x)
        for same in places.values()
    ]


def _width(layer: ElasticModule[Any]) -> int | None:
    """The largest width of a layer that can run on all shares at once."""
    norm = layer.norm1 if type(layer) is ElasticBlock else layer
    return norm.weight.numel() if type(norm) is ElasticLayerNorm else None
