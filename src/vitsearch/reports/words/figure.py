"""A figure that says how good a network is: what files call it, and how people read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vitsearch.costs import metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The figure that a search compares, or another one of a task; larger is better.

    Attributes:
        name: In files and logs: `top1`, `val/top1_largest`.
        label: In words.
        in_percent: Whether its values, in [0, 1], are shown so.
        share: Whether it is a share of independent images, which has a standard error.
    """

    name: str
    label: str
    in_percent: bool = True
    share: bool = True

    @property
    def noun(self) -> str:
        """In a sentence: `accuracy` where there is only one that can be meant."""
        return "accuracy" if self == TOP1 else self.label

    @property
    def scale(self) -> int:
        """By which a picture multiplies values."""
        return 100 if self.in_percent else 1

    def axis(self, words: str) -> str:
        """How a picture names an axis of values."""
        return f"{words} (%)" if self.in_percent else words

    def text(self, value: float) -> str:
        """A value as people read it."""
        return metrics.percent(value) if self.in_percent else f"{value:.4f}"

    def number(self, value: float) -> str:
        """The same without the sign for percent."""
        return self.text(value).removesuffix(" %")

    def spoken(self, value: float) -> str:
        """The same without signs, for people who hear it."""
        return f"{self.number(value)} percent" if self.in_percent else self.number(value)

    def difference(self, value: float) -> str:
        """A difference of two values, with its sign."""
        return f"{100 * value:+.1f} points" if self.in_percent else f"{value:+.4f}"

    def standard_error(self, value: float, total: int) -> float | None:
        """Of a value that rests on so many images; `None` where no closed form holds."""
        return float((value * (1 - value) / total) ** 0.5) if self.share else None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def capital(words: str) -> str:
    """Words that begin a sentence or title."""
    return words[:1].upper() + words[1:]


TOP1 = Figure(name=metrics.TOP1.name, label=metrics.TOP1.label)


def figure_of(record: Mapping[str, Any]) -> Figure:
    """The figure that a file names; files that name none are about top-1 accuracy."""
    found = record.get("figure")
    return TOP1 if found is None else Figure(**found)


def figure_entry(figure: Figure) -> dict[str, Any]:
    """What a file says of its figure: nothing if it is top-1 accuracy."""
    return {} if figure == TOP1 else {"figure": figure.to_dict()}
