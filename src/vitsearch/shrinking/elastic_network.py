"""One set of weights for many budgets: a super-transformer, its calibration and its front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vitsearch.costs.metrics import human
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.shrinking.budget import read_budget
from vitsearch.spaces import Architecture, Cost
from vitsearch.supernet.measuring import latency
from vitsearch.supernet.repairing.calibration import Calibration
from vitsearch.supernet.super_transformer import SuperTransformer
from vitsearch.supernet.vision_transformer import VisionTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """A sub-network that no other betters: none is both better and cheaper.

    Attributes:
        architecture: Which.
        cost: What it costs.
        score: How good it is, repaired and not trained.
    """

    architecture: Architecture
    cost: Cost
    score: float


@dataclass(slots=True, kw_only=True)
class Elastic:
    """A network for every budget, from one set of weights.

    Attributes:
        supernet: The weights, in order of importance.
        calibration: What sub-networks are repaired from.
        front: The sub-networks that are worth having, the cheapest first; the full network last.
        figure: What scores are, such as `top1` or `fidelity`.
    """

    supernet: SuperTransformer
    calibration: Calibration
    front: tuple[FrontPoint, ...]
    figure: str = "fidelity"
    _latencies: dict[tuple[str, int, str], float] = field(default_factory=dict, repr=False)

    def at(
        self,
        *,
        macs: float | str | None = None,
        params: float | None = None,
        latency_ms: float | None = None,
        batch_size: int = 1,
        device: torch.device | str = "cpu",
        images: Iterable[Tensor] | None = None,
    ) -> VisionTransformer:
        """The best network of the front inside a budget, repaired, in eval mode.

        Args:
            macs: At most; a number up to 1 or a percentage is a share of the full network's.
            params: At most.
            latency_ms: At most, measured here on networks of the front, with `batch_size` images
                on `device`.
            batch_size: For `latency_ms`.
            device: For `latency_ms`.
            images: Calibration images (B, in_chans, H, W), batch by batch, with which the network
                is repaired further, see `SuperTransformer.extract`. By default those of the
                calibration, which one from a file has none of; `()` for none.

        Raises:
            ConfigError: No budget is given.
            ConstraintError: A budget is malformed, or below the smallest network of the front.
        """
        point = self.point(
            macs=macs, params=params, latency_ms=latency_ms, batch_size=batch_size, device=device
        )
        batches = self.calibration.images if images is None else tuple(images)
        return self.supernet.extract(
            point.architecture, calibration=self.calibration, images=batches or None
        )

    def point(
        self,
        *,
        macs: float | str | None = None,
        params: float | None = None,
        latency_ms: float | None = None,
        batch_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> FrontPoint:
        """The best point of the front inside a budget; see `at`."""
        if macs is None and params is None and latency_ms is None:
            raise ConfigError("no budget: give macs=..., params=... or latency_ms=...")
        left: Sequence[FrontPoint] = self.front
        if macs is not None:
            limit = read_budget(macs, self.full.cost).macs
            left = _within(left, [p.cost.macs for p in left], limit, "macs")
        if params is not None:
            left = _within(left, [p.cost.params for p in left], params, "params")
        if latency_ms is not None:
            times = [self._latency(p.architecture, batch_size, device) for p in left]
            left = _within(left, times, latency_ms, "latency_ms")
        return max(left, key=lambda point: (point.score, -point.cost.macs))

    @property
    def full(self) -> FrontPoint:
        """The network that all began with."""
        return self.front[-1]

    def _latency(
        self, architecture: Architecture, batch_size: int, device: torch.device | str
    ) -> float:
        key = (architecture.digest, batch_size, str(device))
        if key not in self._latencies:
            where = torch.device(device)
            run = latency.make_run(
                self.supernet.space,
                architecture,
                num_classes=self.supernet.num_classes,
                batch_size=batch_size,
                device=where,
                dtype=next(self.supernet.parameters()).dtype,
            )
            self._latencies[key] = latency.latency_ms(run, where, warmup=3, repeats=10)
        return self._latencies[key]


def _within(
    points: Sequence[FrontPoint], costs: Sequence[float], limit: float, name: str
) -> list[FrontPoint]:
    found = [point for point, cost in zip(points, costs, strict=True) if cost <= limit]
    if not found:
        least: Any = min(costs, default=0.0)
        raise ConstraintError(
            f"{name}={human(limit)} is below the smallest network of the front ({human(least)})"
        )
    return found
