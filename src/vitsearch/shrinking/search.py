"""From a calibrated network to its front: profile, NSGA-II on repaired candidates, finalists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from vitsearch.costs import Constraint
from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole
from vitsearch.searchers import Nsga2Searcher
from vitsearch.shrinking.budget import Budget, read_budgets
from vitsearch.shrinking.elastic_network import Elastic, FrontPoint
from vitsearch.shrinking.fidelity import Fidelity
from vitsearch.shrinking.profile import Profile, profile_branches
from vitsearch.spaces import Architecture
from vitsearch.supernet.repairing.calibration import Calibration
from vitsearch.supernet.super_transformer import SuperTransformer
from vitsearch.supernet.vision_transformer import VisionTransformer

PROFILE_IMAGES = 32
_SCORE_IMAGES = 256
_STEPS = 8  # architectures of the profile between the smallest budget and the full network
_MARGIN = 0.9  # of the smallest budget: what the search looks at beyond it

Score = Callable[[VisionTransformer], float]


def shrink(
    network: SuperTransformer,
    calibration: Calibration,
    *,
    score: Score | None = None,
    budgets: Sequence[float | str] | float | str = (0.75, 0.5),
    population: int = 24,
    generations: int = 4,
    seed: int = 0,
) -> Elastic:
    """Find the sub-networks that keep most for every budget, without any training.

    Args:
        network: Calibrated, in order (`SuperTransformer.order`), in eval mode.
        calibration: Of it, made here: its images are looked at again.
        score: From a repaired network to how good it is, larger is better; by default the mean
            cosine of its features with the full network's, on calibration images.
        budgets: Of the networks that matter: shares of the full network's MACs (0.5, `50%`), or
            MACs (`2.3G`). The front reaches from the smallest to the full network.
        population: Candidates of the first generation, and survivors of each.
        generations: Generations in all.
        seed: Start of the random numbers.

    Returns:
        `Elastic.at(macs=0.5)` is the network for a budget.

    Raises:
        ConfigError: The calibration holds no images, or a number is out of range.
        ConstraintError: A budget is malformed or out of reach.
    """
    check_whole("population", population, 2)
    if not calibration.images:
        raise ConfigError(
            "calibration has no images: it was read from a file; calibrate the network here"
        )
    full = network.cost(network.largest)
    limits = read_budgets(budgets, network.space, full, network.num_classes)
    profile = profile_branches(network, calibration, first_images(calibration, PROFILE_IMAGES))
    judge: Score = score or Fidelity(
        network.extract(network.largest), first_images(calibration, _SCORE_IMAGES)
    )
    searcher = Nsga2Searcher(
        network.space,
        Constraint(macs=(_MARGIN * limits[-1].macs, full.macs)),
        population=population,
        generations=generations,
        mutations=population // 2,
        crossovers=population - population // 2,
        mutation_prob=0.05,
        seed=seed,
        num_classes=network.num_classes,
        initial=first_candidates(profile, limits, full.macs, network.largest),
    )
    while candidates := searcher.ask():
        repaired = (network.extract(c.architecture, calibration=calibration) for c in candidates)
        searcher.tell([judge(one) for one in repaired])
    scored = searcher.scored()
    points = [
        FrontPoint(architecture=a, cost=network.cost(a), score=scored[a])
        for a in (*searcher.front(), network.largest)
    ]
    return Elastic(
        supernet=network,
        calibration=calibration,
        front=full_last(points, network.largest),
        figure="fidelity" if score is None else "score",
    )


def full_last(points: Iterable[FrontPoint], largest: Architecture) -> tuple[FrontPoint, ...]:
    """A front, the cheapest first and the full network last, even where a smaller one beats it.

    Args:
        points: The front and the full network.
        largest: The full network's architecture.
    """
    by_architecture = {point.architecture: point for point in points}
    full = by_architecture.pop(largest)
    smaller = sorted(by_architecture.values(), key=lambda p: (p.cost.macs, p.score))
    return (*smaller, full)


def first_candidates(
    profile: Profile, budgets: Sequence[Budget], full: float, largest: Architecture
) -> list[Architecture]:
    """What a search begins with: the profile's architecture for each budget and some between.

    Where tokens can become fewer, also those for each budget with fewer tokens.
    """
    smallest = min(budget.macs for budget in budgets)
    between = [smallest * (full / smallest) ** (step / _STEPS) for step in range(_STEPS)]
    macs = sorted({*(budget.macs for budget in budgets), *between})
    found = [profile.within(limit) for limit in macs]
    for other in profile.by_tokens()[1:]:
        fitting = [budget.macs for budget in budgets if other.cheapest <= budget.macs]
        found += [other.within(macs) for macs in fitting]
    return list(dict.fromkeys([*found, largest]))


def first_images(calibration: Calibration, count: int) -> list[Tensor]:
    """The first calibration images, batch by batch."""
    return list(_first(calibration.images, count))


def _first(batches: Sequence[Tensor], count: int) -> Iterator[Tensor]:
    left = count
    for batch in batches:
        if left <= 0:
            return
        yield batch[:left]
        left -= len(batch)


@torch.no_grad()
def finalist(
    network: SuperTransformer,
    calibration: Calibration,
    architectures: Sequence[Architecture],
    score: Score,
) -> tuple[Architecture, VisionTransformer, float]:
    """The best of a few architectures once each is repaired through the cut network.

    Args:
        network: Where they are taken out.
        calibration: Of it, with its images.
        architectures: Of about equal cost.
        score: From a network to how good it is.

    Returns:
        Which, the network, and its score.
    """
    found: list[tuple[float, int, VisionTransformer]] = []
    for number, architecture in enumerate(architectures):
        made = network.extract(architecture, calibration=calibration, images=calibration.images)
        found.append((score(made), -number, made))
    best = max(found, key=lambda one: one[:2])
    return architectures[-best[1]], best[2], best[0]
