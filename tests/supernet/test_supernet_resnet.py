"""ResNets: torchvision's and timm's networks with their weights, and what cannot be one."""

from __future__ import annotations

import json
import random

import pytest
import timm
import torch
from tests.every_space import perturbed, quick_space

import vitsearch
from vitsearch import Architecture, SearchSpace, SuperTransformer
from vitsearch.elastic import rewire
from vitsearch.errors import CheckpointError, SpaceError


def theirs(name: str) -> torch.nn.Module:
    """timm's, with noise on what begins as zeros and ones."""
    torch.manual_seed(0)
    network = timm.create_model(name)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.dim() == 1:
                tensor.add_(0.2 * torch.rand_like(tensor))
    return network.eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_logits_and_maps_are_those_of_the_imported_network(name, tmp_path):
    network = theirs(name)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    ours = vitsearch.load_published_checkpoint(name, tmp_path / "weights.pth", image_size=65)
    x = torch.randn(2, 3, 65, 65, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, maps = network(x), network.forward_features(x)
        scale = logits.abs().max()
        assert (ours(x) - logits).abs().max() < 1e-5 * max(scale, 1)
        assert (ours.forward_features(x) - maps).abs().max() < 1e-5 * max(maps.abs().max(), 1)
        found = ours.forward_intermediates(x, intermediates_only=True)
        expected = network.forward_intermediates(x, intermediates_only=True)[1:]
    for mine, their in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-4, atol=1e-4)
    assert [info["reduction"] for info in ours.feature_info] == [
        65 // side for side in (17, 9, 5, 3)
    ]


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_every_tensor_of_a_checkpoint_is_taken(name):
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    shapes = {n: tuple(t.shape) for n, t in state.items() if "num_batches" not in n}
    with torch.device("meta"):
        network = vitsearch.create_model(name)
    own = {n: tuple(t.shape) for n, t in network.state_dict().items()}
    assert len(own) == len(shapes)
    assert sorted(own.values()) == sorted(shapes.values())


def test_deep_stems_are_refused_by_name():
    with torch.device("meta"):
        state = timm.create_model("resnet18d").state_dict()
    with pytest.raises(
        CheckpointError, match=r"conv1.0.weight: .* deep stem .* legal are resnet18"
    ):
        vitsearch.load_published_checkpoint("resnet18", state)
    with pytest.raises(SpaceError, match=r"resnet50d is unknown; legal: .*resnet50"):
        vitsearch.published("resnet50d")


def test_a_checkpoint_of_another_resnet_is_refused():
    with pytest.raises(CheckpointError, match=r"missing: layer1\.2"):
        vitsearch.load_published_checkpoint("resnet34", theirs("resnet18").state_dict())


@pytest.mark.parametrize("name", ["small ResNet", "small ResNet of bottlenecks"])
def test_channels_inside_trade_places_without_a_change(name):
    space = quick_space(name)
    network = perturbed(SuperTransformer(space, num_classes=3)).double().eval()
    x = torch.randn(2, space.in_chans, space.image_size, space.image_size, dtype=torch.float64)
    with torch.no_grad():
        before = network(x)
        assert len(rewire(network)) == sum(
            2 if block.bottleneck else 1 for stage in network.stages for block in stage.blocks
        )
        torch.testing.assert_close(network(x), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["small ResNet", "small ResNet of bottlenecks"])
def test_architectures_survive_json(name):
    space, rng = quick_space(name), random.Random(0)
    for _ in range(100):
        architecture = space.sample(rng)
        again = Architecture.from_dict(json.loads(json.dumps(architecture.to_dict())))
        assert again == architecture
        assert space.canonical(again.to_dict()) == architecture


def test_blocks_begin_as_their_shortcuts():
    network = SuperTransformer(quick_space("small ResNet"), num_classes=3)
    network.zero_init_residual("auto")
    block = network.stages[0].blocks[1].eval()
    (plan,) = [n.plan for n in network.space.plan(network.largest).nodes if n.stage == 0 and n.slot]
    x = torch.randn(2, plan.in_dim, 5, 5)
    assert torch.equal(block(x, plan), x.relu())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depths": [[0, 1, 2], 2, [1, 3]]}, "a depth is 1 or more"),
        ({"depths": None, "skippable": [[0], [], []]}, "it cannot be skipped"),
        ({"transition": {"kind": "reduction"}}, "lead there themselves"),
        ({"head": {"pool": "avg"}}, "gives a map, but the head takes tokens; choose a space/head"),
        ({"head": {"pool": "token", "norm_place": "none"}}, "needs a class token"),
        ({"stem": {"kind": "patch", "patch_sizes": [4]}}, "the stem gives tokens, but stage 0"),
        ({"block": {"kind": "basic", "stride": 3}}, "space.block.stride=3 must be at most 2"),
        ({"block": {"kind": "basic", "expansions": []}}, "expansions is an empty list"),
    ],
)
def test_what_does_not_fit_is_one_line(change, words):
    with pytest.raises(SpaceError) as caught:
        SearchSpace({**quick_space("small ResNet").config, **change})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
