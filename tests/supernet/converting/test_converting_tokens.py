"""Pretrained networks with fewer tokens: the papers' rules, repairs, what follows the tokens."""

from __future__ import annotations

import pytest
import torch
from tests.supernet.repairing.networks import batches, images, supernet, timm_network, with_sizes
from tests.token_rules import loop_vit
from torch.utils.flop_counter import FlopCounterMode

import vitsearch
from vitsearch.errors import ConfigError, SpaceError

MERGE = {"kind": "merge", "merged": [0, 1, 4]}
KEEP = {"kind": "keep", "keep": [0.5, 1], "slots": [1]}


@pytest.mark.parametrize("merged", [1, 4])
def test_merging_is_the_papers_rule_block_by_block(merged: int) -> None:
    timm_net = timm_network()
    net = vitsearch.from_timm(timm_net, tokens=MERGE)
    architecture = with_sizes(net, merged=merged)
    with torch.no_grad():
        expected = torch.stack([loop_vit(timm_net, image, merged=merged) for image in images(6)])
        assert (net(images(6), architecture) - expected).abs().max() < 1e-12
        assert (net(images(6)) - timm_net(images(6))).abs().max() < 1e-10  # the largest merges none


def test_keeping_is_the_papers_rule_block_by_block() -> None:
    timm_net = timm_network()
    net = vitsearch.from_timm(timm_net, tokens=KEEP, options={"removable": []})
    architecture = with_sizes(net, **{"stages.0.keep.0": 0.5})
    with torch.no_grad():
        expected = torch.stack([loop_vit(timm_net, image, kept={1: 0.5}) for image in images(6)])
        assert (net(images(6), architecture) - expected).abs().max() < 1e-12


def test_random_architectures_are_what_their_parts_say() -> None:
    from tests.every_space import drawn, perturbed

    net = perturbed(supernet(tokens=MERGE))
    x = images(8)
    for architecture in drawn(net.space, 40):
        network = net.extract(architecture)
        with torch.no_grad():
            assert (network(x) - net(x, architecture)).abs().max() < 1e-12
        network.requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            network(x[:1])
        assert counter.get_total_flops() / 2 == network.cost().macs


def test_features_are_maps_in_which_every_patch_has_its_token() -> None:
    net = supernet(tokens=MERGE)
    network = net.extract(with_sizes(net, merged=4))
    final, maps = network.forward_intermediates(images(4))
    assert [tuple(one.shape) for one in maps] == [(4, 24, 3, 3)] * 3
    assert final.shape == (4, 10, 24)
    distinct = [len(one[0].flatten(1).T.unique(dim=0)) for one in maps]
    assert distinct == [5, 3, 2]  # of nine patches, at most half merge in a block


def test_the_sequential_repair_returns_to_the_merged_stream_of_the_original() -> None:
    net = supernet(tokens=MERGE)
    calibration = net.calibrate(batches())
    net.order(calibration)
    sizes = {"merged": 1, "mlp_hidden": 48, "num_heads": 2}
    architecture = with_sizes(net, **sizes)
    x = torch.cat(batches())

    @torch.no_grad()
    def lost(network: torch.nn.Module) -> float:
        return float((network(x) - net(x)).square().sum())

    with torch.no_grad():
        cut = net.extract(architecture)
        folded = net.extract(architecture, calibration=calibration)
        fitted = net.extract(architecture, calibration=calibration, images=calibration.images)
    assert lost(fitted) < lost(folded) < lost(cut)


def test_without_anything_cut_or_merged_the_repair_changes_nothing() -> None:
    net = supernet(tokens=MERGE)
    calibration = net.calibrate(batches())
    same = net.extract(net.largest, calibration=calibration, images=calibration.images)
    with torch.no_grad():
        assert (same(images()) - net(images())).abs().max() < 1e-8


def test_a_network_with_fewer_tokens_is_saved_loaded_and_not_given_to_timm(tmp_path) -> None:
    net = supernet(tokens=MERGE)
    network = net.extract(with_sizes(net, merged=1)).float()
    loaded = vitsearch.load_model(vitsearch.save_model(network, tmp_path / "model"))
    x = images(4).float()
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))
    with pytest.raises(ConfigError, match=r"blocks\.0: its tokens become fewer"):
        network.to_timm()
    assert net.extract(net.largest).to_timm() is not None


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({"kind": "merge", "merged": [1, 2]}, "the largest network has to keep all tokens"),
        ({"kind": "merge", "merged": [0, 9]}, "at most half of them, 4"),
        (KEEP, "ranks tokens by attention, and some blocks of this space have none"),
    ],
)
def test_what_does_not_fit_the_network(tokens: dict[str, object], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        vitsearch.from_timm(timm_network(), tokens=tokens)


def test_rotated_positions_stay_where_they_are() -> None:
    with pytest.raises(SpaceError, match="mixer rope_attention needs the tokens in their places"):
        vitsearch.from_timm("eva02_tiny_patch14_224", tokens=MERGE)


def test_predictors_are_fresh_and_the_original_stays() -> None:
    tokens = {"kind": "predict", "keep": [0.5, 1], "slots": [1]}
    timm_net = timm_network()
    net = vitsearch.from_timm(timm_net, tokens=tokens, options={"removable": []})
    x = images(4)
    with torch.no_grad():
        assert (net(x) - timm_net(x)).abs().max() < 1e-10
    architecture = with_sizes(net, **{"stages.0.keep.0": 0.5})
    network = net.extract(architecture)
    assert [name for name, _ in network.named_parameters() if "predictor" in name]
    assert not [name for name in net.extract(net.largest).state_dict() if "predictor" in name]
    with torch.no_grad():
        assert (network(x) - net(x, architecture)).abs().max() < 1e-12
    calibration = net.calibrate(batches())
    with pytest.raises(ConfigError, match="tokens that a predictor drops"):
        net.extract(architecture, calibration=calibration, images=calibration.images)
