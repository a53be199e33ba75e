"""Several sub-networks on images of their own, layer by layer: what they share is done once.

Each sub-network is computed at its own sizes. A layer's weights are cut for all sub-networks by one
operation, so that its backward pass returns one gradient for a weight, as soon as the layer is
done. Sub-networks with equal sizes in a layer run as one batch, except up to the last BatchNorm in
training mode: merging them there would change its running statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitsearch.elastic import Context, ElasticModule, take_together
from vitsearch.elastic.layers.tokens.flow import spread
from vitsearch.spaces.plan import IMAGE, Node, Plan
from vitsearch.supernet.execution.batches import divided, joined, length, shape_of_one
from vitsearch.supernet.execution.block_tokens import (
    block_names,
    deciding_blocks,
    decisions,
    normalised,
)
from vitsearch.supernet.heads import Features, HeadOutputs
from vitsearch.supernet.network import ElasticTransformer, has_batch_norm

Call = Callable[[ElasticModule[Any], Sequence[Tensor], Any, Context], Tensor]


class Run(NamedTuple):
    """One sub-network and its images.

    Attributes:
        images: (B, C, H, W).
        plan: Its sizes.
        context: What its layers get besides sizes.
    """

    images: Tensor
    plan: Plan
    context: Context


class _Progress:
    """How far one sub-network has been computed: the outputs that are still to be read.

    Attributes:
        noted: Outputs that were asked for, by the name of their node.
    """

    def __init__(self, run: Run, wanted: Sequence[str]) -> None:
        self.context = run.context
        self.noted: dict[str, Tensor] = {}
        self._wanted = frozenset(wanted)
        self.nodes: dict[str, Node] = {node.name: node for node in run.plan.nodes}
        self.outputs = {IMAGE: run.images}
        self._forgotten = dict(zip(self.nodes, run.plan.last_reads, strict=True))

    def take(self, name: str) -> list[Tensor]:
        """What a node reads; what nothing reads after it is forgotten."""
        inputs = [self.outputs[read] for read in self.nodes[name].reads]
        for read in self._forgotten[name]:
            del self.outputs[read]
        return inputs

    def give(self, name: str, x: Tensor) -> None:
        """The output of a node."""
        self.outputs[name] = x
        if name in self._wanted:
            self.noted[name] = x


def run(
    network: ElasticTransformer,
    runs: Sequence[Run],
    *,
    patches: bool = False,
    layers: Sequence[int] = (),
) -> list[HeadOutputs]:
    """Images to what the head says, for each sub-network.

    Args:
        network: Whose sub-networks.
        runs: Which, and their images.
        patches: Whether to ask the patch head, too.
        layers: Blocks whose normalised tokens are wanted, as indices into the sub-network's own
            blocks; negative ones count from its last.
    """
    wanted = [block_names(run.plan, layers) for run in runs]
    deciding = [deciding_blocks(run.plan) if network.training else () for run in runs]
    both = [(*names, *own) for names, own in zip(wanted, deciding, strict=True)]
    progress = _run_nodes(network, runs, both)
    features = [_head_reads(own, run) for own, run in zip(progress, runs, strict=True)]
    tokens = [
        tuple(normalised(network, own.noted[name], run.plan, run.context) for name in names)
        for own, run, names in zip(progress, runs, wanted, strict=True)
    ]
    kept = [
        tuple(decisions(own.noted[name], run.plan) for name in names)
        for own, run, names in zip(progress, runs, deciding, strict=True)
    ]
    contexts = [run.context for run in runs]
    for calls in zip(*(network.pooling(run.plan.head) for run in runs), strict=True):
        contexts = _taken(calls[0][1], [sizes for _, _, sizes in calls], contexts)
    for _, head in network.heads():
        contexts = _taken(head, [network.head_sizes(run.plan.head) for run in runs], contexts)
    return [
        network.run_head(own, run.plan, context, patches=patches)._replace(tokens=seen, kept=left)
        for own, seen, left, run, context in zip(
            features, tokens, kept, runs, contexts, strict=True
        )
    ]


def run_features(network: ElasticTransformer, runs: Sequence[Run]) -> list[Features]:
    """Images to what the head reads, for each sub-network."""
    progress = _run_nodes(network, runs, [()] * len(runs))
    return [_head_reads(own, run) for own, run in zip(progress, runs, strict=True)]


def _head_reads(progress: _Progress, run: Run) -> Features:
    return tuple(spread(progress.outputs[name]) for name in run.plan.head_reads)


def _run_nodes(
    network: ElasticTransformer, runs: Sequence[Run], wanted: Sequence[Sequence[str]]
) -> list[_Progress]:
    """Compute all nodes of each sub-network; `wanted` names outputs to keep."""
    progress = [_Progress(run, names) for run, names in zip(runs, wanted, strict=True)]
    layers = network.all_layers()
    last_norm = max(
        (
            number
            for number, layer in enumerate(layers.values())
            if has_batch_norm(layer, in_training=True)
        ),
        default=-1,
    )
    for number, (name, layer) in enumerate(layers.items()):
        users = [own for own in progress if name in own.nodes]
        done = run_shares(
            network.run_layer,
            layer,
            [own.take(name) for own in users],
            [own.nodes[name].plan for own in users],
            [own.context for own in users],
            apart=number <= last_norm,
        )
        for own, x in zip(users, done, strict=True):
            own.give(name, x)
    return progress


def run_shares(
    call: Call,
    layer: ElasticModule[Any],
    shares: Sequence[Sequence[Tensor]],
    sizes: Sequence[Any],
    contexts: Sequence[Context],
    *,
    apart: bool,
) -> list[Tensor]:
    """One layer on several shares of a batch, each at its own sizes; equal sizes as one batch.

    Args:
        call: Calls the layer with its inputs, sizes and context.
        layer: The layer.
        shares: The inputs of each share.
        sizes: Of each share.
        contexts: Of each share.
        apart: Whether shares of equal sizes run one after the other all the same.
    """
    contexts = _taken(layer, sizes, contexts)
    alone = [[index] for index in range(len(shares))]
    found: dict[int, Tensor] = {}
    for group in alone if apart else _equal(sizes, contexts, shares):
        inputs = [joined(parts) for parts in zip(*(shares[index] for index in group), strict=True)]
        x = call(layer, inputs, sizes[group[0]], contexts[group[0]])
        lengths = [length(shares[index][0]) for index in group]
        done = divided(x, lengths) if len(group) > 1 else [x]
        found.update(zip(group, done, strict=True))
    return [found[index] for index in range(len(shares))]


def _equal(
    sizes: Sequence[Any], contexts: Sequence[Context], shares: Sequence[Sequence[Tensor]]
) -> list[list[int]]:
    """Which calls of a layer can be one: their indices."""
    groups: dict[Any, list[int]] = {}
    for index, (own, context, inputs) in enumerate(zip(sizes, contexts, shares, strict=True)):
        shapes = tuple(map(shape_of_one, inputs))
        key = own, context.alignment, id(context.statistics), shapes
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _taken(
    layer: ElasticModule[Any], sizes: Sequence[Any], contexts: Sequence[Context]
) -> list[Context]:
    """Contexts with the weights that the calls of a layer use, if they are to be learned."""
    if len(sizes) < 2 or not torch.is_grad_enabled():
        return list(contexts)
    calls = [(own, context.alignment) for own, context in zip(sizes, contexts, strict=True)]
    taken = take_together(layer, calls)
    return [replace(context, taken={**(context.taken or {}), **taken}) for context in contexts]
