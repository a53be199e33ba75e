"""Queries and keys that are rotated (rope) lose pairs of channels, each with its frequency."""

from __future__ import annotations

import random

import pytest
import torch
from position_networks import assert_architectures_are_parts, create, images

import vitsearch
from vitsearch import SuperTransformer, VisionTransformer
from vitsearch.elastic.layers.vit.rope_attention import ElasticRopeAttention, evenly_spaced
from vitsearch.exporting import export_model
from vitsearch.shrinking.branch_errors import branch_errors
from vitsearch.spaces import Architecture
from vitsearch.supernet.converting.reading import read_network
from vitsearch.supernet.converting.weights import state_to_timm
from vitsearch.supernet.repairing.ordering import IMPORTANCES

NETWORKS = {
    "neighbours": "eva02_tiny_patch14_224",
    "halves": "vit_tiny_patch16_dinov3_qkvb",
    "no biases": "vit_small_patch16_dinov3",
    "learned frequencies": "vit_small_patch16_rope_mixed_224",
}
each_network = pytest.mark.parametrize("key", NETWORKS)


@torch.no_grad()
def supernet(key: str, dtype: torch.dtype = torch.float64) -> SuperTransformer:
    """With attention that tells tokens apart: large queries and keys, mostly of four directions."""
    torch.manual_seed(0)
    net = vitsearch.from_timm(create(NETWORKS[key], dtype))
    for attention in net.modules():
        if isinstance(attention, ElasticRopeAttention):
            for layer in (attention.q, attention.k):
                heads = layer.weight.view(3, 16, -1)
                left, sizes, right = torch.linalg.svd(heads, full_matrices=False)
                sizes[:, 4:] *= 0.1
                layer.weight.copy_(((left * sizes[:, None]) @ right * 10).flatten(0, 1))
    return net


def batches(net: SuperTransformer, count: int = 48, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    side, like = net.space.image_size, next(net.parameters())
    x = torch.randn(count, 3, side, side, generator=generator, dtype=like.dtype)
    return list(x.split([count // 2, count - count // 2]))


def with_pairs(net: SuperTransformer, qk_dim: int) -> Architecture:
    """The largest architecture with fewer channels of queries and keys."""
    values = {
        choice.name: qk_dim if choice.name.endswith("qk_dim") else choice.options[-1]
        for choice in net.space.choices
    }
    return net.space.canonical(values)


def ordered(key: str) -> SuperTransformer:
    net = supernet(key)
    net.order(net.calibrate(batches(net)))
    return net


@each_network
def test_their_number_is_a_choice(key):
    net = vitsearch.from_timm(create(NETWORKS[key]), options={"qk_dim": [0.1, 0.5]})
    options = {choice.name.rpartition(".")[2]: choice.options for choice in net.space.choices}
    assert options["qk_dim"] == (2, 8, 16)
    whole = vitsearch.from_timm(create(NETWORKS[key]), options={"qk_dim": [1.0]})
    assert not [name for name in whole.state_dict() if name.endswith("pairs")]


@each_network
@pytest.mark.parametrize("importance", [*IMPORTANCES, None])
def test_an_order_changes_no_output(key, importance):
    net = supernet(key)
    x, seen = batches(net, 4)[0], batches(net)
    before = net(x)
    names = ["stages.0.blocks.0.attn.k.weight", "stages.0.blocks.1.attn.q.weight"]
    weights = [net.state_dict()[name].clone() for name in names]
    calibration = None if importance is None else net.calibrate(seen, gradients=True)
    net.order(calibration, importance or "l2")
    torch.testing.assert_close(net(x), before, rtol=0, atol=1e-12)
    torch.testing.assert_close(net.extract(net.largest)(x), before, rtol=0, atol=1e-12)
    for name, old in zip(names, weights, strict=True):
        assert not torch.equal(net.state_dict()[name], old)
    if calibration is None:
        return
    again = net.calibrate(seen, gradients=True)
    for path, record in calibration.layers.items():
        for name, tensor in record.tensors().items():
            torch.testing.assert_close(tensor, again.record(path).tensors()[name], msg=name)


@each_network
def test_architectures_are_parts_in_any_order(key, monkeypatch):
    """Extracted = supernet, mixed batch = single runs, closed form = measured."""
    net = ordered(key)
    monkeypatch.setattr(vitsearch, "from_timm", lambda network: net)
    assert_architectures_are_parts(create(NETWORKS[key]))


@each_network
@pytest.mark.parametrize("in_order", [False, True])
def test_the_pairs_that_go_are_zeros_in_the_queries(key, in_order):
    """What stays is rotated by its own frequencies."""
    net = ordered(key) if in_order else supernet(key)
    x = batches(net, 4)[0]
    cut = net(x, with_pairs(net, 4))
    assert (cut - net(x)).abs().max() > 1e-4
    for attention in net.modules():
        if isinstance(attention, ElasticRopeAttention):
            gone = attention.channels_of_pairs()[2:].flatten()
            heads = attention.q.out_shape[0]
            with torch.no_grad():
                for tensor in attention.q.parameters():
                    tensor.view(heads, 16, -1)[:, gone] = 0
    torch.testing.assert_close(net(x), cut, rtol=0, atol=1e-12)


@each_network
def test_weights_go_back_from_any_order(key):
    network = create(NETWORKS[key])
    reading, x = read_network(network, "network"), images(network)
    with torch.no_grad():
        before = network(x)
        net = vitsearch.from_timm(network)
        net.order(net.calibrate(batches(net)))
        back = state_to_timm(net.state_dict(), reading)
        network.load_state_dict(back)
        assert (network(x) - before).abs().max() < 1e-10


def distance(first: VisionTransformer, second: VisionTransformer, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((first.forward_features(x) - second.forward_features(x)).square().mean())


@each_network
def test_repair_keeps_the_outputs_better(key):
    """The order helps, factors of what stays help more, and nothing gone changes nothing."""
    net, plain = supernet(key), supernet(key)
    seen, x = batches(net, 192), batches(net, 32, seed=2)[0]
    whole, few = net.extract(net.largest), with_pairs(net, 8)
    first = distance(plain.extract(few), whole, x)
    calibration = net.calibrate(seen)
    net.order(calibration)
    best = distance(net.extract(few), whole, x)
    fitted = distance(net.extract(few, calibration=calibration), whole, x)
    assert best < first
    assert fitted < best
    same = net.extract(net.largest, calibration=calibration)
    assert distance(same, whole, x) < 1e-18


@each_network
def test_random_architectures_are_repaired(key):
    net, rng = supernet(key), random.Random(0)
    calibration = net.calibrate(batches(net, 96))
    net.order(calibration)
    x, whole = batches(net, 16, seed=2)[0], net.extract(net.largest)
    plain, folded = 0.0, 0.0
    for _ in range(6):
        a = net.space.sample(rng)
        plain += distance(net.extract(a), whole, x)
        repaired = net.extract(a, calibration=calibration)
        folded += distance(repaired, whole, x)
        assert sum(p.numel() for p in repaired.parameters()) == net.cost(a).params
    assert folded < plain


@each_network
def test_a_network_of_few_pairs_is_saved_and_trained_and_sees_other_sizes(key, tmp_path):
    net = ordered(key)
    taken, x = net.extract(with_pairs(net, 4)).float(), batches(net, 4)[0].float()
    vitsearch.save_pretrained(taken, tmp_path)
    again = vitsearch.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(x), taken.eval()(x))
        side = 2 * net.space.image_size
        again.set_input_size(side)
        assert again(torch.randn(1, 3, side, side)).isfinite().all()
    taken(x).square().sum().backward()
    for name, parameter in taken.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_fresh_network_of_few_pairs_sees_both_coordinates():
    net = supernet("neighbours")
    plan = net.space.plan(with_pairs(net, 4))
    fresh = VisionTransformer(net.space, with_pairs(net, 4), num_classes=5)
    pairs = fresh.state_dict()["stages.0.blocks.0.attn.pairs"]
    assert plan.nodes  # 8 frequencies: 4 of the rows, 4 of the columns
    assert pairs.tolist() == [[0.0, 4.0]] * 3
    assert evenly_spaced(8, 8).tolist() == list(range(8))


@pytest.mark.slow
@pytest.mark.parametrize("key", ["halves", "learned frequencies"])
def test_networks_of_few_pairs_can_be_exported(key, tmp_path):
    net = supernet(key, torch.float32)
    net.order(net.calibrate(batches(net)))
    exported = export_model(net.extract(with_pairs(net, 4)), tmp_path)  # it compares the outputs
    assert exported.path.is_file()


@torch.no_grad()
@each_network
def test_a_profile_knows_what_fewer_pairs_do(key):
    """The error of every number of pairs, as the search of a smaller network begins with them."""
    net = supernet(key)
    calibration = net.calibrate(batches(net, 48))
    net.order(calibration)
    for branch in branch_errors(net, calibration, batches(net, 8)):
        if branch.role != "mixer":
            continue
        whole = {name: net.largest[name] for name in branch.sizes[0].values}
        name = next(name for name in whole if name.endswith("qk_dim"))
        by_width = {
            one.values[name]: one.error
            for one in branch.sizes
            if {**one.values, name: whole[name]} == whole
        }
        errors = [by_width[width] for width in (4, 8, 12, 16)]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] == 0 < errors[-2]


def test_a_smaller_network_for_a_budget(tmp_path):
    """From the network to a file and back, with pairs in an order of their own."""
    net = supernet("halves", torch.float32)
    calibration = net.calibrate(batches(net, 48))
    net.order(calibration)
    found = vitsearch.shrink(net, calibration, budgets=[0.7], population=4, generations=1)
    vitsearch.save_elastic(found, tmp_path / "elastic")
    half = vitsearch.load_elastic(tmp_path / "elastic").at(macs=0.7)
    assert half.cost().macs <= 0.7 * net.cost(net.largest).macs
    vitsearch.save_pretrained(half, tmp_path / "half")
    x = batches(net, 4)[0]
    with torch.no_grad():
        assert torch.equal(vitsearch.from_pretrained(tmp_path / "half")(x), half.eval()(x))
