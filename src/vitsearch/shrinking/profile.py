"""What each branch's sizes cost in quality, one branch at a time: where a budget is best saved.

For every size of a branch it is known how far the repaired output is from the original's, as a
share of the variance of the tokens that it is added to: that is its loss, and losses of branches
are added up. The best network of a budget under this sum has a closed form: each branch takes the
size with the least loss + price * MACs (Shoham and Gersho, 1988, who allocate bits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from vitsearch.costs.metrics import human
from vitsearch.errors import ConstraintError
from vitsearch.shrinking.branch_errors import BranchErrors, Values, branch_errors
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.choice import Choice, Value
from vitsearch.spaces.plan import Plan
from vitsearch.supernet.repairing.calibration import Calibration
from vitsearch.supernet.super_transformer import SuperTransformer

_HALVINGS = 200  # of the interval in which a price is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchOption:
    """One size of a branch.

    Attributes:
        values: Of the branch's choices, by full name; `None` where one is inactive.
        macs: What the branch then costs.
        loss: The error of its output, as a share of the variance of the tokens behind it.
    """

    values: Values
    macs: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The sizes of every branch, with what they cost and lose.

    Attributes:
        space: Whose branches.
        num_classes: Of the classifier, whose cost counts.
        shared: Values of all other choices; at first those of the largest sub-network.
        errors: What was seen of each branch.
    """

    space: SearchSpace
    num_classes: int
    shared: Values
    errors: tuple[BranchErrors, ...]

    @cached_property
    def _whole(self) -> Plan:
        """The largest network with the shared values."""
        return self.space.plan(architecture_of(self.space, dict(self.shared)))

    @cached_property
    def branches(self) -> tuple[tuple[BranchOption, ...], ...]:
        """For each branch the sizes that no other betters, the cheapest first."""
        flows = self._whole.stage_flows
        found = []
        for own in self.errors:
            pieces, seen = self.space.stages[own.stage].pieces, flows[own.stage].seen(own.slot)
            macs = [pieces.cost(own.role, size.taken, seen).macs for size in own.sizes]
            found.append(_unbettered(own, macs))
        return tuple(found)

    @cached_property
    def macs(self) -> int:
        """Of everything else in the network."""
        whole = sum(own[-1].macs for own in self.branches)
        return self._whole.cost(self.num_classes).macs - whole

    @property
    def cheapest(self) -> int:
        """MACs of the network with the cheapest sizes."""
        return self._cost([own[0] for own in self.branches])

    def by_tokens(self) -> list[Profile]:
        """The profile with each number of tokens that may go on; all of them first.

        What fewer tokens lose themselves is in no profile: networks have to be scored for that.
        Where several blocks have a choice each, they choose alike here.
        """
        names = [name for stage in self.space.stages for name in stage.token_choices]
        options = {option for name in names for option in self.space.choice(name).options}
        found = [self]
        for option in sorted(options, key=float):
            own = {n: option for n in names if option in self.space.choice(n).options}
            shared = {**self.shared, **{n: v for n, v in own.items() if n in self.shared}}
            if shared != self.shared:
                found.append(replace(self, shared=shared))
        return found

    def within(self, macs: float) -> Architecture:
        """The best architecture of at most so many MACs, under the sum of losses.

        What the price leaves of the budget is spent size by size, where it gains most for its MACs.

        Raises:
            ConstraintError: Even the cheapest sizes cost more.
        """
        chosen = [own[0] for own in self.branches]
        if self.cheapest > macs:
            raise ConstraintError(
                f"macs={human(macs)} is below the smallest network ({human(self.cheapest)})"
            )
        low, high = 0.0, 1.0  # prices: the dear one always fits
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = self._at_price(middle)
            if self._cost(found) <= macs:
                high, chosen = middle, found
            else:
                low = middle
        return self.architecture(self._spend(chosen, macs))

    def _at_price(self, price: float) -> list[BranchOption]:
        """For each branch the size with the least loss + price * MACs."""
        return [min(own, key=lambda o: (o.loss + price * o.macs, o.macs)) for own in self.branches]

    def _spend(self, chosen: list[BranchOption], macs: float) -> list[BranchOption]:
        """Take dearer sizes while the budget allows one that loses less."""
        chosen = list(chosen)
        while True:
            left = macs - self._cost(chosen)
            gains = [
                ((own.loss - option.loss) / (option.macs - own.macs), -number, option)
                for number, own in enumerate(chosen)
                for option in self.branches[number]
                if 0 < option.macs - own.macs <= left and option.loss < own.loss
            ]
            if not gains:
                return chosen
            _, number, option = max(gains, key=lambda gain: gain[:2])
            chosen[-number] = option

    def _cost(self, chosen: Sequence[BranchOption]) -> int:
        return self.macs + sum(option.macs for option in chosen)

    def architecture(self, chosen: Sequence[BranchOption]) -> Architecture:
        """The architecture of one size for each branch."""
        values: Values = dict(self.shared)
        for option in chosen:
            values |= option.values
        return architecture_of(self.space, values)


def architecture_of(space: SearchSpace, values: Values) -> Architecture:
    """The architecture with these values, and the largest option of every other choice."""

    def pick(choice: Choice) -> Value:
        value = values.get(choice.name)
        return choice.options[-1] if value is None else value

    return space.complete(pick)


@torch.inference_mode()
def profile_branches(
    network: SuperTransformer, calibration: Calibration, images: Sequence[Tensor]
) -> Profile:
    """Look at every branch of a network once.

    Args:
        network: Calibrated and in order.
        calibration: Of it.
        images: A few batches (B, in_chans, H, W), unlabelled; 32 images in all are enough.

    Raises:
        ConfigError: The network has other blocks than those of vit spaces.
    """
    return Profile(
        space=network.space,
        num_classes=network.num_classes,
        shared={c.name: network.largest[c.name] for c in network.space.shared_choices},
        errors=tuple(branch_errors(network, calibration, images)),
    )


def _unbettered(errors: BranchErrors, macs: Sequence[int]) -> tuple[BranchOption, ...]:
    """The sizes that lose less than every cheaper one, the cheapest first."""
    found: list[BranchOption] = []
    sizes = sorted(zip(macs, errors.sizes, strict=True), key=lambda pair: (pair[0], pair[1].error))
    for own, size in sizes:
        loss = size.error / errors.stream if errors.stream > 0 else 0.0
        if not found or loss < found[-1].loss:
            found.append(BranchOption(values=size.values, macs=own, loss=loss))
    most, largest = max(sizes, key=lambda pair: (pair[0], -pair[1].error))
    if found[-1].macs != most:  # where a branch is of no influence at all
        found.append(BranchOption(values=largest.values, macs=most, loss=0.0))
    return tuple(found)
