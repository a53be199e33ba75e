"""Measured costs of architectures for a search: taken once, by one process, known to all.

The searchers of all processes ask in the same order, so the first process measures while the others
wait for its number. Numbers are kept in `search/measured.json` under the circumstances in which
they were taken, so that a search that goes on does not measure again, and sees the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures, MeasureSettings
from vitsearch.costs.metrics import LATENCY, MEASURED, MEMORY, metrics, named
from vitsearch.errors import CheckpointError, ConstraintError, FormatError
from vitsearch.errors.checks import is_number
from vitsearch.lightning.distributed import leave_if_wished, made_by_first, rank_and_world
from vitsearch.lightning.threads import computing_with, usual_threads
from vitsearch.runs.files import write_json
from vitsearch.runs.formats import with_format, without_format
from vitsearch.searchers import FrontSearcher, Searcher
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet.measuring.latency import gpu_memory_mb, latency_ms, make_run
from vitsearch.supernet.measuring.peak_memory import cpu_memory_mb


@dataclass(frozen=True, slots=True, kw_only=True)
class ToMeasure:
    """One architecture and the circumstances of its measurement (`vitsearch.costs.Subject`)."""

    space: SearchSpace
    architecture: Architecture
    num_classes: int
    settings: MeasureSettings
    device: torch.device

    def make_run(self) -> Callable[[], Any]:
        """The network, ready: each call is one inference of a batch and returns its logits.

        Raises:
            ConfigError: It is to be compiled, and torch cannot compile here.
        """
        return make_run(
            self.space,
            self.architecture,
            num_classes=self.num_classes,
            batch_size=self.settings.batch_size,
            device=self.device,
            dtype=getattr(torch, self.settings.dtype),
            compile=self.settings.compile,
        )


def _latency(subject: ToMeasure) -> float:
    settings = subject.settings
    return latency_ms(
        subject.make_run(), subject.device, warmup=settings.warmup, repeats=settings.repeats
    )


def _memory(subject: ToMeasure) -> float:
    settings, device = subject.settings, subject.device
    if device.type == "cuda":
        return gpu_memory_mb(subject.make_run, device)
    if device.type != "cpu":
        raise ConstraintError(
            f"{MEMORY.name} cannot be measured on {device.type}; {settings.section}.device=cpu "
            f"measures on the CPU"
        )
    return cpu_memory_mb(
        subject.space,
        subject.architecture,
        num_classes=subject.num_classes,
        batch_size=settings.batch_size,
        dtype=settings.dtype,
    )


# The table of metrics knows no torch, so what measures the library's own stands here.
_OWN = {LATENCY.name: _latency, MEMORY.name: _memory}


class Measurements:
    """Measures architectures of one space under one set of circumstances.

    Attributes:
        device: Where it measures.
    """

    def __init__(
        self,
        space: SearchSpace,
        num_classes: int,
        settings: MeasureSettings,
        *,
        search_device: torch.device,
        file: Path | None = None,
    ) -> None:
        """Check that the device is there; nothing is measured yet.

        Args:
            space: Whose architectures.
            num_classes: Of the classifier.
            settings: How to measure.
            search_device: What `device=auto` stands for.
            file: Where numbers are kept; nowhere by default.

        Raises:
            ConstraintError: There is no such device.
        """
        self.device = search_device if settings.device == "auto" else torch.device(settings.device)
        _check_device(self.device, settings.section)
        self._search_device = search_device
        self._space = space
        self._num_classes = num_classes
        self._settings = settings
        self._file = file
        self._values: dict[str, dict[str, float]] | None = None

    def measures(self) -> Measures:
        """For each measured cost, a function of an architecture, as searchers take them."""
        return {metric.name: partial(self.value, metric.name) for metric in metrics(MEASURED)}

    def value(self, metric: str, architecture: Architecture) -> float:
        """The number of an architecture, in the metric's unit; all processes must ask.

        Raises:
            ConstraintError: It cannot be measured.
            Interrupted: An end was wished; all numbers so far are in the file.
        """
        if self._values is None:
            self._values = made_by_first(self._read)
        known = self._values.setdefault(metric, {})
        if architecture.digest not in known:
            leave_if_wished(self._search_device)
            known[architecture.digest] = made_by_first(lambda: self._measure(metric, architecture))
            if rank_and_world()[0] == 0:
                self._write()
        return known[architecture.digest]

    def circumstances(self) -> dict[str, Any]:
        """What numbers depend on, besides the architecture and the load of the machine."""
        on_gpu = self.device.type == "cuda"
        config = json.dumps(self._space.config, sort_keys=True)
        return {
            "device": torch.cuda.get_device_name(self.device)
            if on_gpu
            else f"{self.device.type} {platform.machine()}",
            "threads": None if on_gpu else usual_threads(),
            "torch": torch.__version__,
            "space": hashlib.sha256(config.encode()).hexdigest()[:12],
            "num_classes": self._num_classes,
            **{k: v for k, v in self._settings.to_dict().items() if k != "device"},
        }

    def _measure(self, metric: str, architecture: Architecture) -> float:
        subject = ToMeasure(
            space=self._space,
            architecture=architecture,
            num_classes=self._num_classes,
            settings=self._settings,
            device=self.device,
        )
        measure = _OWN.get(metric) or named(metric).measure
        assert measure is not None, f"{metric} is not measured"
        with computing_with(usual_threads()):
            value = float(measure(subject))
        if not is_number(value) or value < 0:
            raise ConstraintError(
                f"{metric} of architecture {architecture.digest} was measured as {value}; it must "
                f"be a number, 0 or more"
            )
        return value

    def _read(self) -> dict[str, dict[str, float]]:
        for entry in self._entries():
            if entry["circumstances"] == self.circumstances():
                return {metric: dict(values) for metric, values in entry["values"].items()}
        return {}

    def _entries(self) -> list[dict[str, Any]]:
        if self._file is None or not self._file.is_file():
            return []
        try:
            found: list[dict[str, Any]] = json.loads(self._file.read_text(encoding="utf-8"))
            entries = [without_format(entry, self._file) for entry in found]
            return [{key: entry[key] for key in ("circumstances", "values")} for entry in entries]
        except FormatError:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"{self._file} cannot be read ({error}); without it, everything is measured again"
            ) from error

    def _write(self) -> None:
        if self._file is None:
            return
        own = {"circumstances": self.circumstances(), "values": self._values}
        others = [e for e in self._entries() if e["circumstances"] != own["circumstances"]]
        write_json(self._file, [with_format(entry) for entry in (*others, own)])


def is_measured(searcher: Searcher, constraint: Constraint) -> bool:
    """Whether a search looks at measured costs, by a window or by a front."""
    minimised = searcher.minimise if isinstance(searcher, FrontSearcher) else ()
    return bool(constraint.measured_windows()) or any(
        named(name).kind == MEASURED for name in minimised
    )


def _check_device(device: torch.device, section: str) -> None:
    here = torch.cuda.device_count() if device.type == "cuda" else 1
    missing = device.type == "mps" and not torch.backends.mps.is_available()
    if missing or (device.index or 0) >= here:
        raise ConstraintError(
            f"{section}.device={device}: there is no such device here; "
            f"auto measures where the search runs"
        )
