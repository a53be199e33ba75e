"""`vitsearch.transform`: a better architecture than a given one, in a call."""

from __future__ import annotations

import random
from collections.abc import Callable

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_whole
from vitsearch.searchers import LocalSearcher
from vitsearch.shrinking.fidelity import Fidelity
from vitsearch.spaces import Architecture
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.repairing.calibration import Calibration
from vitsearch.transforming.policy import Policy
from vitsearch.transforming.reachable import Reachable
from vitsearch.transforming.searcher import distinct
from vitsearch.transitions import make_transitions

Score = Callable[[Architecture], float]


def transform(
    network: SuperTransformer,
    architecture: Architecture,
    *,
    score: Score | None = None,
    calibration: Calibration | None = None,
    candidates: int = 50,
    policy: Policy | None = None,
    rule: str = "cheaper",
    seed: int = 0,
) -> Architecture:
    """Find a better architecture than a given one, by local search or with a policy.

    Args:
        network: The supernet that the architecture is of.
        architecture: The given one.
        score: How good an architecture is, larger is better: its accuracy with the supernet's
            weights, say. By default the mean cosine of its repaired features with those of the
            largest network, which takes a calibration.
        calibration: Of the network, made here, for the score by default.
        candidates: How many architectures are scored besides the given one.
        policy: A policy that has learned; without one the search is local.
        rule: What may become of the architecture: `cheaper` (no slot may become dearer) or
            `within` (others may pay for it). A policy brings its own.
        seed: Start of the random numbers.

    Returns:
        The best architecture scored; the given one where none is better.

    Raises:
        ConfigError: There is neither a score nor a calibration with images, or no such rule.
        SpaceError: The architecture is not legal in the network's space.
    """
    check_whole("candidates", candidates, 1)
    space, classes = network.space, network.num_classes
    space.validate(architecture)
    judge = _fidelity(network, calibration) if score is None else score
    transitions = (
        make_transitions(space, rule, num_classes=classes) if policy is None else policy.transitions
    )
    if policy is not None:
        made = distinct(policy, architecture, candidates, random.Random(seed))
        scores = {one.architecture: judge(one.architecture) for one in made}
        scores[architecture] = judge(architecture)
    else:
        searcher = LocalSearcher(
            space,
            candidates=candidates + 1,
            neighbours=10,
            seed=seed,
            num_classes=classes,
            initial=(architecture,),
            allowed=Reachable(transitions, architecture),
        )
        while asked := searcher.ask():
            searcher.tell([judge(candidate.architecture) for candidate in asked])
        scores = searcher.scored()

    def rank(one: Architecture) -> tuple[float, bool, int, str]:
        return (-scores[one], one != architecture, network.cost(one).macs, one.digest)

    return min(scores, key=rank)


def _fidelity(network: SuperTransformer, calibration: Calibration | None) -> Score:
    if calibration is None or not calibration.images:
        raise ConfigError(
            "transform needs score=<a function of an architecture>, or calibration=<one with "
            "images, made by network.calibrate>"
        )
    judge = Fidelity(network.extract(network.largest), calibration.images)
    return lambda one: judge(network.extract(one, calibration=calibration))
