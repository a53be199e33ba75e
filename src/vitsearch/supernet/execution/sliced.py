"""Several sub-networks on images of their own, layer by layer: what they share is done once.

This is the sliced execution: each sub-network is computed at its own sizes. A layer's weights are
cut for all sub-networks by one operation, so that its backward pass returns one gradient for a
weight, as soon as the layer is done. Sub-networks that have the same sizes in a layer run through
it as one batch, but not before a layer that normalises each share by itself: its running statistics
stay, to the bit, what the sub-networks one after the other would leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitsearch.elastic import Context, ElasticBatchNorm, ElasticModule, take_together
from vitsearch.spaces.plan import Plan
from vitsearch.supernet.network import ElasticTransformer, HeadOutputs

Call = Callable[[ElasticModule[Any], Tensor, Any, Context], Tensor]


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
    layers = list(network.all_layers())
    apart = max((n for n, layer in enumerate(layers) if has_own_statistics(layer)), default=-1)
    for number, layer in enumerate(layers):
        users = [index for index, sizes in enumerate(sizes_of) if layer in sizes]
        done = run_shares(
            network.run_layer,
            layer,
            [tensors[index] for index in users],
            [sizes_of[index][layer] for index in users],
            [runs[index].context for index in users],
            apart=number <= apart,
        )
        for index, tensor in zip(users, done, strict=True):
            tensors[index] = tensor
    return [run._replace(x=x) for run, x in zip(runs, tensors, strict=True)]


def run_shares(
    call: Call,
    layer: ElasticModule[Any],
    tensors: Sequence[Tensor],
    sizes: Sequence[Any],
    contexts: Sequence[Context],
    *,
    apart: bool,
) -> list[Tensor]:
    """One layer on several shares of a batch, each at its own sizes; those alike as one batch.

    Args:
        call: Calls the layer with a tensor, sizes and context.
        layer: The layer.
        tensors: What each share is now.
        sizes: Of each share.
        contexts: Of each share.
        apart: Whether shares that are alike run one after the other all the same.
    """
    contexts = _taken(layer, sizes, contexts)
    shapes = [tensor.shape[1:] for tensor in tensors]
    alone = [[place] for place in range(len(tensors))]
    found = list(tensors)
    for group in alone if apart else _alike(sizes, contexts, shapes):
        shares = [tensors[place] for place in group]
        x = torch.cat(shares) if len(shares) > 1 else shares[0]
        x = call(layer, x, sizes[group[0]], contexts[group[0]])
        lengths = [len(share) for share in shares]
        done = x.split_with_sizes(lengths) if len(shares) > 1 else [x]
        for place, tensor in zip(group, done, strict=True):
            found[place] = tensor
    return found


def run_heads(network: ElasticTransformer, runs: Sequence[Run]) -> list[HeadOutputs]:
    """Images to what each classifier says, for each sub-network."""
    done = _with_heads(network, run_features(network, runs))
    return [network.heads_of(run.x, run.plan, run.context) for run in done]


def run(network: ElasticTransformer, runs: Sequence[Run]) -> list[Tensor]:
    """Images to logits (B, num_classes), for each sub-network."""
    done = _with_heads(network, run_features(network, runs))
    return [network.run_classifier(run.x, run.plan.head, run.context) for run in done]


def has_own_statistics(layer: ElasticModule[Any]) -> bool:
    """Whether the layer normalises each share of a batch by itself."""
    norms = (module for module in layer.modules() if isinstance(module, ElasticBatchNorm))
    return any(norm.training for norm in norms)


def _alike(
    sizes: Sequence[Any], contexts: Sequence[Context], shapes: Sequence[torch.Size]
) -> list[list[int]]:
    """Which calls of a layer can be one: their positions."""
    groups: dict[Any, list[int]] = {}
    for place, (own, context, shape) in enumerate(zip(sizes, contexts, shapes, strict=True)):
        key = own, context.alignment, id(context.statistics), shape
        groups.setdefault(key, []).append(place)
    return list(groups.values())


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
