"""What one pass over unlabelled images leaves of a super-transformer's largest sub-network.

    images -> Calibration -> { order of units | repaired weights of any sub-network }

It is plain tensors: means and second moments of what enters the last layer of every branch, and of
queries and keys. Nothing of an image is left in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vitsearch.elastic.calibration import Moments
from vitsearch.errors import ConfigError

_PARTS = ("inputs", "outputs", "queries", "keys")


@dataclass(slots=True)
class OutputMoments:
    """Count, mean and variance of each channel of what a layer gives.

    Attributes:
        count: Rows.
        mean: (C,), float64.
        squares: (C,) sums of centred squares, float64.
    """

    count: int
    mean: Tensor
    squares: Tensor

    @property
    def variance(self) -> Tensor:
        """(C,), biased."""
        return self.squares / max(self.count, 1)

    @classmethod
    def of(cls, rows: Tensor) -> OutputMoments:
        """Of rows (..., C)."""
        flat = rows.reshape(-1, rows.shape[-1]).double()
        if not len(flat):
            zeros = flat.new_zeros(flat.shape[-1])
            return cls(0, zeros, zeros)
        mean = flat.mean(0)
        return cls(len(flat), mean, (flat - mean).square().sum(0))

    def merge(self, other: OutputMoments) -> None:
        """Add the rows that another has seen (Chan, Golub and LeVeque, 1979)."""
        total = self.count + other.count
        if not other.count:
            return
        delta = other.mean - self.mean
        self.squares = self.squares + other.squares
        self.squares += delta.square() * (self.count * other.count / total)
        self.mean = self.mean + delta * (other.count / total)
        self.count = total

    def state_dict(self) -> dict[str, Tensor]:
        """Plain tensors to save."""
        return {"count": torch.tensor(self.count), "mean": self.mean, "squares": self.squares}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> OutputMoments:
        """As `state_dict` returned them."""
        return cls(int(state["count"]), state["mean"].clone(), state["squares"].clone())


@dataclass(slots=True)
class LayerRecord:
    """What was seen of the last layer of one branch: of an attention's `proj`, of an MLP's `fc2`.

    Attributes:
        inputs: Moments of what enters it.
        outputs: Of what it gives, channel by channel.
        queries: Moments of the queries of all heads, rotated where attention rotates them; `None`
            where they cannot be cut.
        keys: Of the keys minus their image's mean; likewise.
        taylor: (units,) sums over images of squared first-order changes of the loss; `None` where
            no gradients were asked for.
    """

    inputs: Moments
    outputs: OutputMoments
    queries: Moments | None = None
    keys: Moments | None = None
    taylor: Tensor | None = None

    def merge(self, other: LayerRecord) -> None:
        """Add what another process has seen."""
        self.inputs.merge(other.inputs)
        self.outputs.merge(other.outputs)
        for own, theirs in ((self.queries, other.queries), (self.keys, other.keys)):
            if own is not None and theirs is not None:
                own.merge(theirs)
        if self.taylor is not None and other.taylor is not None:
            self.taylor = self.taylor + other.taylor

    def reorder(self, order: Tensor) -> None:
        """Follow units to new places: (units,) for each new place the old one."""
        units = len(order)
        self.inputs = _by_unit(self.inputs, order)
        self.queries = None if self.queries is None else _by_unit(self.queries, order)
        self.keys = None if self.keys is None else _by_unit(self.keys, order)
        if self.taylor is not None:
            assert len(self.taylor) == units
            self.taylor = self.taylor[order]

    def reorder_channels(self, order: Tensor) -> None:
        """Follow channels of queries and keys to new places: for each new place the old one."""
        assert self.queries is not None
        assert self.keys is not None
        self.queries, self.keys = self.queries.select(order), self.keys.select(order)

    def tensors(self) -> dict[str, Tensor]:
        """All numbers by name."""
        found = {
            f"{part}.{name}": tensor
            for part in _PARTS
            if (own := getattr(self, part)) is not None
            for name, tensor in own.state_dict().items()
        }
        return found if self.taylor is None else found | {"taylor": self.taylor}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor]) -> LayerRecord:
        """As `tensors` returned them."""

        def part(name: str) -> dict[str, Tensor]:
            prefix = f"{name}."
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        return LayerRecord(
            inputs=Moments.from_state(part("inputs")),
            outputs=OutputMoments.from_state(part("outputs")),
            queries=Moments.from_state(part("queries")) if "queries.mean" in tensors else None,
            keys=Moments.from_state(part("keys")) if "keys.mean" in tensors else None,
            taylor=tensors.get("taylor"),
        )


def _by_unit(moments: Moments, order: Tensor) -> Moments:
    within = torch.arange(moments.dim // len(order), device=order.device)
    places = (order[:, None] * len(within) + within).flatten()
    return moments.select(places.to(moments.mean.device))


@dataclass(slots=True)
class Calibration:
    """What a network showed on calibration images, layer by layer.

    Attributes:
        layers: By the path of the module that the layer ends, such as `stages.0.blocks.3.mlp`.
        num_images: How many images were seen.
        images: The batches that were seen (B, C, H, W), as they were given; empty where a
            calibration was read from a file, which holds no images.
        folds: Repaired weights that were asked for, kept for the next sub-network that has them.
    """

    layers: dict[str, LayerRecord]
    num_images: int
    images: tuple[Tensor, ...] = field(default=(), repr=False, compare=False)
    folds: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def record(self, path: str) -> LayerRecord:
        """What was seen of a layer.

        Raises:
            ConfigError: The calibration is of another network.
        """
        if path not in self.layers:
            raise ConfigError(
                f"calibration has no layer {path}: it is of another network; calibrate this one"
            )
        return self.layers[path]

    @property
    def nbytes(self) -> int:
        """Memory of its numbers in bytes.

        For each block with h hidden channels and a channels in all heads about 8 (h^2 + 3 a^2).
        """
        return sum(
            tensor.numel() * tensor.element_size()
            for record in self.layers.values()
            for tensor in record.tensors().values()
        )

    def merge(self, other: Calibration) -> None:
        """Add what another process has seen; the result is that of all images together.

        Raises:
            ConfigError: The other is of another network.
        """
        if self.layers.keys() != other.layers.keys():
            raise ConfigError("calibrations of two networks cannot be merged")
        for path, record in self.layers.items():
            record.merge(other.layers[path])
        self.num_images += other.num_images
        self.folds.clear()

    def reorder(self, path: str, order: Tensor) -> None:
        """Follow the units of a layer to new places."""
        self.layers[path].reorder(order)
        self.folds.clear()

    def reorder_channels(self, path: str, order: Tensor) -> None:
        """Follow the channels of queries and keys of an attention to new places."""
        self.layers[path].reorder_channels(order)
        self.folds.clear()

    def to(self, device: torch.device | str) -> Calibration:
        """A copy on another device."""
        tensors = {name: tensor.to(device) for name, tensor in self.state_dict().items()}
        images = tuple(batch.to(device) for batch in self.images)
        return replace(Calibration.from_state(tensors), images=images)

    def state_dict(self) -> dict[str, Tensor]:
        """Plain tensors by name; `from_state` reads them."""
        found = {"num_images": torch.tensor(self.num_images)}
        for path, record in self.layers.items():
            found |= {f"{path}:{name}": tensor for name, tensor in record.tensors().items()}
        return found

    @staticmethod
    def from_state(state: Mapping[str, Tensor]) -> Calibration:
        """A calibration as `state_dict` returned it."""
        by_path: dict[str, dict[str, Tensor]] = {}
        for full, tensor in state.items():
            path, separator, name = full.partition(":")
            if separator:
                by_path.setdefault(path, {})[name] = tensor
        layers = {path: LayerRecord.from_tensors(own) for path, own in by_path.items()}
        return Calibration(layers, int(state["num_images"]))
