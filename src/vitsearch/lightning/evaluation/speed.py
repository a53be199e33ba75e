"""How fast a network runs, and how much memory it takes, at several batch sizes.

What a search's windows on latency and memory limit (`lightning/search/measurements.py`):
the network by itself, medians of warm runs, one process measuring while the others wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from vitsearch.costs import MeasureSettings
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.search.measurements import Measurements
from vitsearch.supernet import VisionTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedSettings(MeasureSettings):
    """The circumstances of the measurements of one network."""

    section: ClassVar[str] = "speed"


def speed_settings(settings: Mapping[str, Any]) -> tuple[list[MeasureSettings], bool]:
    """What to measure: settings for each batch size, and whether memory is measured, too.

    Args:
        settings: As a configuration has them: those of `MeasureSettings`, with `batch_sizes`, a
            list, in place of `batch_size`, and `memory`.

    Raises:
        ConfigError: `batch_sizes` is no list of different numbers, or `memory` no flag.
        ConstraintError: A name is unknown, or a value out of range.
    """
    own = dict(settings)
    sizes, memory = own.pop("batch_sizes", [1]), own.pop("memory", False)
    if not isinstance(sizes, Sequence) or isinstance(sizes, str) or not sizes:
        raise ConfigError(f"speed.batch_sizes={sizes} must be a list of numbers")
    if len(set(map(str, sizes))) < len(sizes):
        raise ConfigError(f"speed.batch_sizes={list(sizes)} names a size twice")
    made = [SpeedSettings.from_settings({**own, "batch_size": size}) for size in sizes]
    return made, check_flag("speed.memory", memory)


def speed_facts(
    network: VisionTransformer,
    settings: Sequence[MeasureSettings],
    *,
    device: torch.device,
    memory: bool,
) -> dict[str, Any]:
    """Measure; all processes must ask, and all get the numbers of the first one.

    Args:
        network: Whose architecture is measured; its weights change neither time nor memory.
        settings: How, for each batch size.
        device: What `device=auto` stands for.
        memory: Whether to measure peak memory, too.

    Returns:
        `circumstances`, and `batches` with `batch_size`, `latency_ms`, `images_per_second` and
        `memory_mb` (`None` if it is not measured).

    Raises:
        ConstraintError: There is no such device, or it cannot measure memory.
    """
    rows: list[dict[str, Any]] = []
    circumstances: dict[str, Any] = {}
    for one in settings:
        measured = Measurements(network.space, network.num_classes, one, search_device=device)
        latency = measured.value("latency_ms", network.architecture)
        rows.append(
            {
                "batch_size": one.batch_size,
                "latency_ms": latency,
                "images_per_second": 1e3 * one.batch_size / latency,
                "memory_mb": measured.value("memory_mb", network.architecture) if memory else None,
            }
        )
        circumstances = measured.circumstances()
    for name in ("batch_size", "space", "num_classes"):
        circumstances.pop(name)
    return {"circumstances": circumstances, "batches": rows}
