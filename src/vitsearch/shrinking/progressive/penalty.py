"""How strongly each unit is pressed towards zero: its price, and a factor that all share.

The penalty that is added to the loss is `rho * sum_i w_i |factor_i|`, where the weight `w_i` of a
unit is its price over the mean price.

Source: HR-NAS (CVPR 2021), section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping

_GAIN, _MOST = 1.0, 10.0


def mean_price(prices: Mapping[str, float], units: Mapping[str, int]) -> float:
    """The mean price of all units.

    Args:
        prices: Of one unit, for each choice that counts some.
        units: How many it counts.
    """
    total = sum(price * units[choice] for choice, price in prices.items())
    return total / max(sum(units[choice] for choice in prices), 1)


def penalty_weights(prices: Mapping[str, float], mean: float) -> dict[str, float]:
    """The weight of a unit in the penalty, for each choice; zeros where nothing has a price."""
    return {choice: price / mean if mean else 0.0 for choice, price in prices.items()}


def rho_of_step(step: int, rho: float, warm_up_steps: int) -> float:
    """The strength of the penalty as published: rising from 0 in a line, then constant.

    Args:
        step: Updates so far.
        rho: What it comes to.
        warm_up_steps: When; 0 for at once.
    """
    return rho if step >= warm_up_steps else rho * step / warm_up_steps


def follow_gap(rho: float, first: float, gap: float) -> float:
    """The strength for the next stretch, from how far the living units are above the schedule.

    Args:
        rho: The strength of the stretch that ends.
        first: The strength that training began with; the next one stays within a factor of 10.
        gap: Cost of what is alive less what the schedule allows, as a share of the first cost.
    """
    return min(max(rho * max(1 + _GAIN * gap, 0.1), first / _MOST), first * _MOST)


def cost_target(step: int, steps: int, *, start: float, end: float, reached: float) -> float:
    """What the network may cost after some updates: from `start` in a line down to `end`.

    Args:
        step: Updates so far.
        steps: Updates of the whole training.
        start: The cost at first.
        end: The cost that is wanted.
        reached: The share of the training after which it has to be there.
    """
    done = step / max(steps * reached, 1)
    return end if done >= 1 else start + (end - start) * done
