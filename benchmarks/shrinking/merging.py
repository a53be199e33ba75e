"""vitsearch: fewer tokens (ToMe), alone and together with narrower layers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import vitsearch
from benchmarks.shrinking.trial import Candidate, Trial
from vitsearch import SuperTransformer
from vitsearch.shrinking import Profile, profile_branches
from vitsearch.shrinking.fidelity import Fidelity
from vitsearch.shrinking.profile import architecture_of
from vitsearch.shrinking.search import PROFILE_IMAGES, finalist, first_images
from vitsearch.spaces import Architecture
from vitsearch.supernet.repairing.calibration import Calibration

MERGED = (0, 1, 2, 3, 4)  # tokens fewer in every block
_SCORE_IMAGES = 256
ALONE = "vitsearch, merged tokens, unrepaired"
REPAIRED = "vitsearch, merged tokens, sequential repair"
BOTH = "vitsearch, merged tokens and profile, sequential repair"


def merging(trial: Trial, budgets: tuple[float, ...]) -> Iterator[Candidate]:
    """As few merged tokens as a budget needs; then, of each number, the profile's widths.

    Of the latter the one is taken whose features are most like the full network's; without labels.
    """
    network = vitsearch.from_timm(trial.network, tokens={"kind": "merge", "merged": list(MERGED)})
    calibration = network.calibrate(trial.batches)
    network.order(calibration)
    images = first_images(calibration, PROFILE_IMAGES)
    profile = profile_branches(network, calibration, images)
    judge = Fidelity(network.extract(network.largest), first_images(calibration, _SCORE_IMAGES))
    for budget in budgets:
        alone = merged_alone(network, budget * trial.macs)
        for method, images_again in ((ALONE, None), (REPAIRED, trial.batches)):
            began = time.perf_counter()
            own = calibration if images_again else None
            made = network.extract(alone, calibration=own, images=images_again)
            seconds = time.perf_counter() - began
            yield Candidate(method=method, budget=budget, network=made, seconds=seconds)
        yield together(network, calibration, profile, judge, budget, trial.macs)


def merged_alone(network: SuperTransformer, macs: float) -> Architecture:
    """Of the networks that are whole but for their tokens, the largest within a budget."""
    whole = network.largest.to_dict()
    each = [
        architecture_of(network.space, {**whole, "stages.0.merged": number}) for number in MERGED
    ]
    inside = [one for one in each if network.cost(one).macs <= macs]
    return max(inside or each[-1:], key=lambda one: network.cost(one).macs)


def together(
    network: SuperTransformer,
    calibration: Calibration,
    profile: Profile,
    judge: Fidelity,
    budget: float,
    macs: float,
) -> Candidate:
    """The best of one network for each number of merged tokens."""
    began = time.perf_counter()
    each = []
    for own in profile.by_tokens():
        if own.cheapest <= budget * macs:
            each.append(own.within(budget * macs))
    architecture, made, _ = finalist(network, calibration, each, judge)
    note = f"{architecture['stages.0.merged']} tokens fewer in every block"
    seconds = time.perf_counter() - began
    return Candidate(method=BOTH, budget=budget, network=made, seconds=seconds, note=note)
