"""One search made of several: every given architecture has a searcher of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vitsearch.searchers.base import Candidate, Searcher
from vitsearch.spaces import Architecture


class EachSearcher:
    """Asks several searchers in turn, as one; what two of them propose is scored once.

    Attributes:
        searcher: What each of them is called, for the record.
        given: The digests of the architectures that they begin with.
        rule: What these may become, by name.
        candidates: How many candidates each may propose, at most.
        seeds: Their seeds.
    """

    def __init__(
        self, given: Sequence[Architecture], make: Callable[[Architecture], Searcher], rule: str
    ) -> None:
        """Make the searchers.

        Args:
            given: The architectures to begin with.
            make: A searcher for one of them, which proposes it first.
            rule: What it may propose, for the record.
        """
        self._searchers = [make(architecture) for architecture in given]
        self.searcher = type(self._searchers[0]).__qualname__
        self.rule = rule
        self.given = tuple(architecture.digest for architecture in given)
        self.candidates = max(searcher.num_candidates for searcher in self._searchers)
        self.seeds = tuple(getattr(searcher, "seed", None) for searcher in self._searchers)
        self._scores: dict[Architecture, float | None] = {}
        self._asked: list[list[Candidate]] = []
        self._new: list[Candidate] | None = None
        self._generation = 0

    @property
    def num_candidates(self) -> int:
        """How many candidates a full search scores, at most."""
        return sum(searcher.num_candidates for searcher in self._searchers)

    def ask(self) -> list[Candidate]:
        """What all of them ask and none has asked before; empty when all are done."""
        while self._new is None:
            self._asked = [searcher.ask() for searcher in self._searchers]
            if not any(self._asked):
                return []
            new: dict[Architecture, Candidate] = {}
            for candidate in (one for asked in self._asked for one in asked):
                if candidate.architecture not in self._scores:
                    new.setdefault(
                        candidate.architecture, replace(candidate, generation=self._generation)
                    )
            self._new = list(new.values())
            if not self._new:
                self.tell([])
        return list(self._new)

    def tell(self, scores: Sequence[float | None]) -> None:
        """Scores of what was last asked; every searcher is told those of its own candidates."""
        assert self._new is not None, "ask first"
        self._scores |= {c.architecture: s for c, s in zip(self._new, scores, strict=True)}
        for searcher, asked in zip(self._searchers, self._asked, strict=True):
            if asked:
                searcher.tell([self._scores[candidate.architecture] for candidate in asked])
        self._new = None
        self._generation += 1

    def state_dict(self) -> dict[str, Any]:
        """The states of all of them, and their scores."""
        return {
            "generation": self._generation,
            "searchers": [searcher.state_dict() for searcher in self._searchers],
            "scores": [[a.to_dict(), score] for a, score in self._scores.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        for searcher, own in zip(self._searchers, state["searchers"], strict=True):
            searcher.load_state_dict(own)
        self._generation = int(state["generation"])
        self._scores = {Architecture.from_dict(a): score for a, score in state["scores"]}
        self._new = None
