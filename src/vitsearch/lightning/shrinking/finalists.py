"""The last round: the best candidates of a budget, repaired through the cut network.

It takes a pass over the calibration images for each network, so only a few get it. Beside them
stands the uniform cut of the same budget, repaired alike. Each process repairs some of them, and
all know all scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from vitsearch.lightning.distributed import gathered, leave_if_wished, rank_and_world
from vitsearch.lightning.scoring.distributed import even_shares
from vitsearch.lightning.scoring.repaired import RepairedScorer
from vitsearch.lightning.search.result import Scored
from vitsearch.lightning.shrinking.targets import Target
from vitsearch.lightning.tasks import Score
from vitsearch.lightning.threads import spare_threads
from vitsearch.shrinking import UniformCuts
from vitsearch.spaces import Architecture
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.repairing.refitting import refit_branches

PLAIN, SEQUENTIAL = "plain", "sequential"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """A repaired network with its scores.

    Attributes:
        architecture: What it is.
        repair: `sequential`, or `plain` where that scores better.
        plain: Score on the search split, repaired from the calibration alone.
        search: Score on the search split, as it is.
        test: Score on the test split; `None` without one.
    """

    architecture: Architecture
    repair: str
    plain: Score
    search: Score
    test: Score | None = None

    def record(self, scorer: RepairedScorer) -> dict[str, Any]:
        """As plain data."""
        return {
            "digest": self.architecture.digest,
            "repair": self.repair,
            **scorer.net.cost(self.architecture).to_dict(),
            "plain": self.plain.value,
            "search": self.search.value,
            "test": None if self.test is None else self.test.value,
            "architecture": self.architecture.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The network of a budget, and the uniform cut beside it.

    Attributes:
        best: Which.
        network: Itself, on the CPU.
        uniform: The uniform cut; `None` where none fits the budget.
    """

    best: Finalist
    network: VisionTransformer
    uniform: Finalist | None


class LastRound:
    """Repairs and compares the finalists of each budget."""

    def __init__(
        self, scorer: RepairedScorer, history: Sequence[Scored], *, count: int, test: Any = None
    ) -> None:
        """Set up.

        Args:
            scorer: Scores on the search split; its calibration holds the images.
            history: All candidates.
            count: How many of each budget are repaired.
            test: A scorer on the test split, if it may be read.
        """
        self._scorer = scorer
        self._history = history
        self._plain = {one.candidate.architecture: one.score for one in history}
        self._count = count
        self._test: RepairedScorer | None = test
        self._made: dict[Architecture, tuple[Finalist, VisionTransformer]] = {}
        self._cuts = UniformCuts(scorer.net.space, scorer.net.num_classes)

    def choose(self, target: Target) -> Chosen | None:
        """The best network of a budget; `None` where no candidate is inside it."""
        inside = [one for one in self._history if target.holds(one.candidate, one.cost)]
        if not inside:
            return None
        ranked = sorted(
            inside,
            key=lambda one: (-one.score.value, one.cost.macs, one.candidate.architecture.digest),
        )
        best = [one.candidate.architecture for one in ranked[: self._count]]
        limit = target.macs
        if limit is None:
            limit = float(ranked[0].cost.macs)
        uniform = self._cuts.below(limit)
        several = best if uniform is None else [*best, uniform]
        scored, networks = self._repaired(several)
        winner = max(range(len(best)), key=lambda i: (scored[i].search.value, -i))
        wanted = [winner] if uniform is None else [winner, len(best)]
        tested, states = self._tested(wanted, scored, networks)
        network = VisionTransformer(
            self._scorer.net.space,
            best[winner],
            num_classes=self._scorer.net.num_classes,
        )
        network.load_state_dict(states)
        network.class_names = self._scorer.net.class_names
        return Chosen(
            best=tested[winner],
            network=network.eval(),
            uniform=None if uniform is None else tested[len(best)],
        )

    def _repaired(
        self, several: Sequence[Architecture]
    ) -> tuple[list[Finalist], dict[int, VisionTransformer]]:
        """Every network with its scores, and those that this process has repaired itself."""
        scorer = self._scorer
        rank, world = rank_and_world()
        macs = [float(scorer.net.cost(architecture).macs) for architecture in several]
        own = even_shares(macs, world)[rank]
        networks: dict[int, VisionTransformer] = {}
        found: dict[int, Finalist] = {}
        shares = even_shares([macs[index] for index in own], spare_threads())
        groups = [[own[place] for place in share] for share in shares if share]
        made = scorer.side_by_side(
            self._repair, [[several[index] for index in group] for group in groups]
        )
        for group, pairs in zip(groups, made, strict=True):
            for index, (finalist, network) in zip(group, pairs, strict=True):
                found[index], networks[index] = finalist, network
        everyone = {i: one for share in gathered(found) for i, one in share.items()}
        leave_if_wished(scorer.device)
        return [everyone[index] for index in range(len(several))], networks

    @torch.no_grad()
    def _repair(
        self, architectures: Sequence[Architecture]
    ) -> list[tuple[Finalist, VisionTransformer]]:
        """Networks and their scores; some may be finalists of another budget, too."""
        scorer, calibration = self._scorer, self._scorer.calibration
        new = [a for a in dict.fromkeys(architectures) if a not in self._made]
        networks = [scorer.net.extract(a, calibration=calibration) for a in new]
        refit_branches(
            scorer.net,
            networks,
            calibration.images,
            pause=partial(leave_alone_if_wished, scorer.device),
        )
        for architecture, network in zip(new, networks, strict=True):
            self._made[architecture] = self._scored(architecture, network)
        return [self._made[architecture] for architecture in architectures]

    def _scored(
        self, architecture: Architecture, network: VisionTransformer
    ) -> tuple[Finalist, VisionTransformer]:
        """The better of both repairs, given the sequential one, with its scores."""
        scorer = self._scorer
        plain = self._plain.get(architecture)
        if plain is None:
            plain = scorer.score(architecture)
        score, repair = scorer.score_as_is(network), SEQUENTIAL
        if plain.value > score.value:
            network, score, repair = scorer.extract(architecture), plain, PLAIN
        found = Finalist(architecture=architecture, repair=repair, plain=plain, search=score)
        return found, network

    def _tested(
        self,
        wanted: Sequence[int],
        scored: Sequence[Finalist],
        networks: dict[int, VisionTransformer],
    ) -> tuple[dict[int, Finalist], dict[str, torch.Tensor]]:
        """Those that count on the test split, and the weights of the first."""
        own: dict[int, Score | None] = {}
        state: dict[str, torch.Tensor] = {}
        for index in wanted:
            if index not in networks:
                continue
            own[index] = None if self._test is None else self._test.score_as_is(networks[index])
            if index == wanted[0]:
                state = {name: t.cpu() for name, t in networks[index].state_dict().items()}
        tests: dict[int, Score | None] = {}
        for others, weights in gathered((own, state)):
            tests |= others
            state = weights or state
        return {index: replace(scored[index], test=tests[index]) for index in wanted}, state


def leave_alone_if_wished(device: torch.device) -> None:
    """End where an end was wished; with several processes only where they meet."""
    if rank_and_world()[1] == 1:
        leave_if_wished(device)
