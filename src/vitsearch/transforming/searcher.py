"""The policy inside a search: it learns from candidates, then transforms what it is given.

In each learning generation it draws architectures, transforms each several times, and learns from
what the transformations gain. The last generation has the given architectures and distinct
transformations of each. All random numbers depend on the seed and the generation alone, and a
search that is told the same scores learns the same policy.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.errors.checks import check_number, check_whole
from vitsearch.searchers.base import Candidate
from vitsearch.searchers.generations import GenerationalSearcher
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.transforming.learning import Group, Learner
from vitsearch.transforming.policy import Policy, Transformation
from vitsearch.transitions import Transitions, make_transitions
from vitsearch.transitions.by_rule import Table

_TRIES = 20  # for each distinct transformation, at temperature 1, then as many at a higher one
_HOT = 3.0


class TransformerSearcher(GenerationalSearcher):
    """Learns to transform architectures, then transforms some (NAT, Guo et al., NeurIPS 2019).

    Attributes:
        policy: What learns.
        inputs: Architectures drawn in a learning generation.
        draws: Transformations of each.
        candidates: Transformations of each given architecture at the end.
        top: How many of the best so far are transformed at the end where none are given.
        rule: What may become of an architecture; see `vitsearch.transitions.RULES`.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        rule: str = "cheaper",
        table: Table | None = None,
        encoder: str = "attention",
        learning: int = 40,
        inputs: int = 4,
        draws: int = 4,
        candidates: int = 10,
        top: int = 5,
        lr: float = 3e-3,
        entropy_weight: float = 0.03,
        seed: int = 0,
        num_classes: int = 1000,
        measure: Measures | None = None,
        given: Sequence[Architecture] = (),
        transitions: Transitions | None = None,
        policy: Policy | None = None,
    ) -> None:
        """Set up a search.

        Args:
            space: Where to search.
            constraint: The budget that every scored architecture keeps; none by default.
            rule: What may become of an architecture: `cheaper`, `within` or `table`.
            table: Of rule `table`.
            encoder: `attention`, or `gcn` as in the paper.
            learning: Generations in which the policy learns; 0 for a policy that has learned.
            inputs: Architectures drawn in each of them.
            draws: Transformations of each; two at least.
            candidates: Distinct transformations of each given architecture at the end.
            top: How many of the best so far are transformed where none are given.
            lr: Learning rate of Adam.
            entropy_weight: Of the entropy of a walk, in nats, beside advantages of mean size 1.
            seed: Start of the random numbers.
            num_classes: Of the classifier, whose cost counts.
            measure: For each measured cost in the budget, what measures an architecture.
            given: The architectures to transform.
            transitions: In the place of `rule` and `table`.
            policy: In the place of a new one.

        Raises:
            ConfigError: A number is out of range, or there is no such rule or encoder.
            ConstraintError: The space does not reach the budget.
            SpaceError: A given architecture is not legal in the space.
        """
        check_whole("searcher.learning", learning, 0)
        check_whole("searcher.inputs", inputs, 1)
        check_whole("searcher.draws", draws, 2)
        check_whole("searcher.candidates", candidates, 1)
        check_whole("searcher.top", top, 1)
        super().__init__(
            space,
            constraint,
            population=1,
            generations=learning + 1,
            seed=seed,
            num_classes=num_classes,
            measure=measure,
            initial=given,
        )
        self.inputs, self.draws = inputs, draws
        self.candidates, self.top = candidates, top
        self.lr = check_number("searcher.lr", lr, "(0, 1]")
        self.entropy_weight = check_number("searcher.entropy_weight", entropy_weight, "[0, inf)")
        if transitions is None:
            transitions = make_transitions(space, rule, table=table, num_classes=num_classes)
        self.rule = transitions.rule
        self._transitions, self._encoder, self._given_policy = transitions, encoder, policy
        self._num_classes = num_classes
        self._start()

    def _start(self) -> None:
        made = self._given_policy or Policy(
            self._transitions, encoder=self._encoder, num_classes=self._num_classes, seed=self.seed
        )
        self.policy = made
        self._learner = Learner(made, lr=self.lr, entropy_weight=self.entropy_weight)
        self._walks: list[list[Transformation]] = []

    @property
    def num_candidates(self) -> int:
        """How many candidates a full search scores, at most."""
        learning = (self.generations - 1) * self.inputs * (self.draws + 1)
        return learning + (len(self._initial) or self.top) * (self.candidates + 1)

    def ask(self) -> list[Candidate]:
        """The next generation; generations of which all is scored are learned from at once."""
        while not (asked := super().ask()) and self._generation < self.generations:
            self.tell([])
        return asked

    def tell(self, scores: Sequence[float | None]) -> None:
        """Scores of the generation last asked for; the policy learns from them."""
        super().tell(scores)
        self._learn()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`: the policy learns again from the scores."""
        super().load_state_dict(state)
        reached = self._generation
        self._start()
        for self._generation in range(reached):
            self._walks = self._walk(random.Random(f"{self.seed}/{self._generation}"))
            self._learn()
        self._generation = reached

    def _learn(self) -> None:
        groups = []
        for walks in self._walks:
            base = self._scores.get(walks[0].given)
            scored = [(one, self._scores.get(one.architecture)) for one in walks]
            known = [(one, score) for one, score in scored if score is not None]
            if base is not None and len(known) > 1:
                rewards = [score - base for _, score in known]
                groups.append(Group([one for one, _ in known], rewards))
        self._walks = []
        if groups and self._given_policy is None:
            self._learner.step(groups)

    def _first(self, rng: random.Random) -> list[Candidate]:
        return self._children(rng)

    def _children(self, rng: random.Random) -> list[Candidate]:
        self._walks = self._walk(rng)
        found: dict[Architecture, Candidate] = {}

        def add(architecture: Architecture, origin: str, *parents: Architecture) -> None:
            if architecture in found or architecture in self._scores:
                return
            if self.budget.holds(architecture):
                found[architecture] = Candidate(
                    architecture=architecture,
                    generation=self._generation,
                    origin=origin,
                    parents=tuple(parent.digest for parent in parents),
                )

        for walks in self._walks:
            add(walks[0].given, "given")
            for one in walks:
                add(one.architecture, "transformation", one.given)
        return list(found.values())

    def _walk(self, rng: random.Random) -> list[list[Transformation]]:
        """The transformations of the present generation, by what they begin with."""
        if self._generation < self.generations - 1:
            held_out = set(self._initial)
            drawn = self.budget.draw(self.inputs, rng, known=held_out)
            if not drawn:
                raise self.budget.nothing_found()
            draws = [self.policy.draws(architecture) for architecture in drawn]
            return [[draw(rng) for _ in range(self.draws)] for draw in draws]
        given = list(self._initial) or self.best(self.top)
        return [distinct(self.policy, one, self.candidates, rng) for one in given]


def distinct(
    policy: Policy, given: Architecture, count: int, rng: random.Random
) -> list[Transformation]:
    """The most probable transformation, then others that differ from it and each other.

    A policy that has learned repeats itself: what is drawn again is drawn once more, at last at a
    higher temperature.
    """
    draw = policy.draws(given)
    first = draw(None)
    found: dict[Architecture, Transformation] = {}
    if first.architecture != given:
        found[first.architecture] = first
    for temperature in (1.0, _HOT):
        for _ in range(_TRIES * count):
            if len(found) == count:
                break
            one = draw(rng, temperature=temperature)
            if one.architecture != given:
                found.setdefault(one.architecture, one)
    return list(found.values()) or [first]
