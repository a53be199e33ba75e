"""The policy: from an architecture, probabilities of everything that it may become.

It answers decision by decision (`vitsearch.transitions`). The logit of an option is the sum over
its choices of a logit for each value; the mask is of whole options, since what is valid is no
product of choices.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from torch import nn

from vitsearch.spaces import Architecture
from vitsearch.transforming.encoder import WIDTH, make_encoder
from vitsearch.transforming.masked import masked_entropy, masked_log_softmax
from vitsearch.transitions import Decision, Transitions, Walk
from vitsearch.transitions.state import State, StateFormat

STAY_PROB = 0.7  # of a decision, before anything is learned
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision of a walk as rows of the table of logits, and what was taken.

    Attributes:
        places: (options, choices) positions in the flat table of logits of one state.
        valid: Positions of the options that may be taken.
        stay: The position of the option that changes nothing; `None` if there is none.
        taken: The position of the option taken.
    """

    places: list[list[int]]
    valid: tuple[int, ...]
    stay: int | None
    taken: int


@dataclass(frozen=True, slots=True)
class Transformation:
    """One walk of the policy.

    Attributes:
        given: Where it began.
        architecture: Where it ended.
        answers: On the way.
    """

    given: Architecture
    architecture: Architecture
    answers: tuple[Answer, ...]


class Draws:
    """Draws transformations of one architecture."""

    def __init__(
        self,
        given: Architecture,
        walk: Callable[[], Walk],
        table: list[float],
        places: Callable[[Decision], list[list[int]]],
    ) -> None:
        self._given, self._walk, self._table, self._places = given, walk, table, places

    def __call__(self, rng: random.Random | None, *, temperature: float = 1.0) -> Transformation:
        """Walk once.

        Args:
            rng: Source of randomness; `None` takes the most probable option of every decision.
            temperature: Above 1 draws are more even.
        """
        walk = self._walk()
        answers: list[Answer] = []
        try:
            decision = next(walk)
            while True:
                places = self._places(decision)
                number = self._taken(decision, places, rng, temperature)
                answers.append(Answer(places, decision.valid, decision.stay, number))
                decision = walk.send(number)
        except StopIteration as end:
            return Transformation(self._given, end.value, tuple(answers))

    def _taken(
        self,
        decision: Decision,
        places: list[list[int]],
        rng: random.Random | None,
        temperature: float,
    ) -> int:
        logits = []
        for option in decision.valid:
            logit = sum(self._table[place] for place in places[option])
            logits.append(logit + _bonus(decision.valid, decision.stay, option))
        if rng is None:
            best = max(range(len(logits)), key=lambda number: round(logits[number], _DIGITS))
            return decision.valid[best]
        most = max(logits)
        weights = [math.exp((logit - most) / temperature) for logit in logits]
        total = sum(weights)
        # Rounded, so that the last bits of another machine do not change what is drawn.
        ends = [round(end / total, _DIGITS) for end in accumulate(weights)]
        return decision.valid[min(bisect_right(ends[:-1], rng.random()), len(ends) - 1)]


class Policy(nn.Module):
    """Transforms architectures of one space under one rule; float64, on the CPU.

    Attributes:
        transitions: What an architecture may become.
        encoder_name: What reads its state.
    """

    def __init__(
        self,
        transitions: Transitions,
        *,
        encoder: str = "attention",
        num_classes: int = 1000,
        seed: int = 0,
    ) -> None:
        """Set up an untrained policy, which leaves most decisions as they are.

        Args:
            transitions: What an architecture may become.
            encoder: `attention`, or `gcn` as in the paper.
            num_classes: Of the classifier, whose cost counts.
            seed: Of the weights.

        Raises:
            ConfigError: No such encoder.
        """
        super().__init__()
        self.transitions = transitions
        self.encoder_name = encoder
        self._states = StateFormat(transitions.space, num_classes=num_classes)
        self._known: dict[Architecture, State] = {}
        relations = torch.from_numpy(self._states.relations)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = make_encoder(encoder, self._states.num_features, relations)
            sizes = {
                kind: [len(v) for (of, _), v in self._states.patterns.items() if of == kind]
                for kind in ("stage", "block")
            }
            self.heads = nn.ModuleDict(
                {kind: nn.Linear(WIDTH, sum(own)) for kind, own in sizes.items()}
            )
        for head in self.heads.values():
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        self._starts = {kind: self._offsets(kind) for kind in sizes}
        self._width = max(sum(own) for own in sizes.values())
        self.double()

    def _offsets(self, kind: str) -> dict[str, int]:
        """Where the values of each pattern begin in the logits of a node."""
        own = {name: len(v) for (of, name), v in self._states.patterns.items() if of == kind}
        starts = [0, *accumulate(own.values())]
        return dict(zip(own, starts, strict=False))

    def state(self, architecture: Architecture) -> State:
        """What the policy sees of an architecture."""
        if architecture not in self._known:
            self._known[architecture] = self._states.read(architecture)
        return self._known[architecture]

    def tables(self, states: Sequence[State]) -> torch.Tensor:
        """Logits of every value of every pattern, (states, nodes * values)."""
        features = torch.stack([torch.from_numpy(state.features) for state in states])
        x: torch.Tensor = self.encoder(features)
        is_block = torch.tensor([kind == "block" for kind in self._states.kinds])
        found = x.new_zeros(*x.shape[:2], self._width)
        for kind, which in (("stage", ~is_block), ("block", is_block)):
            logits = self.heads[kind](x[:, which])
            found[:, which, : logits.shape[-1]] = logits
        return found.flatten(1)

    # Drawing

    @torch.no_grad()
    def draws(self, given: Architecture) -> Draws:
        """What draws transformations of an architecture, as the policy is now.

        Raises:
            SpaceError: The architecture is not legal in the space.
        """
        table = self.tables([self.state(given)])[0].tolist()
        return Draws(given, partial(self.transitions.walk, given), table, self._places)

    def transform(self, given: Architecture, rng: random.Random | None = None) -> Transformation:
        """One transformation of an architecture; see `Draws`."""
        return self.draws(given)(rng)

    def _places(self, decision: Decision) -> list[list[int]]:
        node = self._states.place[decision.node]
        kind = self._states.kinds[node]
        start, starts = node * self._width, self._starts[kind]
        return [
            [
                start + starts[name] + self._states.code(kind, name, value)
                for name, value in option.items()
                if value is not None
            ]
            for option in decision.options
        ]

    # Learning

    def log_probs(
        self, transformations: Sequence[Transformation]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The log-probability of each walk, and its entropy summed over its decisions, (n,)."""
        given = list(dict.fromkeys(one.given for one in transformations))
        row_of = {architecture: row for row, architecture in enumerate(given)}
        tables = self.tables([self.state(architecture) for architecture in given])
        flat = torch.cat([tables, tables.new_zeros(len(given), 1)], dim=1)
        answers = [
            (number, row_of[one.given], answer)
            for number, one in enumerate(transformations)
            for answer in one.answers
        ]
        total = flat.new_zeros(2, len(transformations))
        if not answers:
            return total[0], total[1]
        options = max(len(answer.places) for _, _, answer in answers)
        choices = max(len(own) for _, _, a in answers for own in a.places)
        nothing = flat.shape[1] - 1
        index = torch.full((len(answers), options, choices), nothing)
        valid = torch.zeros(len(answers), options, dtype=torch.bool)
        bonus = flat.new_zeros(len(answers), options)
        for row, (_, _, answer) in enumerate(answers):
            for option, own in enumerate(answer.places):
                index[row, option, : len(own)] = torch.tensor(own, dtype=torch.int64)
            valid[row, list(answer.valid)] = True
            if answer.stay is not None:
                bonus[row, answer.stay] = _bonus(answer.valid, answer.stay, answer.stay)
        owner = torch.tensor([number for number, _, _ in answers])
        source = torch.tensor([row for _, row, _ in answers])
        taken = torch.tensor([answer.taken for _, _, answer in answers])
        logits = flat[source[:, None, None], index].sum(-1) + bonus
        log_probs = masked_log_softmax(logits, valid)
        chosen = log_probs.gather(1, taken[:, None])[:, 0]
        entropies = masked_entropy(log_probs, valid)
        return total[0].index_add(0, owner, chosen), total[1].index_add(0, owner, entropies)


def _bonus(valid: Sequence[int], stay: int | None, option: int) -> float:
    """Added to the logit of the option that changes nothing; see `STAY_PROB`."""
    if option != stay:
        return 0.0
    return math.log(STAY_PROB / (1 - STAY_PROB) * (len(valid) - 1))
