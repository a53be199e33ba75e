"""What a searcher is: it proposes architectures, is told their scores, and remembers both.

Pure values and random numbers; no tensors, no files, no processes. Whoever scores the proposals
decides how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from vitsearch.spaces import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An architecture as the searcher proposed it.

    Attributes:
        architecture: What to score.
        generation: From 0.
        origin: `initial` (the search was given it), `random`, `mutation` or `crossover`, `sampler`
            (Optuna suggested it), `given` or `transformation` (of a policy), or `shrinking` (a
            training has left it).
        parents: Digests of the architectures that it came from.
        measured: Its measured costs, by name, where the search looks at any.
    """

    architecture: Architecture
    generation: int
    origin: str
    parents: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict, hash=False)


class Searcher(Protocol):
    """Proposes generations of architectures until it is done."""

    @property
    def num_candidates(self) -> int:
        """How many candidates a full search scores, at most."""

    def ask(self) -> list[Candidate]:
        """The next generation, none of it proposed before; empty when the search is over."""

    def tell(self, scores: Sequence[float | None]) -> None:
        """Scores of the generation last asked for, in its order; larger is better.

        `None` is the score of a candidate that was dropped early: it is no parent, never the best,
        and not proposed again.
        """

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on, as JSON-ready data."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""


@runtime_checkable
class FrontSearcher(Protocol):
    """A searcher for several objectives: accuracy, and costs that it makes small.

    Attributes:
        minimise: The costs, by name.
    """

    minimise: tuple[str, ...]

    def front(self) -> list[Architecture]:
        """What no other architecture of the history betters in one objective without loss."""
