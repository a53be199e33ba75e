"""The uniform cut: the same share of hidden channels and of heads in every block."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

import vitsearch
from benchmarks.shrinking.trial import Candidate, Trial
from vitsearch import SuperTransformer
from vitsearch.elastic import Reordering
from vitsearch.errors import ConstraintError
from vitsearch.shrinking.profile import architecture_of
from vitsearch.spaces import Architecture
from vitsearch.supernet.repairing.calibration import Calibration
from vitsearch.supernet.repairing.modules import ending_layers

_STEPS = 96  # MLP widths
UNREPAIRED = "uniform cut, variance order, unrepaired"
RANDOM = "uniform cut, random order, plain repair"
PLAIN = "uniform cut, variance order, plain repair"
SEQUENTIAL = "uniform cut, variance order, sequential repair"


def uniform(trial: Trial, budgets: tuple[float, ...]) -> Iterator[Candidate]:
    """Unrepaired, repaired once, repaired branch by branch; and in a random order."""
    network = uniform_supernet(trial)
    calibration = network.calibrate(trial.batches)
    shuffled, shuffled_calibration = uniform_supernet(trial), copy_of(calibration)
    shuffle(shuffled, shuffled_calibration, trial.seed)
    network.order(calibration)
    for budget in budgets:
        architecture = uniform_architecture(network, budget * trial.macs)
        for method, source, moments, images in (
            (UNREPAIRED, network, None, None),
            (RANDOM, shuffled, shuffled_calibration, None),
            (PLAIN, network, calibration, None),
            (SEQUENTIAL, network, calibration, trial.batches),
        ):
            began = time.perf_counter()
            made = source.extract(architecture, calibration=moments, images=images)
            seconds = time.perf_counter() - began
            yield Candidate(method=method, budget=budget, network=made, seconds=seconds)


def uniform_supernet(trial: Trial) -> SuperTransformer:
    """The network with many MLP widths, so that a budget is met closely."""
    shares = [step / _STEPS for step in range(1, _STEPS + 1)]
    options = {"mlp_hidden": shares, "qk_dim": [1.0], "v_dim": [1.0], "removable": []}
    return vitsearch.from_timm(trial.network, options=options)


def uniform_architecture(network: SuperTransformer, macs: float) -> Architecture:
    """Of the uniform architectures within a budget, that whose shares of both are closest.

    For every number of heads the widest MLP that fits is looked at.

    Raises:
        ConstraintError: None fits.
    """
    space = network.space
    heads = next(c.options for c in space.choices if c.name.endswith(".num_heads"))
    widths = next(c.options for c in space.choices if c.name.endswith(".mlp_hidden"))
    found = []
    for number in heads:
        for width in reversed(widths):
            sizes = {"num_heads": number, "mlp_hidden": width}
            values = {c.name: sizes.get(c.name.rpartition(".")[2]) for c in space.choices}
            architecture = architecture_of(space, values)
            if network.cost(architecture).macs <= macs:
                apart = abs(float(number) / float(heads[-1]) - float(width) / float(widths[-1]))
                found.append((apart, -float(number), architecture))
                break
    if not found:
        raise ConstraintError(f"no uniform cut is within {macs:.0f} MACs")
    return min(found, key=lambda one: one[:2])[2]


def copy_of(calibration: Calibration) -> Calibration:
    """The same numbers, for another copy of the network."""
    return Calibration.from_state({n: t.clone() for n, t in calibration.state_dict().items()})


def shuffle(network: SuperTransformer, calibration: Calibration, seed: int) -> None:
    """Put the units of every layer in a random order."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: t.data for name, t in network.state_dict(keep_vars=True).items()}
    for path, module, last in ending_layers(network):
        (axis,) = (own.below(path) for own in module.tied_axes())
        places = torch.randperm(last.in_shape[0], generator=generator)
        Reordering(axis, places).apply(tensors)
        calibration.reorder(path, places)
