"""The largest sub-network of a converted network is that network: outputs, sizes, weights."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm_networks import CONVERTED, NAMES, REFUSED, create, num_parameters, pictures

import vitsearch
from vitsearch.supernet.converting.reading import read_network
from vitsearch.supernet.converting.weights import state_from_timm, state_to_timm


def test_every_name_is_known_to_convert_or_not():
    assert len(CONVERTED) >= 150
    assert REFUSED.keys() <= set(NAMES)


WHOLE = dict.fromkeys(("img_size", "patch_size", "embed_dim", "depth", "num_heads", "num_classes"))
"""Nothing made small."""


def assert_same(theirs, ours, tolerance, side=None):
    """Equal logits, of the supernet and of what is taken out, and equal tokens."""
    x = pictures(theirs, side=side)
    taken = ours.extract(ours.largest)
    with torch.no_grad():
        logits = theirs(x)
        assert (ours(x) - logits).abs().max() < tolerance
        assert (taken(x) - logits).abs().max() < tolerance
        tokens = theirs.forward_features(x)
        assert (taken.forward_features(x) - tokens).abs().max() < tolerance
        features = theirs.forward_head(tokens, pre_logits=True)
        assert (taken.forward_head(tokens, pre_logits=True) - features).abs().max() < tolerance


@pytest.mark.parametrize("name", CONVERTED)
def test_same_network(name):
    theirs = create(name)
    ours = vitsearch.from_timm(theirs)
    assert_same(theirs, ours, 1e-10)
    assert ours.cost(ours.largest).params == num_parameters(theirs) == num_parameters(ours)

    reading = read_network(theirs, name)
    state = theirs.state_dict()
    found = state_from_timm(state, reading)
    assert found.keys() == ours.state_dict().keys()
    back = state_to_timm(found, reading)
    assert back.keys() == state.keys()
    assert all(torch.equal(tensor, back[key]) for key, tensor in state.items())

    assert_same(theirs.float(), ours.float(), 1e-5)


@pytest.mark.parametrize("name", CONVERTED[::3])
def test_other_image_size(name):
    theirs = create(name)
    ours = vitsearch.from_timm(theirs, img_size=20)
    theirs.set_input_size(20)
    assert ours.space.image_size == 20
    assert_same(theirs, ours, 1e-10, side=20)
    if not theirs.dynamic_img_size:  # else timm itself wants patches to fill the image
        theirs = create(name, img_size=14)
        assert_same(theirs, vitsearch.from_timm(theirs), 1e-10)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("test_vit", 160),
        ("test_vit2", 160),
        ("test_vit3", 160),
        ("test_vit4", 160),
    ],
)
def test_as_timm_has_it(name, size, tmp_path):
    theirs = create(name, **WHOLE)
    ours = vitsearch.from_timm(theirs)
    assert ours.space.image_size == size
    assert_same(theirs, ours, 1e-10)
    # Weights for one size at another: resampled as timm does it.
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    file = tmp_path / "weights.safetensors"
    smaller = vitsearch.from_timm(name, weights=file, img_size=96, num_classes=7)
    overlay = {"file": str(file)}
    expected = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, img_size=96, num_classes=7
    ).eval()
    assert smaller.num_classes == 7
    assert smaller.head.weight.dtype == torch.float32
    tokens = smaller.extract(smaller.largest).forward_features(pictures(smaller))
    torch.testing.assert_close(tokens, expected.forward_features(pictures(smaller)))


def test_other_classes_are_fresh_and_features_alone_are_possible():
    theirs = create("vit_base_patch16_224")
    x = pictures(theirs)
    other = vitsearch.from_timm(theirs, num_classes=5)
    assert other(x).shape == (2, 5)
    for name in ("vit_base_patch16_224", "deit_tiny_distilled_patch16_224"):
        theirs = create(name)
        ours = vitsearch.from_timm(theirs, num_classes=0)
        theirs.reset_classifier(0)
        assert (ours(x) - theirs(x)).abs().max() < 1e-12
        assert (ours.extract(ours.largest)(x) - theirs(x)).abs().max() < 1e-12


def test_the_original_is_left_alone():
    theirs = create("vit_base_patch16_224")
    before = copy.deepcopy(theirs.state_dict())
    ours = vitsearch.from_timm(theirs)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[key]) for key, tensor in theirs.state_dict().items())
