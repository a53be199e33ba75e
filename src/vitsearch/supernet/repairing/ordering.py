"""Puts the most important units of every layer first; what the network computes stays."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitsearch.elastic import ElasticLinear, ElasticModule, Reordering
from vitsearch.elastic.calibration import (
    backward_order,
    forward_order,
    rotary_order,
    variance_order,
)
from vitsearch.elastic.layers.vit.block import ElasticVitBlock
from vitsearch.elastic.layers.vit.rope_attention import ElasticRopeAttention
from vitsearch.elastic.rewiring import importance as weight_importance
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_one_of
from vitsearch.supernet.network import ElasticTransformer
from vitsearch.supernet.repairing.calibration import Calibration, LayerRecord
from vitsearch.supernet.repairing.modules import check_calibration, ending_layers

IMPORTANCES = ("variance", "taylor", "activation", "l1", "l2", "forward", "backward")
FROM_WEIGHTS = ("l1", "l2")
FROM_GRADIENTS = ("taylor",)


def needs_gradients(importance: str) -> bool:
    """Whether an importance needs a calibration with gradients.

    Raises:
        ConfigError: The importance is unknown.
    """
    return check_one_of("importance", importance, IMPORTANCES) in FROM_GRADIENTS


@torch.no_grad()
def order(
    network: ElasticTransformer, calibration: Calibration | None, importance: str
) -> list[Reordering]:
    """See `SuperTransformer.order`."""
    check_one_of("importance", importance, list(IMPORTANCES))
    if calibration is None and importance not in FROM_WEIGHTS:
        raise ConfigError(
            f"importance={importance} needs a calibration; without one: {', '.join(FROM_WEIGHTS)}"
        )
    if calibration is not None:
        check_calibration(network, calibration)
    tensors = {n: t.data for n, t in network.state_dict(keep_vars=True).items()}
    found = []
    for path, module, last in ending_layers(network):
        (axis,) = (own.below(path) for own in module.tied_axes())
        if calibration is not None and path not in calibration.layers:
            continue  # the largest sub-network does without some of its units
        if importance in FROM_WEIGHTS:
            scores = weight_importance(axis, tensors, power=FROM_WEIGHTS.index(importance) + 1)
            places = scores.argsort(descending=True, stable=True)
        else:
            assert calibration is not None
            record = calibration.record(path)
            places = unit_order(importance, record, last, scale_of(network, path))
        reordering = Reordering(axis, places)
        reordering.apply(tensors)
        if calibration is not None:
            calibration.reorder(path, places)
        found.append(reordering)
        if isinstance(module, ElasticRopeAttention) and module.pair_axis() is not None:
            power = FROM_WEIGHTS.index(importance) + 1 if importance in FROM_WEIGHTS else None
            found.append(_order_pairs(path, module, tensors, calibration, power))
    return found


def _order_pairs(
    path: str,
    attention: ElasticRopeAttention,
    tensors: Mapping[str, Tensor],
    calibration: Calibration | None,
    power: int | None,
) -> Reordering:
    """Put the pairs of channels first in every head that its logits would miss most.

    Args:
        path: Of the attention.
        attention: In which the number of pairs is a choice.
        tensors: Of the network, which are reordered.
        calibration: What was seen; it is reordered, too.
        power: To go by the products of the norms of weights instead, sums of this power.
    """
    axis, pairs = attention.pair_axis(), attention.channels_of_pairs()
    assert axis is not None
    record = None if calibration is None else calibration.record(path)
    first = pairs.numel() * torch.arange(attention.q.out_shape[0], device=pairs.device)
    channels = pairs + first[:, None, None]  # (heads, pairs, 2)
    if power is not None:
        norms = [
            layer.weight.double().abs().pow(power).sum(1)[channels].sum(-1)
            for layer in (attention.q, attention.k)
        ]
        order = (norms[0] * norms[1]).argsort(dim=1, descending=True, stable=True)
    else:
        assert record is not None
        assert record.queries is not None
        assert record.keys is not None
        own = [
            rotary_order(record.queries.select(c), record.keys.select(c))[0]
            for c in channels.flatten(1)
        ]
        order = torch.stack(own)
    reordering = Reordering(axis.below(path), order)
    reordering.apply(tensors)
    if calibration is not None and record is not None and record.queries is not None:
        places = torch.empty_like(channels.flatten())
        places[channels] = channels.take_along_dim(order[:, :, None], 1)
        calibration.reorder_channels(path, places)
    return reordering


def unit_order(
    importance: str, record: LayerRecord, last: ElasticLinear, scale: Tensor | None
) -> Tensor:
    """(units,) the units of a layer, the most important one first.

    Args:
        importance: One of `IMPORTANCES` that looks at activations.
        record: What was seen of the layer.
        last: The layer.
        scale: (C,) what its outputs are multiplied by; `None` for nothing.

    Raises:
        ConfigError: Gradients were not recorded.
    """
    weight = last.weight.detach().double()
    if scale is not None:
        weight = weight * scale.detach().double()[:, None]
    group = record.inputs.dim // last.in_shape[0]
    if importance == "variance":
        return variance_order(weight, record.inputs, group_size=group)
    if importance == "forward":
        return forward_order(weight, record.inputs, group_size=group).units
    if importance == "backward":
        return backward_order(weight, record.inputs, group_size=group).units
    if importance == "activation":
        squares = record.inputs.second_moment.diagonal()
        scores = squares.reshape(-1, group).sum(1)
    else:
        if record.taylor is None:
            raise ConfigError("importance=taylor needs a calibration with gradients=True")
        scores = record.taylor
    return scores.argsort(descending=True, stable=True)


def scale_of(network: ElasticTransformer, path: str) -> Tensor | None:
    """(C,) the LayerScale behind a branch; `None` without one."""
    above, _, leaf = path.rpartition(".")
    block: ElasticModule[object] | object = network.get_submodule(above)
    if isinstance(block, ElasticVitBlock):
        return block.scale_of(leaf)
    return None
