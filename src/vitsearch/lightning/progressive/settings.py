"""The settings of progressive shrinking: as published, or with a budget as the target."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

from vitsearch.costs import Constraint
from vitsearch.costs.metrics import human
from vitsearch.errors import ConfigError, ConstraintError
from vitsearch.errors.checks import check_flag, check_number
from vitsearch.shrinking.progressive.ladder import Ladder, Window
from vitsearch.spaces.cost import closed_forms, is_peak

_PLACE = "callbacks.shrinking"
_PUBLISHED_EPOCHS, _OWN_EPOCHS = 5.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkSettings:
    """What `ProgressiveShrinking` was asked for.

    Attributes:
        constraint: The budget; nothing as published.
        published: Whether rho and the dead decide alone how small the network gets.
        rho: Strength of the penalty: what it rises to as published, else what it begins with.
        threshold: Factors of at most this size are dead.
        every_n_epochs: Epochs between shrinks; a part of one works, too.
        warm_up_epochs: Over which rho rises, as published.
        least_dead_macs: What the dead must cost together for a shrink, as published.
        reached: The share of the training after which the budget is kept.
        decay: Of the averages of factors.
    """

    constraint: Constraint
    published: bool
    rho: float
    threshold: float
    every_n_epochs: float
    warm_up_epochs: float
    least_dead_macs: float
    reached: float
    decay: float

    @classmethod
    def checked(
        cls,
        constraint: Constraint,
        *,
        published: bool,
        every_n_epochs: float | None,
        **numbers: float,
    ) -> ShrinkSettings:
        """The settings, each of them legal.

        Raises:
            ConfigError: A number is out of range, or there is neither a budget nor `published`.
            ConstraintError: The budget is none that a training can be led to.
        """
        check_flag(f"{_PLACE}.published", published)
        for name, legal in (
            ("rho", "[0, inf)"),
            ("threshold", "[0, inf)"),
            ("warm_up_epochs", "[0, inf)"),
            ("least_dead_macs", "[0, inf)"),
            ("reached", "(0, 1]"),
            ("decay", "[0, 1)"),
        ):
            check_number(f"{_PLACE}.{name}", numbers[name], legal)
        if every_n_epochs is None:
            every_n_epochs = _PUBLISHED_EPOCHS if published else _OWN_EPOCHS
        check_number(f"{_PLACE}.every_n_epochs", every_n_epochs, "(0, inf)")
        _check_budget(constraint, published=published)
        return cls(
            constraint=constraint, published=published, every_n_epochs=every_n_epochs, **numbers
        )

    @property
    def metric(self) -> str:
        """The closed form that is made smaller."""
        return next(iter(self.constraint.windows()), "macs")

    @property
    def window(self) -> Window:
        """Where the training ends."""
        return self.constraint.windows().get(self.metric, (0.0, inf))

    def check_reachable(self, ladder: Ladder, space_name: str) -> None:
        """Refuse a budget that no shrinking of a network comes to.

        Raises:
            ConstraintError: Names the window, and what can be reached; or the costs of choices do
                not add up.
        """
        if not ladder.adds_up():
            raise ConstraintError(
                f"constraint.{self.metric}: in space {space_name} units share some of it, so it "
                f"does not add up over them; legal: macs"
            )
        if ladder.reaches(ladder.start, self.window):
            return
        low, high = self.window
        least, most = (human(ladder.cost(place)) for place in (ladder.smallest(), ladder.start))
        raise ConstraintError(
            f"constraint.{self.metric}=[{low:.12g}, {high:.12g}] cannot be met: shrinking takes "
            f"space {space_name} from {most} down to {least} {self.metric}, in steps of its options"
        )


def _check_budget(constraint: Constraint, *, published: bool) -> None:
    windows = constraint.all_windows()
    if published:
        if windows:
            raise ConfigError(
                f"{_PLACE}.published=true has no budget, but constraint.{next(iter(windows))} is "
                f"set; use {_PLACE}.published=false"
            )
        return
    if not windows:
        raise ConfigError(
            f"{_PLACE} needs a budget, such as constraint.macs=[5M,6M]; without one use "
            f"{_PLACE}.published=true, where the penalty alone decides"
        )
    legal = [name for name in closed_forms() if not is_peak(name)]
    wrong = [name for name in windows if name not in legal]
    if wrong:
        raise ConstraintError(
            f"constraint.{wrong[0]}: units are priced in closed forms that add up; legal: "
            f"{', '.join(legal)}"
        )
    if len(windows) > 1:
        raise ConstraintError(
            f"constraint has windows on {', '.join(windows)}; {_PLACE} keeps one of them"
        )
    (name, (low, high)) = next(iter(windows.items()))
    if not isfinite(high):
        raise ConstraintError(
            f"constraint.{name}=[{low:.12g}, null] must have an upper end, which {_PLACE} comes to"
        )
