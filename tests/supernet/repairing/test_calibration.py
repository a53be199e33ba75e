"""Calibration: what one pass leaves, over batches, processes and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tests.supernet.repairing.networks import batches, images, supernet
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from vitsearch import SuperTransformer, build_space
from vitsearch.errors import ConfigError
from vitsearch.supernet.repairing import Calibration


def assert_equal(first: Calibration, second: Calibration, rtol: float = 1e-9) -> None:
    one, other = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=rtol, atol=1e-9, msg=name)


def seen(net: SuperTransformer, name: str, x: Tensor) -> Tensor:
    """What enters the layer `name` for images x, flattened over tokens."""
    found: list[Tensor] = []
    layer = net.get_submodule(name)
    handle = layer.register_forward_pre_hook(lambda module, args: found.append(args[0].detach()))
    net(x)
    handle.remove()
    return found[0].flatten(0, -2)


def test_moments_are_those_of_all_images_at_once():
    net, x = supernet(), images()
    calibration = net.calibrate(batches())
    for path, last in (("stages.0.blocks.1.mlp", "fc2"), ("stages.0.blocks.2.attn", "proj")):
        record, rows = calibration.record(path), seen(net, f"{path}.{last}", x)
        assert record.inputs.count == len(rows)
        torch.testing.assert_close(record.inputs.mean, rows.mean(0))
        torch.testing.assert_close(record.inputs.covariance, rows.T.cov(correction=0))
        made = rows @ net.get_submodule(f"{path}.{last}").weight.T
        torch.testing.assert_close(record.outputs.variance, made.var(0, correction=0))


def test_keys_are_centred_by_image_and_queries_are_not():
    net, x = supernet(), images()
    calibration = net.calibrate([x])
    path = "stages.0.blocks.0.attn"
    record, attn = calibration.record(path), net.get_submodule(path)
    rows = seen(net, f"{path}.q", x).view(len(x), -1, 24)
    queries = torch.nn.functional.linear(rows, attn.q.weight, attn.q.bias)
    keys = torch.nn.functional.linear(rows, attn.k.weight, attn.k.bias)
    keys = keys - keys.mean(1, keepdim=True)
    torch.testing.assert_close(record.queries.mean, queries.flatten(0, 1).mean(0))
    moment = keys.flatten(0, 1).T @ keys.flatten(0, 1) / record.keys.count
    torch.testing.assert_close(record.keys.second_moment, moment)


def test_a_file_gives_the_same_numbers_and_no_images():
    net = supernet()
    calibration = net.calibrate(batches(), gradients=True)
    again = Calibration.from_state(calibration.state_dict())
    assert_equal(calibration, again, rtol=0)
    assert again.num_images == calibration.num_images == 48
    assert len(calibration.images) == 3
    assert not again.images
    hidden, inner = 96, 24
    own = sum(t.numel() * t.element_size() for t in again.state_dict().values())
    assert calibration.nbytes <= own
    assert calibration.nbytes >= 3 * 8 * (hidden**2 + 3 * inner**2)


def test_merged_calibrations_are_those_of_all_images():
    net, x = supernet(), images()
    whole = net.calibrate([x], gradients=True)
    first, second = net.calibrate([x[:17]], gradients=True), net.calibrate([x[17:]], gradients=True)
    first.merge(second)
    assert_equal(whole, first)


def _process(rank: int, folder: str) -> None:
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    own = supernet().calibrate([images()[rank::2]], gradients=True)
    torch.save(own.state_dict(), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_see_what_one_sees(tmp_path: Path) -> None:
    spawn(_process, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert_equal(supernet().calibrate([images()], gradients=True), Calibration.from_state(found[0]))


def test_taylor_scores_are_squared_first_order_changes():
    net, x = supernet(), images(6)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    calibration = net.calibrate([[x[:4], labels[:4]], [x[4:], labels[4:]]], gradients=True)
    path = "stages.0.blocks.1.mlp"
    kept: list[Tensor] = []
    handle = net.get_submodule(f"{path}.fc2").register_forward_pre_hook(
        lambda module, args: kept.append(args[0])
    )
    loss = torch.nn.functional.cross_entropy(net(x), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, kept[0])
    handle.remove()
    wanted = (kept[0] * gradient).sum(1).square().sum(0)
    torch.testing.assert_close(calibration.record(path).taylor, wanted)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_training_mode_and_weights_stay():
    net = supernet().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.calibrate(batches())
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_a_calibration_of_another_network_is_refused():
    net = supernet()
    other = supernet(embed_dim=36).calibrate(batches())
    for call in (net.order, lambda c: net.extract(net.largest, calibration=c)):
        with pytest.raises(ConfigError, match="not in this network") as info:
            call(other)
        assert "\n" not in str(info.value)


def test_no_images_and_no_gradients_are_refused():
    net = supernet()
    with pytest.raises(ConfigError, match="no images"):
        net.calibrate([])
    with pytest.raises(ConfigError, match="gradients=True"):
        net.order(net.calibrate(batches()), "taylor")
    with pytest.raises(ConfigError, match="importance=best is unknown"):
        net.order(net.calibrate(batches()), "best")
    with pytest.raises(ConfigError, match="needs a calibration"):
        net.order(importance="variance")


@pytest.mark.parametrize("name", ["autoformer", "vit_resnas", "glit"])
def test_spaces_of_the_papers_are_calibrated_too(name):
    space = build_space(name)
    net = SuperTransformer(space, 4).double().eval()
    shape = (8, space.in_chans, space.image_size, space.image_size)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = net(x)
    net.order(net.calibrate([x]))
    torch.testing.assert_close(net(x), before)
