"""What a task is: what a batch is, what is learned from it, and how answers are counted.

A task is one file: it names its figures, says what targets are, the loss of the network's outputs
for them, which integers a batch of answers leaves, and which figures these integers give. Training,
validation, scores of a search, its history, tables and pictures ask it and know no task by name.
Integers add over batches and processes, so a score does not depend on how many there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from vitsearch.errors import ConfigError, DataError
from vitsearch.lightning.tasks.batch import Batch, check_images, read_pair
from vitsearch.reports.words.figure import Figure
from vitsearch.spaces import SearchSpace

Count = Any  # a whole number, or a list of them, or of lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Answers that were counted; tallies add.

    Attributes:
        counts: Whole numbers by name, each an int64 tensor of any shape, on the device.
        total: How many images.
    """

    counts: Mapping[str, Tensor]
    total: int

    def __add__(self, other: Tally) -> Tally:
        """Of the images of both."""
        counts = {name: count + other.counts[name] for name, count in self.counts.items()}
        return Tally(counts=counts, total=self.total + other.total)

    def cpu(self) -> Tally:
        """The same for other processes to add."""
        return Tally(counts={n: count.cpu() for n, count in self.counts.items()}, total=self.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How good the answers of a network are: whole numbers, and the figures that they give.

    Attributes:
        counts: Whole numbers by name, as plain data.
        total: How many images they rest on.
        figures: By name; the first is `value`.
    """

    counts: Mapping[str, Count]
    total: int
    figures: Mapping[str, float]

    @property
    def value(self) -> float:
        """What searches compare; larger is better."""
        return next(iter(self.figures.values()))

    def record(self) -> dict[str, Any]:
        """As plain data, such as a history has it."""
        return {**self.figures, **self.counts, "total": self.total}


class Task(ABC):
    """What a network is trained for.

    Attributes:
        name: What files call it.
        targets: What targets are called in batches that are dictionaries.
        mixes: Whether images and targets can be mixed (mixup, cutmix) and targets smoothed.
        dense: Whether the network must answer for every pixel (`True`), or once for an image
            (`False`); `None` where that is left to the task's own head.
    """

    name: ClassVar[str]
    targets: ClassVar[tuple[str, ...]] = ("label", "labels")
    mixes: ClassVar[bool] = False
    dense: ClassVar[bool | None] = None

    @property
    @abstractmethod
    def figures(self) -> tuple[Figure, ...]:
        """What `compute` returns; the first is the one that searches compare."""

    @property
    @abstractmethod
    def counted(self) -> tuple[str, ...]:
        """Names of what `count` returns, as a history keeps them."""

    @abstractmethod
    def check_targets(self, images: Tensor, targets: Tensor) -> Tensor:
        """Targets as `loss` and `count` want them.

        Args:
            images: (B, C, H, W).
            targets: As the loader gave them.

        Raises:
            DataError: Says what they are, and what they must be.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training makes small: of the network's outputs (B, ...) for targets, a mean."""

    @abstractmethod
    def count(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """Integers that a batch of answers leaves, by name: int64 of any shape, on the device."""

    @abstractmethod
    def compute(self, counts: Mapping[str, Count], total: int) -> tuple[float, ...]:
        """The figures that integers give.

        Args:
            counts: As `count` has them, added up over all images, as plain data.
            total: How many images.
        """

    # What every task has, and one or the other changes.

    @property
    def figure(self) -> Figure:
        """What searches compare."""
        return self.figures[0]

    def for_classes(self, num_classes: int) -> Task:
        """The same task for a network with so many outputs."""
        return self

    def check_head(self, *, dense: bool) -> None:
        """Refuse a network whose head is not of the task's kind.

        Args:
            dense: Whether the head answers for every pixel.

        Raises:
            ConfigError: Says what to take.
        """
        if self.dense is None or self.dense == dense:
            return
        has, take = "answers once for an image", "model=segmenter, or space/head=dense"
        if dense:
            has, take = "answers for every pixel", "model=segmenter, or a classifier such as token"
        raise ConfigError(f"the task {self.name} does not go with a head that {has}; take {take}")

    def detailed(self) -> Task:
        """The same task with more figures, for networks that are finished."""
        return self

    def groups(self, targets: Tensor) -> Tensor | None:
        """By which a part of a split is balanced: numbers (B,) from 0, or `None` for no groups."""
        return None

    def identity(self, batch: Batch) -> Tensor:
        """What tells the images of a split from those of another; scores depend on it."""
        return batch.targets

    def prepare(self, batch: Any, space: SearchSpace | None = None) -> Batch:
        """Images and targets of whatever a loader gives, for networks of a space.

        Args:
            batch: `(images, targets)`, more than these, or a dictionary.
            space: Says the size and channels of images.

        Raises:
            DataError: Says what the batch is, and what it must be.
        """
        images, targets = read_pair(batch, self.targets)
        check_images(images, space)
        if len(images) != len(targets):
            raise DataError(f"a batch has {len(images)} images and {len(targets)} targets")
        return Batch(images, self.check_targets(images, targets))

    def tally(self, outputs: Tensor, targets: Tensor) -> Tally:
        """The answers of a batch, counted."""
        return Tally(counts=self.count(outputs, targets), total=len(targets))

    def score(self, tally: Tally) -> Score:
        """What a whole split's answers come to."""
        counts = {name: count.tolist() for name, count in tally.counts.items()}
        return self._score(counts, tally.total)

    def recall(self, record: Mapping[str, Any], total: int | None = None) -> Score | None:
        """The score that a record holds; `None` if it holds none.

        Args:
            record: As `Score.record` has made it, with whatever else.
            total: How many images it must rest on; whatever it says by default.
        """
        counts = {name: record.get(name) for name in self.counted}
        total = total or record.get("total")
        if not all(map(_is_whole, (*counts.values(), total))) or not total:
            return None
        return self._score(counts, total)

    def _score(self, counts: Mapping[str, Count], total: int) -> Score:
        names = (figure.name for figure in self.figures)
        figures = dict(zip(names, self.compute(counts, total), strict=True))
        return Score(counts=counts, total=total, figures=figures)


def _is_whole(value: Any) -> bool:
    return all(map(_is_whole, value)) if isinstance(value, list) else isinstance(value, int)
