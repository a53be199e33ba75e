"""AZ-NAS: ranks by expressivity, trainability and MACs, put together.

Source: AZ-NAS (Lee and Ham, CVPR 2024), section 3.3. Its progressivity is for convolutional spaces;
for transformers the authors leave it out, and so is it here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from vitsearch.training_free.base import TrainingFreeScore


def rank_aggregate(proxies: Sequence[Sequence[float]]) -> list[float]:
    """Sum over proxies of log(rank / n): bad for whoever is bad by one of them.

    Args:
        proxies: The scores (n,) of each. Rank n is the best; equals share the mean of their ranks.

    Returns:
        (n,): 0 for whoever is best by all.
    """
    shares = [[rank / len(values) for rank in _ranks(values)] for values in proxies]
    return [sum(map(math.log, own)) for own in zip(*shares, strict=True)]


def _ranks(values: Sequence[float]) -> list[float]:
    below = [sum(other < value for other in values) for value in values]
    equal = [sum(other == value for other in values) for value in values]
    return [low + (same + 1) / 2 for low, same in zip(below, equal, strict=True)]


AZ_NAS = TrainingFreeScore(
    name="az_nas",
    title="AZ-NAS",
    paper="Lee and Ham, CVPR 2024",
    needs="its proxies of the whole set: ranks are taken inside it",
    proxies=("az_expressivity", "az_trainability", "macs"),
    combine=rank_aggregate,
)
