"""The way of a supernet down to its budget: what it may become, where it is, how it is pressed."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
from torch import Tensor

from vitsearch.errors import ConfigError
from vitsearch.lightning.distributed import from_first
from vitsearch.lightning.progressive.decision import Progress, decide, unit_importance
from vitsearch.lightning.progressive.settings import ShrinkSettings
from vitsearch.lightning.progressive.state import ShrinkingState
from vitsearch.lightning.progressive.supernet_in_training import carry_out, factors_of, replace
from vitsearch.lightning.training.supernet_module import SearchableClassifier
from vitsearch.shrinking.progressive.factors import Factors
from vitsearch.shrinking.progressive.ladder import Ladder, Place
from vitsearch.shrinking.progressive.penalty import mean_price, penalty_weights, rho_of_step
from vitsearch.shrinking.progressive.shrink import Shrink, Shrunk, axes_in
from vitsearch.shrinking.progressive.surgery import Surgery, smaller_supernet
from vitsearch.shrinking.progressive.units import UnitFinder, start_space
from vitsearch.spaces import SearchSpace


class Descent:
    """Units, prices and state of one training.

    Attributes:
        start: The part of the space that training begins with.
        state: What a checkpoint remembers; `None` before training.
    """

    state: ShrinkingState | None

    def __init__(self, module: SearchableClassifier, settings: ShrinkSettings) -> None:
        """Look at a module; nothing is changed.

        Raises:
            ConfigError: Nothing counts units, the network does not share the first ones, or only a
                part of it is trained.
            ConstraintError: The budget is out of reach.
        """
        net = module.net
        if net.sharing != "prefix":
            raise ConfigError(
                f"callbacks.shrinking: model.sharing={net.sharing} does not take the first units; "
                f"use model.sharing=prefix"
            )
        if module.search_space != net.space:
            raise ConfigError(
                "callbacks.shrinking trains all of a supernet, but the module has a search_space "
                "of its own; build the supernet for that space"
            )
        self._settings = settings
        self._groups = UnitFinder(net).groups()
        if not self._groups:
            raise ConfigError(
                f"callbacks.shrinking: space {net.space.name} has no choice that counts units "
                f"(heads, hidden channels) and has more than one option"
            )
        self.start = start_space(net.space, self._groups)
        self._ladder = Ladder(
            self.start,
            {choice: group.counted for choice, group in self._groups.items()},
            metric=settings.metric,
            num_classes=module.num_classes,
        )
        settings.check_reachable(self._ladder, self.start.name)
        self.state = None

    def cut_down(self, module: SearchableClassifier, space: SearchSpace) -> None:
        """Let a module train the largest network of a part of its space, with its factors."""
        net = module.net
        if isinstance(module.penalty, Factors):
            module.penalty.detach()
        if net.space != space:
            state = Surgery(net, space, {}).weights(net.state_dict())
            net = smaller_supernet(net, space, state)
        if self.state is not None and self.state.finished:
            module.replace_net(net)
            module.penalty = None
            return
        axes = {choice: group.axes for choice, group in self._groups.items()}
        factors = Factors(axes_in(net, axes), next(net.parameters()))
        factors.attach(net)
        replace(module, Shrunk(net=net, factors=factors))

    def begin(self, module: SearchableClassifier) -> ShrinkingState:
        """The state of a training, as it is by now; a fresh one at its beginning."""
        if self.state is None:
            first = self._ladder.start
            self.state = ShrinkingState(
                averaged={name: own.detach().clone() for name, own in _live(module).items()},
                rho=self._settings.rho,
                mean=mean_price(self._prices(first), self._ladder.counts(first)),
                start=self._ladder.cost(first),
            )
        return self.state

    def _prices(self, place: Place) -> dict[str, float]:
        return {choice: self._ladder.price(place, choice) for choice in place}

    def _place(self, module: SearchableClassifier) -> Place:
        space = module.net.space
        return {choice: len(space.choice(choice).options) - 1 for choice in self._groups}

    def cost(self, module: SearchableClassifier) -> int:
        """What the network costs by now."""
        return self._ladder.cost(self._place(module))

    def press(self, module: SearchableClassifier, step: int, warm_up: int) -> None:
        """Set the strength of the penalty, and what each unit weighs in it.

        Args:
            module: Its penalty is set.
            step: Updates so far.
            warm_up: Updates over which the strength rises, as published.
        """
        state, factors = self.begin(module), factors_of(module)
        weights = penalty_weights(self._prices(self._place(module)), state.mean)
        factors.press(state.rho, weights)
        if self._settings.published:
            self.warm_up(module, step, warm_up)

    def warm_up(self, module: SearchableClassifier, step: int, steps: int) -> None:
        """Set the strength of the penalty alone, as published."""
        factors_of(module).rho = rho_of_step(step, self._settings.rho, steps)

    def average(self, module: SearchableClassifier, step: int) -> None:
        """Move the averages of factors behind an update."""
        self.begin(module).average(_live(module), step, self._settings.decay)

    def shrink(self, trainer: pl.Trainer, module: SearchableClassifier, *, steps: int) -> bool:
        """Decide what goes, and let it go; every process has to call.

        Args:
            trainer: In training.
            module: What it trains.
            steps: Updates of the whole training.

        Returns:
            Whether something went.
        """
        state, place = self.begin(module), self._place(module)
        progress = Progress(step=trainer.global_step, steps=steps, start=state.start)
        importance: Mapping[str, Tensor] = unit_importance(
            _live(module),
            state.averaged,
            average_alone=self._settings.published and progress.is_last,
        )
        # Processes agree in every bit; that they cannot differ is worth a small broadcast.
        importance = from_first(importance)
        decision = decide(
            self._ladder,
            self._groups,
            place,
            importance,
            settings=self._settings,
            progress=progress,
            rho=state.rho,
        )
        state.looked_at, state.rho = trainer.global_step, decision.rho
        if decision.place == place:
            return False
        shrink = Shrink(
            module.net,
            factors_of(module),
            space=self._space_of(decision.place),
            counts=self._ladder.counts(decision.place),
            importance=importance,
        )
        carry_out(shrink, trainer, module)
        state.averaged = {name: shrink.units(name, state.averaged[name]) for name in _live(module)}
        left = module.net.largest
        state.shrinks.append(
            {
                "step": trainer.global_step,
                "digest": left.digest,
                **module.net.cost(left).to_dict(),
                "architecture": left.to_dict(),
            }
        )
        return True

    def _space_of(self, place: Place) -> SearchSpace:
        """The part of the space that is left at a place: options up to its own."""
        options = {choice: self._groups[choice].counted.options for choice in place}
        return self.start.restrict(
            {choice: list(options[choice][: index + 1]) for choice, index in place.items()}
        )


def _live(module: SearchableClassifier) -> dict[str, Tensor]:
    """(units,) the factors of each axis, by the weight that reads its units."""
    factors = factors_of(module)
    return {axis.reader: factors.of(axis, module.net) for axis in factors.all_axes()}
