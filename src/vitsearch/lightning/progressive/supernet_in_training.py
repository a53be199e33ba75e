"""A supernet that shrinks while it is trained, and all that holds its parameters.

These are the module, its optimisers, averages of its weights, and what runs it in several
processes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy

from vitsearch.errors import ConfigError
from vitsearch.lightning.training.averaging import averages
from vitsearch.lightning.training.supernet_module import SearchableClassifier
from vitsearch.shrinking.progressive.factors import Factors
from vitsearch.shrinking.progressive.shrink import Shrink, Shrunk


def factors_of(module: SearchableClassifier) -> Factors:
    """The factors of a module that shrinks."""
    assert isinstance(module.penalty, Factors)
    return module.penalty


def carry_out(shrink: Shrink, trainer: pl.Trainer, module: SearchableClassifier) -> None:
    """Shrink a module in the middle of its training; every process has to call.

    Raises:
        ConfigError: An optimiser keeps something else than a number for each weight.
    """
    before = Shrunk(net=module.net, factors=factors_of(module))
    after = shrink.network(before.net, before.factors)
    for optimizer in trainer.optimizers:
        shrink.optimizer(optimizer, before, after)
    for average in averaged(trainer):
        replace(average, shrink.network(average.net, factors_of(average)))
    replace(module, after)
    wrap_again(trainer)


def replace(module: SearchableClassifier, shrunk: Shrunk) -> None:
    """Let a module go on with a smaller network."""
    module.replace_net(shrunk.net)
    module.penalty = shrunk.factors


def averaged(trainer: pl.Trainer) -> Iterator[SearchableClassifier]:
    """The copies of the module that hold averaged weights."""
    for _, average in averages(trainer):
        assert isinstance(average.module, SearchableClassifier)
        yield average.module


def wrap_again(trainer: pl.Trainer) -> None:
    """Let several processes exchange the gradients of the parameters that there are now."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy):
        strategy.model = trainer.lightning_module
        strategy.configure_ddp()


def make_plain(trainer: pl.Trainer, module: SearchableClassifier) -> None:
    """Fold the gates into the weights and forget them, when training has ended."""
    gates = set(factors_of(module).parameters())
    for optimizer in trainer.optimizers:
        for gate in gates:
            optimizer.state.pop(gate, None)
        optimizer.param_groups[:] = [
            group for group in optimizer.param_groups if not gates.intersection(group["params"])
        ]
    for own in (module, *averaged(trainer)):
        factors = factors_of(own)
        factors.fold(own.net)
        factors.detach()
        own.penalty = None


def check_trained(trainer: pl.Trainer, module: SearchableClassifier) -> None:
    """Refuse a training that leaves the gates as they are.

    Raises:
        ConfigError: No optimiser has them.
    """
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    trained = {parameter for group in groups for parameter in group["params"]}
    if not trained.issuperset(factors_of(module).parameters()):
        raise ConfigError(
            f"callbacks.shrinking learns a gate for each unit; {type(module).__name__}."
            f"configure_optimizers must train the parameters of module.penalty, too"
        )
