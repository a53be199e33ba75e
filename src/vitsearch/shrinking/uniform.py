"""The uniform cut: what people do without a search, all blocks alike in MLP width and heads."""

from __future__ import annotations

from itertools import product

from vitsearch.costs import CostModel
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.choice import Choice, Value

_CUT = ("mlp_hidden", "num_heads")
_NEAR = 0.95  # of a budget: cuts that spend as much of it compare by how evenly they cut


class UniformCuts:
    """Every architecture of a space that cuts all blocks alike; nothing else is cut."""

    def __init__(self, space: SearchSpace, num_classes: int) -> None:
        """List them.

        Args:
            space: Of a converted network.
            num_classes: Of the classifier, whose cost counts.
        """
        shares = [_shares(space, name) for name in _CUT]
        model = CostModel(space, num_classes)
        found: dict[Architecture, tuple[bool, float]] = {}
        for pair in product(*shares):
            architecture = _cut(space, dict(zip(_CUT, pair, strict=True)))
            uneven = (pair[1] < pair[0], abs(pair[0] - pair[1]))
            found[architecture] = min(uneven, found.get(architecture, uneven))
        self._cuts = [(model.cost(a).macs, uneven, a) for a, uneven in found.items()]

    def below(self, macs: float) -> Architecture | None:
        """The uniform cut nearest below a number of MACs; `None` where the smallest costs more.

        Of those about as near it is the most even one that cuts heads no further than MLPs: heads
        are fewer, and each of them matters more.
        """
        inside = [cut for cut in self._cuts if cut[0] <= macs]
        if not inside:
            return None
        most = max(cost for cost, _, _ in inside)
        near = [cut for cut in inside if cut[0] >= min(_NEAR * macs, most)]
        return min(near, key=lambda cut: (cut[1], -cut[0], cut[2].digest))[2]


def _shares(space: SearchSpace, name: str) -> list[float]:
    """The shares of its largest size that a kind of choice offers anywhere."""
    found = {
        float(option) / float(choice.options[-1])
        for choice in space.choices
        if choice.name.endswith(f".{name}")
        for option in choice.options
    }
    return sorted(found) or [1.0]


def _cut(space: SearchSpace, shares: dict[str, float]) -> Architecture:
    whole = space.largest()

    def pick(choice: Choice) -> Value:
        share = shares.get(choice.name.rpartition(".")[2])
        if share is None:
            return whole[choice.name] if choice.name in whole else choice.options[-1]
        limit = share * float(choice.options[-1]) * (1 + 1e-9)
        fitting = [option for option in choice.options if float(option) <= limit]
        return fitting[-1] if fitting else choice.options[0]

    return space.complete(pick)
