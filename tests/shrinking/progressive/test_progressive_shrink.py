"""A network that was shrunk is the network with the dropped units at zero, to the last digits."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.shrinking.progressive.networks import NAMES, begin, images, mask, planned, supernet
from timm.optim import create_optimizer_v2

from vitsearch.elastic import TiedAxis
from vitsearch.elastic.base import UnitNorm
from vitsearch.shrinking.progressive.ladder import Ladder
from vitsearch.shrinking.progressive.shrink import Shrink, Shrunk
from vitsearch.shrinking.progressive.surgery import Survivors, carry_constant
from vitsearch.shrinking.progressive.units import UnitFinder, start_space

TOLERANCE = 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_the_start_is_the_largest_network(name: str) -> None:
    net = supernet(name).eval()
    x = images(net)
    space = start_space(net.space, UnitFinder(net).groups())
    assert space.largest() == net.space.largest()
    start, groups = begin(net)
    assert set(groups) == {c.name for c in space.choices if len(c.options) > 1}
    start.factors.detach()
    assert (start.net.eval()(x) - net(x)).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=4, deadline=None)
def test_a_shrunk_network_is_the_masked_one(name: str, seed: int) -> None:
    start, groups = begin(supernet(name))
    start.net.eval()
    shrink, ladder, place, importance = planned(start, groups, seed)
    x = images(start.net)
    mask(start, ladder.counts(place), importance)
    expected = start.net(x)
    smaller = shrink.network(start.net, start.factors)
    assert smaller.net.space.largest() == ladder.architecture(place)
    assert smaller.net.cost(smaller.net.largest).macs == ladder.cost(place)
    assert (smaller.net(x) - expected).abs().max() < TOLERANCE
    smaller.factors.fold(smaller.net)
    assert (smaller.net(x) - expected).abs().max() < TOLERANCE
    smaller.factors.detach()
    assert (smaller.net(x) - expected).abs().max() < TOLERANCE
    alone = smaller.net.extract(smaller.net.largest).double()
    assert (alone(x) - expected).abs().max() < TOLERANCE


def test_the_last_channel_of_a_block_takes_its_norm_along() -> None:
    start, groups = begin(supernet("hr_nas"))
    start.net.eval()
    units = {choice: group.counted for choice, group in groups.items()}
    ladder = Ladder(start.net.space, units, num_classes=start.net.num_classes)
    place = {n: 0 if ".branches.1.0." in n else index for n, index in ladder.start.items()}
    left = {name: list(units[name].options[: i + 1]) for name, i in place.items()}
    shrink = Shrink(
        start.net,
        start.factors,
        space=start.net.space.restrict(left),
        counts=ladder.counts(place),
        importance={a.reader: torch.rand(a.num_units) for a in start.factors.all_axes()},
    )
    smaller = shrink.network(start.net, start.factors)
    assert smaller.net.cost(smaller.net.largest).macs == ladder.cost(place)
    block = smaller.net.get_submodule("stages.1.branches.1.0")
    assert not list(block.parameters())
    assert smaller.net(images(start.net)).isfinite().all()


def test_costs_that_units_share_do_not_add_up() -> None:
    net = supernet("hr_nas")
    units = {choice: group.counted for choice, group in UnitFinder(net).groups().items()}
    assert Ladder(net.space, units).adds_up()
    assert not Ladder(net.space, units, metric="params").adds_up()


def optimizer_of(shrunk: Shrunk, opt: str) -> torch.optim.Optimizer:
    made = create_optimizer_v2(shrunk.net, opt=opt, lr=1e-2, weight_decay=0.05)
    gates = list(shrunk.factors.parameters())
    if gates:
        made.add_param_group({"params": gates, "weight_decay": 0.0})
    return made


def step(shrunk: Shrunk, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    x = images(shrunk.net)
    F.cross_entropy(shrunk.net(x), torch.arange(len(x)) % 5).backward()
    optimizer.step()


@pytest.mark.parametrize("opt", ["adamw", "sgd", "rmsproptf", "nadamw"])
@pytest.mark.parametrize("name", ["glit", "vit_resnas", "autoformer", "bottlenecks", "deit"])
def test_the_next_step_is_that_of_the_masked_network(name: str, opt: str) -> None:
    start, groups = begin(supernet(name))
    start.net.train()
    optimizer = optimizer_of(start, opt)
    for _ in range(2):
        step(start, optimizer)
    shrink, ladder, place, importance = planned(start, groups, 3)
    smaller = shrink.network(start.net, start.factors)
    own = optimizer_of(start, opt)
    own.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    shrink.optimizer(own, start, smaller)
    mask(start, ladder.counts(place), importance)
    step(start, optimizer)
    step(smaller, own)
    # What the step made of the survivors: masked again, and cut by the same shrink.
    mask(start, ladder.counts(place), importance)
    expected = shrink.network(start.net, start.factors)
    skipped = {
        axis.norm.constant for axis in start.factors.all_axes() if axis.norm is not None
    }  # the dropped biases have moved in the masked network alone
    found = dict(smaller.net.named_parameters())
    for parameter_name, parameter in expected.net.named_parameters():
        # In front of a BatchNorm a bias has no gradient but rounding errors.
        if parameter_name not in skipped and not parameter_name.endswith("conv.bias"):
            difference = (found[parameter_name] - parameter).abs().max()
            assert difference < TOLERANCE, parameter_name
    gates = dict(smaller.factors.named_parameters())
    for gate_name, gate in expected.factors.named_parameters():
        assert (gates[gate_name] - gate).abs().max() < TOLERANCE, gate_name


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("vit_resnas", {"num_heads", "mlp_hidden"}),
        ("glit", {"local_expansion"}),  # its largest blocks are local and have no MLP
        ("deit", {"num_heads", "mlp_hidden"}),
        ("vitas", {"mlp_hidden"}),  # its heads share their channels
        ("bottlenecks", {"expansion"}),
    ],
)
def test_units_are_found_that_a_choice_counts(name: str, kinds: set[str]) -> None:
    groups = UnitFinder(supernet(name)).groups()
    assert {choice.rpartition(".")[2] for choice in groups} == kinds
    axes = [axis for group in groups.values() for axis in group.axes]
    assert len(set(axes)) == len(axes)


def test_the_penalty_weighs_factors_by_their_choice() -> None:
    start, groups = begin(supernet("glit"))
    weights = {choice: float(number) for number, choice in enumerate(groups, 1)}
    start.factors.press(0.5, weights)
    expected = sum(
        0.5 * weights[choice] * start.factors.of(axis, start.net).abs().sum()
        for choice, axes in start.factors.axes.items()
        for axis in axes
    )
    assert torch.allclose(start.factors(start.net), torch.as_tensor(expected))


def test_a_constant_goes_into_the_mean_of_the_next_batch_norm() -> None:
    torch.manual_seed(0)
    names = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    places = tuple((name, (6,), 0) for name in names)
    norm = UnitNorm("bn.weight", "bn.bias", F.relu, "out.running_mean")
    axis = TiedAxis((*places, ("conv.weight", (4, 6, 1, 1), 1)), "conv.weight", norm)
    tensors = {name: torch.rand(6, dtype=torch.float64) for name in names}
    tensors["conv.weight"] = torch.randn(4, 6, 1, 1, dtype=torch.float64)
    tensors["out.running_mean"] = torch.randn(4, dtype=torch.float64)
    order = torch.tensor([5, 1, 0, 3, 2, 4])
    tensors["bn.weight"][order[2:]] = 0.0
    x = torch.randn(2, 6, 3, 3, dtype=torch.float64)

    def forward(t: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        bn = (t["bn.running_mean"], t["bn.running_var"], t["bn.weight"], t["bn.bias"])
        made = F.conv2d(F.relu(F.batch_norm(x, *bn)), t["conv.weight"])
        return F.batch_norm(made, t["out.running_mean"], torch.ones(4, dtype=torch.float64))

    expected = forward(tensors, x)
    carry_constant(Survivors(axis=axis, order=order, count=2), tensors)
    kept = order[:2]
    cut = {name: tensors[name][kept] for name in names}
    cut["conv.weight"] = tensors["conv.weight"][:, kept]
    cut["out.running_mean"] = tensors["out.running_mean"]
    assert (forward(cut, x[:, kept]) - expected).abs().max() < 1e-12
