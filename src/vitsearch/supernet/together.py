"""Several sub-networks on images of their own, layer by layer: what they share is done once.

A layer's weights are cut for all sub-networks by one operation, so that its backward pass returns
one gradient for a weight, as soon as the layer is done. Sub-networks one after another that have
the same sizes in a layer run through it as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitsearch.elastic import Context, ElasticModule, take_together
from vitsearch.spaces.plan import Plan
from vitsearch.supernet.network import ElasticTransformer, HeadOutputs


class Run(NamedTuple):
    """One sub-network and its tensor.

    Attributes:
        x: Images (B, C, H, W) first, tokens (B, N, C) further on.
        plan: Its sizes.
        context: What else its layers are told.
    """

    x: Tensor
    plan: Plan
    context: Context


def run_features(network: ElasticTransformer, runs: Sequence[Run]) -> list[Run]:
    """Images to normalised tokens (B, N, C), for each sub-network."""
    sizes_of = [dict(network.layers(run.plan)) for run in runs]
    tensors = [run.x for run in runs]
    for layer in network.all_layers():
        users = [index for index, sizes in enumerate(sizes_of) if layer in sizes]
        sizes = [sizes_of[index][layer] for index in users]
        contexts = _taken(layer, sizes, [runs[index].context for index in users])
        for index, own, context in zip(users, sizes, contexts, strict=True):
            tensors[index] = network.run_layer(layer, tensors[index], own, context)
    return [run._replace(x=x) for run, x in zip(runs, tensors, strict=True)]


def run_heads(network: ElasticTransformer, runs: Sequence[Run]) -> list[HeadOutputs]:
    """Images to what each classifier says, for each sub-network."""
    done = _with_heads(network, run_features(network, runs))
    return [network.heads_of(run.x, run.plan, run.context) for run in done]


def run(network: ElasticTransformer, runs: Sequence[Run]) -> list[Tensor]:
    """Images to logits (B, num_classes), for each sub-network."""
    done = _with_heads(network, run_features(network, runs))
    return [network.run_classifier(run.x, run.plan.head, run.context) for run in done]


def _with_heads(network: ElasticTransformer, runs: list[Run]) -> list[Run]:
    contexts = [run.context for run in runs]
    for head in network.classifiers():
        contexts = _taken(head, [network.classifier_sizes(run.plan.head) for run in runs], contexts)
    return [run._replace(context=context) for run, context in zip(runs, contexts, strict=True)]


def _taken(
    layer: ElasticModule[Any], sizes: Sequence[Any], contexts: Sequence[Context]
) -> list[Context]:
    """Contexts with the weights that the calls of a layer use, if they are to be learned."""
    if len(sizes) < 2 or not torch.is_grad_enabled():
        return list(contexts)
    calls = [(own, context.alignment) for own, context in zip(sizes, contexts, strict=True)]
    taken = take_together(layer, calls)
    return [replace(context, taken={**(context.taken or {}), **taken}) for context in contexts]
