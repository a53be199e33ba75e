"""Weights of the same architecture for other image sizes, channels and classes."""

from __future__ import annotations

import random

import pytest
import torch

from vitsearch.errors import CheckpointError
from vitsearch.spaces import SearchSpace, build_space
from vitsearch.supernet import VisionTransformer
from vitsearch.supernet.storage.inherit import inherit_weights


def network_of(space: SearchSpace, **settings: object) -> VisionTransformer:
    torch.manual_seed(0)
    architecture = space.sample(random.Random(1))
    return VisionTransformer(space, architecture, **{"num_classes": 5, **settings}).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["glit", "vitas", "vit_resnas", "autoformer"])
def test_the_same_network_gets_the_same_weights(name: str) -> None:
    space = build_space(name)
    given, network = network_of(space), network_of(space, drop_path_rate=0.2, patch_head=True)
    for parameter in network.parameters():
        torch.nn.init.ones_(parameter)
    assert inherit_weights(network, given.state_dict(), "it") == ()
    images = torch.rand(2, space.in_chans, space.image_size, space.image_size)
    assert torch.equal(network.eval()(images), given(images))


@pytest.mark.parametrize("name", ["glit", "vitas", "vit_resnas", "autoformer"])
def test_other_images_and_classes(name: str) -> None:
    space = build_space(name)
    given = network_of(space)
    larger = space.resized(image_size=2 * space.image_size)
    network = network_of(larger, num_classes=3)
    notes = inherit_weights(network, given.state_dict(), "it")
    assert notes == (
        f"position embeddings are resampled for {2 * space.image_size} px",
        "the classifier is fresh: 3 classes, not 5",
    )
    own, before = network.state_dict(), given.state_dict()
    kept = [name for name in own if "pos_embed" not in name and not name.startswith("head.")]
    assert len(kept) > len(own) // 2
    assert all(torch.equal(own[name], before[name]) for name in kept)


def test_channels_are_adapted_as_timm_does() -> None:
    colour = build_space("glit").resized(in_chans=3)
    grey = colour.resized(in_chans=1)
    given, network = network_of(colour), network_of(grey)
    notes = inherit_weights(network, given.state_dict(), "it")
    assert notes == ("the first convolution is adapted from 3 to 1 channel(s)",)
    images = torch.rand(2, 1, 28, 28)
    same = given(images.expand(-1, 3, -1, -1))
    assert torch.allclose(network(images), same, atol=1e-5)
    back = network_of(colour)
    inherit_weights(back, network.state_dict(), "it")
    assert torch.allclose(back(images.expand(-1, 3, -1, -1)), same, atol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    space = build_space("glit")
    given = network_of(space)
    with pytest.raises(CheckpointError, match=r"from here: stem.* is for 1 channel\(s\)"):
        inherit_weights(network_of(space.resized(in_chans=2)), given.state_dict(), "from here")
    state = given.state_dict()
    del state["norm.weight"]
    with pytest.raises(CheckpointError, match=r"from here does not fit: missing: norm.weight"):
        inherit_weights(network_of(space), state, "from here")
