"""What a format is: it writes a network, reads the file back, and says how others read it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from vitsearch.supernet import VisionTransformer

TOLERANCE = 1e-4
"""The largest difference of a logit between network and file; files beyond it are not kept."""

INPUT, OUTPUT = "images", "logits"

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One export.

    Attributes:
        network: In eval mode, on the CPU, in float32.
        module: The same, or what takes pixels in [0, 1] and passes them to it normalised.
        facts: What the file says about itself, as plain data; see `description.py`.
        opset: Version of ONNX's operators; the format's choice where None.
    """

    network: VisionTransformer
    module: nn.Module
    facts: Mapping[str, Any]
    opset: int | None = None


class Format(ABC):
    """A format.

    Attributes:
        name: As users write it.
        target: The file or folder that it writes.
        takes_pixels: Whether normalisation can be a part of it.
    """

    name: ClassVar[str]
    target: ClassVar[str]
    takes_pixels: ClassVar[bool] = False

    @abstractmethod
    def check(self, job: Job) -> None:
        """Find out before any work whether it can be done.

        Raises:
            MissingExtraError: A package is not installed.
            ConfigError: A setting is not legal.
        """

    @abstractmethod
    def write(self, job: Job, folder: Path) -> Path:
        """Write it into a folder; returns the file or folder."""

    @abstractmethod
    def load(self, path: Path) -> Run:
        """Read it back: a function from images (B, C, H, W) to logits (B, classes)."""

    @abstractmethod
    def snippet(self, path: Path) -> str:
        """Two or three lines of Python that load and run it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export has left.

    Attributes:
        path: The file or folder.
        megabytes: Its size, 10^6 bytes.
        difference: The largest one between its logits and the network's.
        batch_sizes: Those that it was run with.
        snippet: Python that loads and runs it.
    """

    path: Path
    megabytes: float
    difference: float
    batch_sizes: tuple[int, ...]
    snippet: str
