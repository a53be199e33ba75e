"""What became of given architectures, as `search/transformed.json` holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vitsearch.transitions import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One of the two architectures of a transformation.

    Attributes:
        digest: Of the architecture.
        architecture: By choice name.
        costs: By name.
        search: Its figure on the search split.
        test: On the test split, if that was read.
    """

    digest: str
    architecture: Mapping[str, Any]
    costs: Mapping[str, float]
    search: float
    test: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformed:
    """A given architecture, and what became of it.

    Attributes:
        before: The given one.
        after: The best that it may become; the given one where nothing beats it.
        changes: Choices with another value.
    """

    before: End
    after: End
    changes: Sequence[Change]

    @property
    def gain(self) -> float:
        """On the search split."""
        return self.after.search - self.before.search

    def to_dict(self) -> dict[str, Any]:
        """As the file holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Transformed:
        """The inverse of `to_dict`."""
        return cls(
            before=End(**found["before"]),
            after=End(**found["after"]),
            changes=tuple(Change(**change) for change in found["changes"]),
        )


def transitions_by_kind(found: Sequence[Transformed]) -> Counter[tuple[str, str]]:
    """How often a choice became another value: counts by level and what changed, in words.

    What changed is the choice without its place, and both values: `mlp_ratio 4 -> 2`.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for one in found:
        for change in one.changes:
            name = change.name.rpartition(".")[2]
            before, after = (_word(value) for value in (change.before, change.after))
            counts[change.level, f"{name} {before} -> {after}"] += 1
    return counts


def _word(value: object) -> str:
    return "none" if value is None else str(value)
