"""A training in words: how long it is, and its whole recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def length_in_words(max_epochs: int | None, max_steps: int | None) -> str:
    """What ends a training, such as `1 epoch or 300 steps`."""
    limits = [(max_epochs, "epoch"), (max_steps, "step")]
    ends = [f"{n} {unit}{'s' * (n != 1)}" for n, unit in limits if n is not None and n >= 0]
    return " or ".join(ends) or "no end"


def device_in_words(device: str, threads: int | None) -> str:
    """A device, and with how many threads it computes where it is a CPU: `cpu, 1 thread`."""
    return device if threads is None else f"{device}, {threads} thread{'s' * (threads != 1)}"


def training_words(config: Mapping[str, Any]) -> str:
    """How long, in which batches, by which optimiser; empty for a run that did not train."""
    if "optimizer" not in config:
        return ""
    trainer, data, optimizer = (config.get(name) or {} for name in ("trainer", "data", "optimizer"))
    scheduler = config.get("scheduler") or {}
    words = [
        length_in_words(trainer.get("max_epochs"), trainer.get("max_steps")),
        f"batches of {data.get('batch_size')}" if data.get("batch_size") else "",
        f"{optimizer.get('opt', '')} with learning rate {optimizer.get('lr', '?')}",
        str(scheduler.get("sched", "")),
    ]
    return ", ".join(word for word in words if word)
