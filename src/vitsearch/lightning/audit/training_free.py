"""The training-free scores that an audit ranks its architectures by, beside MACs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from vitsearch.errors import ConfigError
from vitsearch.lightning.scoring.scorer import Scorer
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.training_free import SCORES, find_score, training_free_scores, undefined_scores

if TYPE_CHECKING:
    from vitsearch.lightning.audit.plan import AuditPlan

AUTO = "auto"
_AUTO_NAMES = ("synflow", "naswot", "az_expressivity")
_ALWAYS = ("macs", "params")  # rows of every audit
_SEED = 0


def chosen_scores(
    space: SearchSpace, architectures: Sequence[Architecture], setting: object
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which scores an audit computes, and what is left out.

    Args:
        space: Of the supernet.
        architectures: What is audited.
        setting: Names, each of which must be defined; `auto` for a few, where they are; `None` or
            nothing for none.

    Returns:
        Names of scores, and a line for each that `auto` leaves out.

    Raises:
        ConfigError: It is none of these, or a score that is named is unknown or not defined.
    """
    if setting is None:
        return (), ()
    if setting == AUTO:
        undefined = undefined_scores(space, architectures, _AUTO_NAMES)
        defined = tuple(name for name in _AUTO_NAMES if name not in undefined)
        return defined, tuple(f"{reason}: no row for it" for reason in undefined.values())
    if not isinstance(setting, Sequence) or isinstance(setting, str):
        raise ConfigError(
            f"training_free={setting} must be a list of {', '.join(SCORES)}, or {AUTO}, or null"
        )
    names = tuple(dict.fromkeys(find_score(name).name for name in setting))
    for reason in undefined_scores(space, architectures, names).values():
        raise ConfigError(reason)
    return tuple(name for name in names if name not in _ALWAYS), ()


def scores_without_training(scorer: Scorer, plan: AuditPlan) -> dict[str, list[float]]:
    """The scores of a plan's architectures, by name; on training images where they look at any."""
    if not plan.training_free:
        return {}
    images = torch.cat(scorer.statistics_images) if scorer.statistics_images else torch.empty(0)
    return training_free_scores(
        scorer.net.space,
        plan.architectures,
        plan.training_free,
        num_classes=scorer.net.num_classes,
        seed=_SEED,
        images=images if len(images) > 1 else None,
    )
