"""Calibrates: passes images through the largest sub-network and records the last layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.elastic import ElasticLinear
from vitsearch.elastic.calibration import Moments
from vitsearch.elastic.layers.vit.attention import ElasticVitAttention
from vitsearch.errors import ConfigError
from vitsearch.supernet.repairing.calibration import Calibration, LayerRecord, OutputMoments
from vitsearch.supernet.repairing.modules import active_modules, ending_layers

if TYPE_CHECKING:
    from vitsearch.supernet.super_transformer import SuperTransformer

Batch = Tensor | tuple[Tensor, Tensor] | list[Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def calibrate(
    network: SuperTransformer,
    batches: Iterable[Batch],
    *,
    gradients: bool = False,
    loss: Loss = F.cross_entropy,
    summed: bool = True,
) -> Calibration:
    """See `SuperTransformer.calibrate`."""
    recorder = _Recorder(network, loss if gradients else None)
    seen: list[Tensor] = []
    was_training = network.training
    network.eval()
    try:
        with recorder.attached():
            for batch in batches:
                images, labels = _parts(batch)
                recorder.see(images, labels)
                seen.append(images)
    finally:
        network.train(was_training)
    if not recorder.num_images:
        raise ConfigError("calibrate: there are no images; give batches of (B, C, H, W)")
    own = Calibration(recorder.layers, recorder.num_images)
    return replace(_of_all_processes(own) if summed else own, images=tuple(seen))


def _parts(batch: Batch) -> tuple[Tensor, Tensor | None]:
    if isinstance(batch, Tensor):
        return batch, None
    images, labels = batch[0], batch[1]
    return images, labels


class _Recorder:
    """Hooks on the layers that end branches, and what they have seen."""

    def __init__(self, network: SuperTransformer, loss: Loss | None) -> None:
        self.network = network
        self.loss = loss
        self.layers: dict[str, LayerRecord] = {}
        self.num_images = 0
        self._plan = network.space.plan(network.largest)
        self._sizes = {one.path: one.sizes for one in active_modules(network, self._plan)}
        self._pending: dict[str, dict[str, Tensor]] = {}
        self._counts = True

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Record while images pass."""
        with ExitStack() as stack:
            for path, module, last in ending_layers(self.network):
                compared: ElasticVitAttention[Any] | None = None
                if isinstance(module, ElasticVitAttention) and module.q_norm is None:
                    compared = module
                    for name, layer in (("queries", module.q), ("keys", module.k)):
                        hook = self._projection_hook(path, name)
                        stack.callback(layer.register_forward_hook(hook).remove)
                hook = self._hook(path, last, compared)
                stack.callback(last.register_forward_hook(hook).remove)
            yield

    def see(self, images: Tensor, labels: Tensor | None) -> None:
        """Pass a batch (B, C, H, W) through the largest sub-network."""
        with torch.set_grad_enabled(self.loss is not None):
            if self.loss is not None:
                self._sum_of(self.loss, images, labels).backward()  # type: ignore[no-untyped-call]
                self.network.zero_grad(set_to_none=True)
            else:
                self.network.run_features(images, self._plan)
        self.num_images += len(images)

    def _sum_of(self, loss: Loss, images: Tensor, labels: Tensor | None) -> Tensor:
        """The loss of labels; without labels how far two views of an image are apart.

        The distance of features to themselves would have no gradient.
        """
        if labels is not None:
            return loss(self.network.run(images, self._plan).answer, labels) * len(images)
        seen = self.network.run(images, self._plan).answer
        self._counts = False  # moments are those of the images alone
        mirrored = self.network.run(images.flip(-1), self._plan).answer
        self._counts = True
        return (1 - F.cosine_similarity(seen, mirrored, dim=-1)).sum()

    def _hook(
        self, path: str, last: ElasticLinear, attention: ElasticVitAttention[Any] | None
    ) -> Callable[..., None]:
        group = prod(last.in_shape[1:])

        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            rows = args[0].detach()
            if rows.shape[-1] != last.in_features:
                return  # the largest sub-network does without some of the units
            if self._counts:
                seen = {} if attention is None else self._compared(path, attention)
                self._count(path, rows, output.detach(), seen, units=rows.shape[-1] // group)
            if args[0].requires_grad:
                args[0].register_hook(self._gradient_hook(path, rows, group))

        return hook

    def _compared(self, path: str, attention: ElasticVitAttention[Any]) -> dict[str, Tensor]:
        """Queries and keys (B, N, heads * qk_dim) as they enter the product, keys centred."""
        sizes, seen = self._sizes[path], self._pending.pop(path)
        q, k = (
            seen[name].view(*seen[name].shape[:2], sizes.num_heads, -1).transpose(1, 2)
            for name in ("queries", "keys")
        )
        q, k = (x.transpose(1, 2).flatten(2) for x in attention.positioned(q, k, sizes))
        # What all keys of an image share changes no attention weight.
        return {"queries": q, "keys": k - k.mean(1, keepdim=True)}

    def _count(
        self, path: str, rows: Tensor, output: Tensor, seen: dict[str, Tensor], *, units: int
    ) -> None:
        record = self.layers.get(path)
        if record is None:
            empty = {name: Moments.empty(x.shape[-1], device=x.device) for name, x in seen.items()}
            record = self.layers[path] = LayerRecord(
                Moments.empty(rows.shape[-1], device=rows.device),
                OutputMoments.of(output[:0]),
                queries=empty.get("queries"),
                keys=empty.get("keys"),
            )
            if self.loss is not None:
                record.taylor = rows.new_zeros(units, dtype=torch.float64)
        record.inputs.update(rows)
        record.outputs.merge(OutputMoments.of(output))
        for name, x in seen.items():
            getattr(record, name).update(x)

    def _gradient_hook(self, path: str, rows: Tensor, group: int) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            changes = (rows * gradient).flatten(1, -2).sum(1)  # (B, d): summed over tokens
            by_unit = changes.view(len(changes), -1, group).sum(-1).double()
            record = self.layers[path]
            assert record.taylor is not None
            record.taylor += by_unit.square().sum(0)

        return hook

    def _projection_hook(self, path: str, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            if self._counts:
                self._pending.setdefault(path, {})[name] = output.detach()

        return hook


def _of_all_processes(own: Calibration) -> Calibration:
    """The sums over all processes of a distributed run, the same in each."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return own
    device = next(iter(own.layers.values())).inputs.mean.device
    gathered: list[Any] = [None] * dist.get_world_size()
    state = {name: tensor.cpu() for name, tensor in own.state_dict().items()}
    dist.all_gather_object(gathered, state)
    total = Calibration.from_state(gathered[0])
    for state in gathered[1:]:
        total.merge(Calibration.from_state(state))
    return total.to(device)
