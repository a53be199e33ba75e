"""How a measured cost is measured, as plain data; whoever has torch does the measuring.

Latency and memory belong to a machine, a batch size, a number format: a window on them, or a front
over them, means nothing without these settings, so a `Constraint` carries them along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol

from vitsearch.errors import ConstraintError
from vitsearch.errors.checks import check_flag, check_one_of, check_whole
from vitsearch.spaces import Architecture, SearchSpace

DTYPES = ("float32", "bfloat16", "float16")

Measures = Mapping[str, Callable[[Architecture], float]]
"""For measured costs, by name, what measures an architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings:
    """The circumstances of a measurement.

    Attributes:
        device: `auto` is where the search runs; or `cpu`, `cuda`, `cuda:1`.
        batch_size: Images that run together.
        dtype: Of weights and images: `float32`, `bfloat16` or `float16`.
        compile: Whether `torch.compile` prepares the network first, which may take minutes for
            each. Not for memory on a CPU, where the compiler would count, too.
        warmup: Runs before those that count for latency.
        repeats: Runs whose median is the latency.
        section: Where a configuration has these settings, for messages.
    """

    section: ClassVar[str] = "constraint.measure"

    device: str = "auto"
    batch_size: int = 1
    dtype: str = "float32"
    compile: bool = False
    warmup: int = 3
    repeats: int = 10

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            ConstraintError: One is out of range.
        """
        for name, least in (("batch_size", 1), ("warmup", 0), ("repeats", 1)):
            check_whole(f"{self.section}.{name}", getattr(self, name), least, error=ConstraintError)
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(self.device)):
            raise ConstraintError(
                f"{self.section}.device={self.device} is unknown; legal: auto (where the "
                f"search runs), cpu, mps, cuda, cuda:<number>"
            )
        check_one_of(f"{self.section}.dtype", self.dtype, DTYPES, error=ConstraintError)
        check_flag(f"{self.section}.compile", self.compile, error=ConstraintError)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> MeasureSettings:
        """Settings by name, as a configuration holds them.

        Raises:
            ConstraintError: A name is unknown, or a value out of range.
        """
        legal = [field.name for field in fields(cls)]
        for name in settings:
            if name not in legal:
                raise ConstraintError(
                    f"{cls.section}.{name} is no setting; legal: {', '.join(legal)}"
                )
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)


class Subject(Protocol):
    """What a measured metric is given: one architecture, and the circumstances."""

    @property
    def space(self) -> SearchSpace:
        """Whose architecture."""

    @property
    def architecture(self) -> Architecture:
        """What to measure."""

    @property
    def num_classes(self) -> int:
        """Of the classifier."""

    @property
    def settings(self) -> MeasureSettings:
        """The circumstances."""

    @property
    def device(self) -> Any:
        """Where to measure, a `torch.device`."""

    def make_run(self) -> Callable[[], Any]:
        """The network, ready: each call is one inference of a batch and returns its logits."""
