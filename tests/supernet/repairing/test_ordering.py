"""Orders of units: the function stays, what holds a number for each weight follows."""

from __future__ import annotations

import pytest
import torch
from tests.supernet.repairing.networks import batches, images, supernet

from vitsearch.elastic import Reordering
from vitsearch.elastic.rewiring import tied_axes
from vitsearch.supernet.repairing.ordering import IMPORTANCES

VARIANTS = {
    "plain": {},
    "LayerScale": {"init_values": 0.5},
    "normalised queries": {"qk_norm": True},
    "norms inside": {"scale_attn_norm": True, "scale_mlp_norm": True},
    "no biases": {"qkv_bias": False, "proj_bias": False},
}


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_largest_network_stays_as_it_is(variant, importance):
    net, x = supernet(**VARIANTS[variant]), images()
    before = net(x)
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    calibration = net.calibrate(batches(), gradients=importance == "taylor")
    net.order(calibration, importance)
    torch.testing.assert_close(net(x), before, rtol=0, atol=1e-12)
    moved = [n for n, tensor in net.state_dict().items() if not torch.equal(tensor, weights[n])]
    assert any(name.endswith("mlp.fc1.weight") for name in moved)
    again = net.calibrate(batches(), gradients=importance == "taylor")
    for path, record in calibration.layers.items():
        for name, tensor in record.tensors().items():
            torch.testing.assert_close(tensor, again.record(path).tensors()[name], msg=name)


def test_the_order_is_by_importance():
    net = supernet()
    net.order(net.calibrate(batches()), "variance")
    calibration = net.calibrate(batches())
    for path in ("stages.0.blocks.0.mlp", "stages.0.blocks.2.mlp"):
        weight = net.get_submodule(path).fc2.weight
        score = calibration.record(path).inputs.covariance.diagonal() * weight.square().sum(0)
        assert (score.diff() <= 1e-12).all()
    net.order(importance="l2")
    mlp = net.get_submodule("stages.0.blocks.1.mlp")
    own = mlp.fc1.weight.square().sum(1) + mlp.fc1.bias.square() + mlp.fc2.weight.square().sum(0)
    assert (own.diff() <= 1e-12).all()


@pytest.mark.parametrize("importance", ["variance", "taylor", "forward", "backward", "activation"])
def test_important_units_first_keep_more_than_important_units_last(importance):
    net, x = supernet(), images(seed=2)
    whole = net(x)
    small = net.space.canonical(
        {c.name: 48 if c.name.endswith("mlp_hidden") else c.options[-1] for c in net.space.choices}
    )

    def error() -> float:
        with torch.no_grad():
            return float((net(x, small) - whole).square().mean())

    net.order(net.calibrate(batches(), gradients=True), importance)
    first = error()
    tensors = {name: tensor.data for name, tensor in net.state_dict(keep_vars=True).items()}
    for axis in tied_axes(net):
        units = axis.places[0][1][axis.places[0][2]]
        Reordering(axis, torch.arange(units).flip(0)).apply(tensors)
    torch.testing.assert_close(net(x), whole)
    assert first < error()


def test_an_optimisers_moments_follow():
    """Training goes on as if nothing had been reordered."""
    losses = []
    for ordered in (False, True):
        net, x = supernet(), images(8)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
        own = []
        for step in range(4):
            if ordered and step == 2:
                reorderings = net.order(net.calibrate([x]), "variance")
                names = {id(parameter): name for name, parameter in net.named_parameters()}
                for moment in ("exp_avg", "exp_avg_sq"):
                    tensors = {names[id(p)]: s[moment] for p, s in optimizer.state.items()}
                    for reordering in reorderings:
                        reordering.apply(tensors)
            loss = net(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            own.append(float(loss.detach()))
        losses.append(own)
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
