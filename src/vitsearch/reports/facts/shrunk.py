"""What a shrinking has found, as plain values: networks before any training, and what they keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vitsearch.errors import HistoryError
from vitsearch.reports.words.figure import Figure, figure_of
from vitsearch.spaces import Architecture

ENOUGH = 0.95
"""Of the full network's score; a network that keeps less needs training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network and its scores.

    Attributes:
        digest: Of its architecture.
        macs: Of one image.
        params: Its parameters.
        search: Score on the search split.
        test: Score on the test split; `None` where that was left alone.
        plain: Score on the search split, repaired from the calibration alone.
        architecture: What it is; `None` for the full network.
    """

    digest: str
    macs: int
    params: int
    search: float
    test: float | None
    plain: float
    architecture: Architecture | None = None

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Network:
        """From a record of `search/shrink.json`."""
        architecture = found.get("architecture")
        return cls(
            digest=str(found["digest"]),
            macs=int(found["macs"]),
            params=int(found["params"]),
            search=float(found["search"]),
            test=None if found["test"] is None else float(found["test"]),
            plain=float(found.get("plain", found["search"])),
            architecture=None if architecture is None else Architecture.from_dict(architecture),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForBudget:
    """The network that was chosen for a budget, and the uniform cut beside it."""

    budget: str
    network: Network
    uniform: Network | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """A uniform cut on the way: all blocks alike.

    Attributes:
        macs: Of one image.
        repaired: Score on the search split, repaired from the calibration.
        unrepaired: The same without any repair.
    """

    macs: int
    repaired: float
    unrepaired: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """All of a shrinking.

    Attributes:
        figure: What scores are.
        num_images: How many images of the search split they rest on.
        source: The network that it began with, in words.
        head: Where its classifier is from, in words.
        full: That network.
        networks: One for each budget, the largest first.
        uniform: Uniform cuts, the cheapest first.
    """

    figure: Figure
    num_images: int
    source: str
    head: str
    full: Network
    networks: tuple[ForBudget, ...]
    uniform: tuple[Uniform, ...]

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Shrunk:
        """From `search/shrink.json`.

        Raises:
            HistoryError: It is damaged.
        """
        try:
            return cls(
                figure=figure_of(found),
                num_images=int(found["num_images"]),
                source=str(found["source"]),
                head=str(found["head"]),
                full=Network.read(found["full"]),
                networks=tuple(_for_budget(one) for one in found["networks"]),
                uniform=tuple(sorted(map(_uniform, found["uniform"]), key=lambda one: one.macs)),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HistoryError(f"search/shrink.json is damaged: {error!r}") from error

    def keeps(self, score: float) -> float:
        """A score as a share of the full network's."""
        return score / self.full.search if self.full.search > 0 else 0.0

    def is_enough(self, score: float) -> bool:
        """Whether a network of this score can do without training."""
        return self.keeps(score) >= ENOUGH

    def train_below(self, points: Iterable[tuple[float, float]]) -> float | None:
        """The fewest MACs that keep enough; `None` where the networks of all budgets do.

        Args:
            points: MACs and scores of networks, beside those of the budgets.
        """
        chosen = [(one.network.macs, one.network.search) for one in self.networks]
        if all(self.is_enough(score) for _, score in chosen):
            return None
        several = [*points, *chosen, (self.full.macs, self.full.search)]
        return min(macs for macs, score in several if self.is_enough(score))


def _for_budget(found: Mapping[str, Any]) -> ForBudget:
    uniform = found["uniform"]
    return ForBudget(
        budget=str(found["budget"]),
        network=Network.read(found),
        uniform=None if uniform is None else Network.read(uniform),
    )


def _uniform(found: Mapping[str, Any]) -> Uniform:
    return Uniform(
        macs=int(found["macs"]),
        repaired=float(found["repaired"]),
        unrepaired=float(found["unrepaired"]),
    )
