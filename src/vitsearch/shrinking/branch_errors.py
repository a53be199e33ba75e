"""How far the repaired output of a branch is from the original's, for every size it can have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from vitsearch.elastic import active_state
from vitsearch.elastic.layers.vit.attention import ElasticVitAttention
from vitsearch.elastic.layers.vit.block import Branch, ElasticVitBlock
from vitsearch.errors import ConfigError
from vitsearch.spaces.choice import Value
from vitsearch.supernet.build import make_layer
from vitsearch.supernet.repairing.calibration import Calibration, LayerRecord
from vitsearch.supernet.repairing.folding import (
    RIDGE,
    folded_module,
    joined_basis,
    prefix_repair,
    value_bases,
)
from vitsearch.supernet.repairing.modules import ActiveModule, columns_of, ending_layer, name_in
from vitsearch.supernet.super_transformer import SuperTransformer

Values = dict[str, Value | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeError:
    """One size of a branch, and what it does to the branch's output.

    Attributes:
        values: Of the branch's choices, by full name; `None` where one is inactive.
        taken: The same in the order of the choices.
        error: Mean over tokens of the squared distance to the original's output, scaled as it is
            added to the stream.
    """

    values: Values
    taken: tuple[Value | None, ...]
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchErrors:
    """All sizes of one branch.

    Attributes:
        stage: The stage that it is in, from 0.
        slot: The block of the stage.
        role: `mixer` or `mlp`.
        sizes: The largest one is among them, with error 0.
        stream: Variance of the tokens behind the branch, summed over channels, which errors are to
            be seen against.
    """

    stage: int
    slot: int
    role: str
    sizes: tuple[SizeError, ...]
    stream: float


def branch_errors(
    network: SuperTransformer, calibration: Calibration, images: Sequence[Tensor]
) -> Iterator[BranchErrors]:
    """Every branch of a network, from the first block to the last.

    Args:
        network: Calibrated and in order.
        calibration: Of it.
        images: A few batches (B, in_chans, H, W), unlabelled.

    Raises:
        ConfigError: The network has other blocks than those of vit spaces.
    """
    space, largest = network.space, network.largest
    plan = space.plan(largest)
    shared: Values = {c.name: largest[c.name] for c in space.shared_choices}
    sizes: dict[str, Any] = {node.name: node.plan for node in plan.nodes}
    streams = [network.run_nodes(batch, plan.until(1))["stem"] for batch in images]
    for stage, shape in zip(space.stages, plan.stage_shapes, strict=True):
        seen = set()
        for slot, _, options in space.slot_table.walk(stage, shared):
            name = stage.block_prefix(slot.index)
            if name in seen:
                continue
            seen.add(name)
            block = network.layer(name)
            if not isinstance(block, ElasticVitBlock):
                raise ConfigError(
                    f"space {space.name} has blocks of another kind than vit; only these can be "
                    f"profiled"
                )
            for branch, inner in block.branches(sizes[name]):
                look = _Look(network, calibration, name, block, branch, inner)
                normed = [block.normed(x, branch, sizes[name]) for x in streams]
                taken = dict.fromkeys(
                    one.pieces[branch.role]
                    for option in options
                    if option.present
                    for group in option.groups
                    for one in group
                    if branch.role in one.pieces
                )
                names = stage.pieces.names[branch.role]
                found = []
                for values in taken:
                    own: Any = stage.pieces.plan(branch.role, values, shape)
                    if own.inner is None and getattr(stage.block.plain, branch.role).needed_without:
                        continue  # whether it may go depends on the other branch
                    full = {f"{name}.{n}": v for n, v in zip(names, values, strict=True)}
                    error = look.error(own.inner, normed)
                    found.append(SizeError(values=full, taken=values, error=error))
                made = [look.module(x, inner) for x in normed]
                streams = [
                    x + block.scaled(y, branch, sizes[name])
                    for x, y in zip(streams, made, strict=True)
                ]
                yield BranchErrors(
                    stage=stage.index,
                    slot=slot.index,
                    role=branch.role,
                    sizes=tuple(found),
                    stream=_variance(streams),
                )


def _variance(streams: Sequence[Tensor]) -> float:
    tokens = torch.cat([x.flatten(0, -2) for x in streams]).double()
    return float(tokens.var(0, correction=0).sum())


class _Look:
    """One branch, and the errors of its sizes."""

    def __init__(
        self,
        network: SuperTransformer,
        calibration: Calibration,
        name: str,
        block: ElasticVitBlock,
        branch: Branch,
        whole: Any,
    ) -> None:
        self.module = block.module(branch.inner)
        self._network, self._calibration = network, calibration
        self._path = f"{name}.{branch.inner}"
        self._record: LayerRecord = calibration.record(self._path)
        self._scale = block.scale_of(branch.inner)
        self._whole = whole
        last = ending_layer(self.module)
        assert last is not None
        self._last = last
        self._by_queries: dict[int, float] = {}

    def error(self, inner: Any, normed: Sequence[Tensor]) -> float:
        """Of a size; `None` for leaving the branch out."""
        if inner is None:
            return self._absent()
        if not isinstance(self.module, ElasticVitAttention):
            return self._folded(inner)
        share: float = inner.num_heads / self._whole.num_heads
        queries = share * self._queries(inner.qk_dim, normed)
        return queries + self._folded(replace(inner, qk_dim=self._whole.qk_dim))

    def _absent(self) -> float:
        outputs = self._record.outputs
        squares = outputs.variance
        if self._last.bias is None:  # nothing can stand for its mean
            squares = squares + outputs.mean.square()
        if self._scale is not None:
            squares = squares * self._scale.double().square()
        return float(squares.sum())

    def _folded(self, inner: Any) -> float:
        """What the last layer cannot make up for, from the moments of its inputs."""
        if inner == self._whole:
            return 0.0
        name = name_in(self.module, self._last)
        sizes = self.module.children_sizes(inner)[name]
        basis = None
        if isinstance(self.module, ElasticVitAttention):
            basis = value_bases(self.module, inner, self._path, self._calibration, self._scale)
        prefix = prefix_repair(self._path, self._last, self._calibration, RIDGE)
        if basis is None and sizes.in_shape[1:] == self._last.in_shape[1:] and prefix is not None:
            # What the columns behind a prefix add to the output is what the prefix cannot give.
            behind = prefix.outputs[:, prod(sizes.in_shape) :].double()
            return float(self._scaled(behind).square().sum())
        active = ActiveModule(self.module, inner, self._path, self._path)
        tensors = folded_module(self._network, active, self._calibration)
        weight = self._last.weight.double()
        new = tensors[f"{name}.weight"].double()
        if basis is not None:
            back = new @ joined_basis(basis, weight.shape[1]).T
        else:
            back = torch.zeros_like(weight)
            back[:, columns_of(self._last, sizes)] = new
        missing = self._scaled(weight - back)
        inputs = self._record.inputs
        second = inputs.second_moment if self._last.bias is None else inputs.covariance
        return max(float(((missing @ second) * missing).sum()), 0.0)

    def _scaled(self, outputs: Tensor) -> Tensor:
        """Numbers (C, ...) of output channels, as they are added to the stream."""
        return outputs if self._scale is None else outputs * self._scale.double()[:, None]

    def _queries(self, qk_dim: int, normed: Sequence[Tensor]) -> float:
        """What fewer dimensions of queries and keys do, on the images."""
        if qk_dim == self._whole.qk_dim:
            return 0.0
        if qk_dim not in self._by_queries:
            inner = replace(self._whole, qk_dim=qk_dim)
            active = ActiveModule(self.module, inner, self._path, self._path)
            tensors = folded_module(self._network, active, self._calibration)
            layer = make_layer([inner]).to(self._last.weight)
            layer.load_state_dict({**active_state(self.module, inner), **tensors})
            total, count = 0.0, 0
            for x in normed:
                missing = self.module(x, self._whole) - layer(x, inner)
                missing = missing if self._scale is None else missing * self._scale
                total += float(missing.double().square().sum())
                count += missing[..., 0].numel()
            self._by_queries[qk_dim] = total / count
        return self._by_queries[qk_dim]
