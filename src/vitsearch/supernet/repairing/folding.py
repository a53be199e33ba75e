"""The plain repair: what is removed is folded into what stays, from the moments of one calibration.

Every layer is repaired by itself, as if what it sees were unchanged, so all sub-networks of a space
are repaired from the same look at the images. Of an attention, the queries and keys of a head go to
the fewer dimensions that keep its logits best, its values to those that keep its outputs best
(CORP, 2026, fits logits likewise).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vitsearch.elastic import ElasticLinear, LinearSizes
from vitsearch.elastic.calibration import (
    LogitMaps,
    PairFactors,
    PrefixRepair,
    fold,
    logit_maps,
    value_basis,
)
from vitsearch.elastic.layers.vit.attention import ElasticVitAttention
from vitsearch.elastic.layers.vit.block import ElasticVitBlock
from vitsearch.elastic.layers.vit.rope_attention import ElasticRopeAttention
from vitsearch.elastic.layers.vit.stem import TOKENS, ElasticVitStem
from vitsearch.errors import ConfigError
from vitsearch.spaces.plan import Plan
from vitsearch.supernet.repairing.calibration import Calibration
from vitsearch.supernet.repairing.modules import (
    ActiveModule,
    active_modules,
    check_calibration,
    columns_of,
    ending_layer,
    ending_layers,
    name_in,
    rows_of,
)
from vitsearch.supernet.repairing.ordering import scale_of

if TYPE_CHECKING:
    from vitsearch.supernet.super_transformer import SuperTransformer

RIDGE = 0.01
"""Of the mean variance of a layer's inputs."""

Tensors = dict[str, Tensor]


@torch.no_grad()
def folded_state(
    network: SuperTransformer, plan: Plan, calibration: Calibration, *, ridge: float = RIDGE
) -> Tensors:
    """The weights of a sub-network, repaired, named as in the network extracted for it.

    Args:
        network: The super-transformer, with weights and order as they were calibrated.
        plan: The sub-network's sizes.
        calibration: Of the network.
        ridge: Of the mean variance of a layer's inputs.

    Raises:
        ConfigError: The network shares weights in another way than by prefixes, or the calibration
            is of another network.
    """
    if network.sharing != "prefix":
        raise ConfigError(
            f"calibration: networks with sharing={network.sharing} cannot be repaired; only prefix"
        )
    check_calibration(network, calibration)
    state = network.active_state(plan)
    for active in active_modules(network, plan):
        if ending_layer(active.module) is None or active.path not in calibration.layers:
            continue  # nothing to fold, or the largest sub-network does without some units
        key = (active.path, active.sizes, ridge)
        found = calibration.folds.get(key)
        if found is None:
            found = calibration.folds[key] = folded_module(network, active, calibration, ridge)
        state |= {f"{active.extracted}.{name}": tensor for name, tensor in found.items()}
    _fold_absent(network, plan, calibration, state)
    return state


def folded_module(
    network: SuperTransformer,
    active: ActiveModule,
    calibration: Calibration,
    ridge: float = RIDGE,
) -> Tensors:
    """The tensors of a module that a repair changes, by their names in it."""
    module = active.module
    last = ending_layer(module)
    assert last is not None
    name = name_in(module, last)
    sizes: LinearSizes = module.children_sizes(active.sizes)[name]
    record = calibration.record(active.path)
    changed: Tensors = {}
    basis = None
    if isinstance(module, ElasticVitAttention):
        if isinstance(module, ElasticRopeAttention):
            changed |= _fewer_pairs(module, active, calibration, ridge)
        else:
            changed |= _fewer_queries(module, active, calibration)
        scale = scale_of(network, active.path)
        bases = value_bases(module, active.sizes, active.path, calibration, scale)
        if bases is not None:
            changed |= _projected(module.v, "v", bases, active.sizes)
            basis = joined_basis(bases, record.inputs.dim)
    if basis is None and sizes.in_shape == last.in_shape:
        return changed
    prefix = prefix_repair(active.path, last, calibration, ridge) if basis is None else None
    if prefix is not None and sizes.in_shape[1:] == last.in_shape[1:]:
        weight, bias = prefix.fold(prod(sizes.in_shape))
    else:
        weight, bias = fold(
            last.weight,
            last.bias,
            record.inputs,
            kept=columns_of(last, sizes) if basis is None else None,
            basis=basis,
            ridge=ridge,
        )
    rows = rows_of(last, sizes)
    changed[f"{name}.weight"] = weight[rows].to(last.weight)
    if bias is not None:
        changed[f"{name}.bias"] = bias[rows].to(last.weight)
    return changed


def prefix_repair(
    path: str, last: ElasticLinear, calibration: Calibration, ridge: float
) -> PrefixRepair | None:
    """A layer factorised once for all numbers of its first units; `None` without a ridge.

    Args:
        path: Of the module that the layer ends.
        last: The layer.
        calibration: Where the factors are kept, in the precision of the weights.
        ridge: Of the mean variance of its inputs.
    """
    if not ridge:
        return None
    key = ("prefix", path, ridge)
    found: PrefixRepair | None = calibration.folds.get(key)
    if found is None:
        inputs = calibration.record(path).inputs
        order = torch.arange(last.in_features, device=last.weight.device)
        dtype = torch.promote_types(last.weight.dtype, torch.float32)
        found = PrefixRepair.of(last.weight, last.bias, inputs, order, ridge=ridge, dtype=dtype)
        calibration.folds[key] = found
    return found


def _fewer_queries(
    module: ElasticVitAttention[Any], active: ActiveModule, calibration: Calibration
) -> Tensors:
    """Queries and keys of fewer dimensions, those that keep the logits best."""
    full, sizes = module.q.out_shape[1], active.sizes
    record = calibration.record(active.path)
    if sizes.qk_dim == full or record.queries is None or record.keys is None:
        return {}
    maps = []
    for head in range(sizes.num_heads):
        key = ("logits", active.path, head)
        found: LogitMaps | None = calibration.folds.get(key)
        if found is None:
            own = _channels(head, full, module.q.weight)
            found = logit_maps(record.queries.select(own), record.keys.select(own))
            calibration.folds[key] = found
        maps.append(found)
    rank = sizes.qk_dim
    return {
        **_projected(module.q, "q", [own.queries[:, :rank] for own in maps], sizes),
        **_projected(module.k, "k", [own.keys[:, :rank] for own in maps], sizes),
    }


def _fewer_pairs(
    module: ElasticRopeAttention, active: ActiveModule, calibration: Calibration, ridge: float
) -> Tensors:
    """Queries of fewer pairs of channels, with the factors that keep the logits best."""
    sizes, record = active.sizes, calibration.record(active.path)
    pairs = module.channels_of_pairs()
    count = sizes.num_pairs
    if count == len(pairs) or record.queries is None or record.keys is None:
        return {}
    made: dict[str, list[Tensor]] = {}
    for head in range(sizes.num_heads):
        key = ("pairs", active.path, head)
        found: PairFactors | None = calibration.folds.get(key)
        channels = pairs + head * pairs.numel()
        if found is None:
            own = channels.flatten()
            found = PairFactors.of(record.queries.select(own), record.keys.select(own))
            calibration.folds[key] = found
        factors = found.first(count, ridge=ridge)
        for name, tensor in module.q.named_parameters():
            rows = tensor.double()[channels[:count]]  # (pairs, 2), and columns
            turned = torch.einsum("pij,pj...->pi...", factors.to(rows), rows)
            in_place = turned.transpose(0, 1) if sizes.rope.half else turned
            made.setdefault(f"q.{name}", []).append(in_place.flatten(0, 1))
    joined = {name: torch.cat(parts).to(module.q.weight) for name, parts in made.items()}
    return {n: t[:, : sizes.embed_dim] if t.dim() > 1 else t for n, t in joined.items()}


def value_bases(
    module: ElasticVitAttention[Any],
    sizes: Any,
    path: str,
    calibration: Calibration,
    scale: Tensor | None,
) -> list[Tensor] | None:
    """For each head that stays, the dimensions of its values that stay; `None` for all of them.

    Args:
        module: The attention.
        sizes: Its sizes in the sub-network.
        path: Of the attention.
        calibration: What was seen of it.
        scale: (C,) what its output is multiplied by.

    Returns:
        Orthonormal columns (head_dim of the module, head_dim of the sizes).
    """
    full = module.v.out_shape[1]
    if sizes.head_dim == full or module.norm is not None:
        return None
    bases = []
    for head in range(sizes.num_heads):
        key = ("values", path, head)
        found: Tensor | None = calibration.folds.get(key)
        if found is None:
            own = _channels(head, full, module.v.weight)
            columns = module.proj.weight[:, own].double()
            columns = columns if scale is None else columns * scale.double()[:, None]
            found = value_basis(columns, calibration.record(path).inputs.select(own)).basis
            calibration.folds[key] = found
        bases.append(found[:, : sizes.head_dim])
    return bases


def _channels(head: int, width: int, like: Tensor) -> Tensor:
    """The channels of one head among those of all."""
    return torch.arange(width, device=like.device) + head * width


def joined_basis(bases: list[Tensor], dim: int) -> Tensor:
    """The same for the joined heads: (dim, kept heads * kept channels)."""
    joined: Tensor = torch.block_diag(*bases)  # type: ignore[no-untyped-call]
    whole = joined.new_zeros(dim, joined.shape[1])
    whole[: len(joined)] = joined
    return whole


def _projected(layer: Any, name: str, maps: list[Tensor], sizes: Any) -> Tensors:
    """A projection's rows, head by head, in fewer dimensions: A^T W, A^T b."""
    heads, full = layer.out_shape
    weight = layer.weight.double().view(heads, full, -1)[: len(maps), :, : sizes.embed_dim]
    stacked = torch.stack(maps).to(weight)  # (heads, full, rank)
    made = {f"{name}.weight": (stacked.mT @ weight).flatten(0, 1).to(layer.weight)}
    if layer.bias is not None:
        bias = layer.bias.double().view(heads, full, 1)[: len(maps)]
        made[f"{name}.bias"] = (stacked.mT @ bias).flatten().to(layer.bias)
    return made


def _fold_absent(
    network: SuperTransformer, plan: Plan, calibration: Calibration, state: Tensors
) -> None:
    """Add the mean of what absent branches gave to the branch before them, or to the positions."""
    names = {
        node.name: own.name for node, own in zip(plan.nodes, plan.renumbered().nodes, strict=True)
    }
    sizes: dict[str, Any] = {node.name: node.plan for node in plan.nodes}
    width = plan.stage_shapes[0].embed_dim
    before: tuple[str, Tensor | None] | None = None
    for path, block in network.all_layers().items():
        if not isinstance(block, ElasticVitBlock):
            continue
        there = {b.inner for b, _ in block.branches(sizes[path])} if path in sizes else set()
        for branch in block.all_branches:
            inner = block.module(branch.inner)
            scale = block.scale_of(branch.inner)
            if branch.inner in there:
                last = ending_layer(inner)
                if last is not None and last.bias is not None:
                    before = (f"{names[path]}.{branch.inner}.{name_in(inner, last)}.bias", scale)
                continue
            mean = calibration.record(f"{path}.{branch.inner}").outputs.mean
            mean = mean if scale is None else mean * scale.double()
            _add_constant(network, state, before, mean[:width])


def _add_constant(
    network: SuperTransformer,
    state: Tensors,
    before: tuple[str, Tensor | None] | None,
    constant: Tensor,
) -> None:
    if before is not None:
        name, scale = before
        if scale is not None:
            factor = scale[: len(constant)].double()
            constant = torch.where(factor != 0, constant / factor, 0)
        state[name] = (state[name].double() + constant).to(state[name])
        return
    stem = network.stem
    if isinstance(stem, ElasticVitStem) and stem.pos_embed is not None and stem.pre_norm is None:
        added = {"stem.pos_embed"}
        if not stem.num_position_prefix:
            added |= {f"stem.{token}" for token in TOKENS}
        for name in added & state.keys():
            state[name] = (state[name].double() + constant).to(state[name])


def is_repairable(network: SuperTransformer) -> bool:
    """Whether the sub-networks of a network can be repaired: whether it has layers to fold."""
    return network.sharing == "prefix" and any(True for _ in ending_layers(network))
