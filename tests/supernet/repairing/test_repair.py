"""Repair equals its definition: least squares on what the layers see."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from tests.supernet.repairing.networks import batches, images, supernet, with_sizes

from vitsearch import SuperTransformer, VisionTransformer
from vitsearch.errors import ConfigError
from vitsearch.supernet.repairing.folding import folded_state
from vitsearch.supernet.repairing.refitting import refit_branches

VARIANTS = {
    "plain": {},
    "LayerScale": {"init_values": 0.5},
    "mean of patches, registers": {"global_pool": "avg", "reg_tokens": 2, "class_token": False},
    "normalised queries": {"qk_norm": True},
    "norms inside": {"scale_attn_norm": True, "scale_mlp_norm": True},
    "no biases": {"qkv_bias": False, "proj_bias": False},
}


def inputs_of(net: SuperTransformer, name: str) -> np.ndarray:
    found = []
    handle = net.get_submodule(name).register_forward_pre_hook(
        lambda module, args: found.append(args[0].detach())
    )
    for batch in batches():
        net(batch)
    handle.remove()
    return torch.cat([x.flatten(0, -2) for x in found]).numpy()


@pytest.mark.parametrize("bias", [True, False])
def test_an_mlp_is_folded_by_least_squares(bias):
    net = supernet(proj_bias=bias)
    calibration = net.calibrate(batches())
    path = "stages.0.blocks.1.mlp"
    a = with_sizes(net, **{f"{path[:-4]}.mlp_hidden": 24})
    state = folded_state(net, net.space.plan(a), calibration, ridge=0)
    rows, last = inputs_of(net, f"{path}.fc2"), net.get_submodule(f"{path}.fc2")
    target = rows @ last.weight.detach().numpy().T
    seen = rows[:, :24]
    if bias:
        target = target + last.bias.detach().numpy()
        seen = np.concatenate([seen, np.ones((len(seen), 1))], axis=1)
    solution = np.linalg.lstsq(seen, target, rcond=None)[0].T
    np.testing.assert_allclose(state[f"{path}.fc2.weight"].numpy(), solution[:, :24], atol=1e-6)
    if bias:
        np.testing.assert_allclose(state[f"{path}.fc2.bias"].numpy(), solution[:, 24], atol=1e-6)


def test_heads_and_value_dimensions_are_folded_by_least_squares():
    net = supernet()
    calibration = net.calibrate(batches())
    path = "stages.0.blocks.1.attn"
    block = path.removesuffix(".attn")
    a = with_sizes(net, **{f"{block}.num_heads": 2, f"{block}.v_dim": 4})
    state = folded_state(net, net.space.plan(a), calibration, ridge=0)
    rows, attn = inputs_of(net, f"{path}.proj"), net.get_submodule(path)
    # The rows of the new values say which combinations of the old ones they are.
    old = attn.v.weight.detach().view(3, 8, 24)
    new = state[f"{path}.v.weight"].view(2, 4, 24)
    fewer = [np.linalg.lstsq(old[h].numpy().T, new[h].numpy().T, rcond=None)[0] for h in (0, 1)]
    seen = np.concatenate([rows[:, 8 * h : 8 * h + 8] @ fewer[h] for h in (0, 1)], axis=1)
    seen = np.concatenate([seen, np.ones((len(seen), 1))], axis=1)
    target = rows @ attn.proj.weight.detach().numpy().T + attn.proj.bias.detach().numpy()
    solution = np.linalg.lstsq(seen, target, rcond=None)[0].T
    np.testing.assert_allclose(state[f"{path}.proj.weight"].numpy(), solution[:, :8], atol=1e-6)
    np.testing.assert_allclose(state[f"{path}.proj.bias"].numpy(), solution[:, 8], atol=1e-6)


def test_fewer_dimensions_of_queries_keep_logits_better_than_the_first_ones():
    net, x = supernet(), images(seed=3)
    calibration = net.calibrate(batches())
    a = with_sizes(net, qk_dim=4)
    whole = net.extract(net.largest)(x)
    plain = (net.extract(a)(x) - whole).square().mean()
    assert (net.extract(a, calibration=calibration)(x) - whole).square().mean() < plain / 2


def distance(first: VisionTransformer, second: VisionTransformer) -> float:
    x = images(seed=3)
    with torch.no_grad():
        features = [network.forward_features(x) for network in (first, second)]
    return float((features[0] - features[1]).square().mean())


@pytest.mark.parametrize("variant", VARIANTS)
def test_repair_helps_random_architectures_and_fitting_helps_more(variant):
    net, rng = supernet(**VARIANTS[variant]), random.Random(0)
    calibration = net.calibrate(batches(480, seed=1))
    net.order(calibration)
    whole = net.extract(net.largest)
    plain, folded, fitted = 0.0, 0.0, 0.0
    for _ in range(12):
        a = net.space.sample(rng)
        plain += distance(net.extract(a), whole)
        folded += distance(net.extract(a, calibration=calibration), whole)
        one = net.extract(a, calibration=calibration, images=calibration.images)
        fitted += distance(one, whole)
        assert sum(p.numel() for p in one.parameters()) == net.cost(a).params
    assert folded < 0.7 * plain
    assert fitted < folded


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_to_repair_changes_nothing(variant):
    net = supernet(**VARIANTS[variant])
    calibration = net.calibrate(batches())
    x = images()
    for given in (None, batches()):
        network = net.extract(net.largest, calibration=calibration, images=given)
        torch.testing.assert_close(network(x), net(x), rtol=0, atol=1e-9)


def test_branches_are_fitted_to_the_stream_of_the_original():
    """The last branch's fit, by numpy, from what the cut network feeds it."""
    net = supernet(init_values=0.5)
    calibration = net.calibrate(batches())
    a = with_sizes(net, mlp_hidden=48, num_heads=2)
    network = net.extract(a, calibration=calibration)
    refit_branches(net, [network], batches(), ridge=0)
    last, original = network.stages[0].blocks[2], net.extract(net.largest).stages[0].blocks[2]
    entering, leaving, wanted = [], [], []
    hooks = [
        last.mlp.fc2.register_forward_pre_hook(lambda m, args: entering.append(args[0].detach())),
        last.norm2.register_forward_pre_hook(lambda m, args: leaving.append(args[0].detach())),
    ]
    reference = net.extract(net.largest)
    target = reference.stages[0].blocks[2]
    hooks.append(target.register_forward_hook(lambda m, args, out: wanted.append(out.detach())))
    del original
    with torch.no_grad():
        for batch in batches():
            network(batch)
            reference(batch)
    for hook in hooks:
        hook.remove()
    seen = torch.cat(entering)
    missing = (torch.cat(wanted) - torch.cat(leaving)) / last.ls2.gamma.detach()
    # Of 10 tokens the class token counts twice: as much as a quarter of nine patches.
    counts = torch.ones(seen.shape[:2], dtype=torch.float64)
    counts[:, 0] = 2
    root = counts.flatten().sqrt()[:, None]
    rows = torch.cat([seen.flatten(0, 1), torch.ones(root.shape, dtype=torch.float64)], dim=1)
    solution = np.linalg.lstsq(
        (rows * root).numpy(), (missing.flatten(0, 1) * root).numpy(), rcond=None
    )[0].T
    np.testing.assert_allclose(last.mlp.fc2.weight.detach().numpy(), solution[:, :48], atol=1e-6)
    np.testing.assert_allclose(last.mlp.fc2.bias.detach().numpy(), solution[:, 48], atol=1e-6)


@pytest.mark.parametrize(
    "gone",
    [
        {"stages.0.blocks.1.keep_mlp": False},
        {"stages.0.blocks.0.keep_attention": False},
        {"stages.0.blocks.2.keep_attention": False, "stages.0.blocks.2.keep_mlp": False},
        {"keep_mlp": False},
        {"keep_mlp": False, "keep_attention": False},
    ],
)
def test_absent_branches_leave_their_mean(gone):
    net = supernet()
    calibration = net.calibrate(batches(480))
    values = {c.name: c.options[-1] for c in net.space.choices}
    for name in values:
        short = name.rpartition(".")[2]
        values[name] = gone.get(name, gone.get(short, values[name]))
    a = net.space.complete(lambda choice: values[choice.name])
    whole, plain = net.extract(net.largest), net.extract(a)
    repaired = net.extract(a, calibration=calibration)
    assert distance(repaired, whole) < distance(plain, whole)
    x = images(480, seed=1)
    with torch.no_grad():
        streams = [(n, n.plan.until(len(n.plan.nodes) - 1)) for n in (repaired, whole)]
        ends = [network.run_features(x, plan)[0] for network, plan in streams]
    if gone == {"stages.0.blocks.2.keep_attention": False, "stages.0.blocks.2.keep_mlp": False}:
        means = [end.mean((0, 1)) for end in ends]
        torch.testing.assert_close(means[0], means[1], rtol=0, atol=1e-8)


def test_folds_are_kept_until_units_move():
    net = supernet()
    calibration = net.calibrate(batches())
    a = with_sizes(net, mlp_hidden=48)
    net.extract(a, calibration=calibration)
    assert calibration.folds
    net.order(calibration)
    assert not calibration.folds


def test_what_cannot_be_repaired_is_refused():
    net = supernet()
    calibration = net.calibrate(batches())
    net.sharing = "cyclic"
    with pytest.raises(ConfigError, match="sharing=cyclic"):
        net.extract(net.largest, calibration=calibration)
