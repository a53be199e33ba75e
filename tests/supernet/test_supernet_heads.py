"""What every classifier says, for training: `forward_heads`."""

from __future__ import annotations

import random

import pytest
import torch

from vitsearch import SuperTransformer, VisionTransformer, build_space
from vitsearch.errors import ConfigError


def with_heads(distillation=True, patch_head=True):
    return build_space(
        "glit",
        num_blocks=2,
        embed_dims=[24, 36],
        **{
            "patch_sizes": [4, 7],
            "mixer.head_dim": 12,
            "head.distillation": distillation,
            "head.patch_head": patch_head,
        },
    )


def network(space, sharing="prefix"):
    torch.manual_seed(0)
    return SuperTransformer(space, 5, sharing=sharing).double()


def drawn(space, count):
    rng = random.Random(1)
    return [space.sample(rng) for _ in range(count)]


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sharing", ["prefix", "bilateral", "cyclic"])
@pytest.mark.parametrize("distillation", [False, True])
def test_answers_are_the_logits_of_forward(distillation, sharing, training, images):
    space = with_heads(distillation)
    net = network(space, sharing).train(training)
    architectures = drawn(space, 4)
    x = images(space, 8, dtype=torch.float64)
    heads = net.forward_heads(x, architectures)
    answers = torch.cat([said.answer for said in heads])
    torch.testing.assert_close(answers, net(x, architectures), rtol=0, atol=1e-12)
    assert all((said.distillation is not None) == distillation for said in heads)


@torch.no_grad()
@pytest.mark.parametrize("sharing", ["prefix", "bilateral", "cyclic"])
def test_one_entry_for_each_architecture_whatever_its_grid(sharing, images):
    space = with_heads()
    net = network(space, sharing).eval()
    architectures = [
        space.restrict({"stem.patch_size": 4}).smallest(),
        space.restrict({"stem.patch_size": 7}).largest(),
    ]
    x = images(space, 4, dtype=torch.float64)
    fine, coarse = net.forward_heads(x, architectures)
    assert (fine.grid, coarse.grid) == ((7, 7), (4, 4))
    assert fine.patches.shape == (2, 49, 5)
    assert coarse.patches.shape == (2, 16, 5)
    (alone,) = net.forward_heads(x[2:], architectures[1])
    for found, expected in zip(coarse[:3], alone[:3], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    (by_default,) = net.forward_heads(x)
    assert torch.equal(by_default.logits, net.forward_heads(x, space.largest())[0].logits)


@torch.no_grad()
def test_the_patch_head_sees_the_patches_row_by_row(images):
    space = with_heads()
    net = network(space).eval()
    plan = space.plan(space.largest())
    x = images(space, 2, dtype=torch.float64)
    (tokens,) = net.run_features(x, plan)
    expected = tokens[:, 2:] @ net.head_patch.weight.T + net.head_patch.bias
    (said,) = net.forward_heads(x)
    torch.testing.assert_close(said.patches, expected)


@torch.no_grad()
def test_a_network_of_its_own(images):
    space = with_heads()
    net = VisionTransformer(space, space.smallest(), 5, patch_head=True).double().eval()
    x = images(space, 2, dtype=torch.float64)
    said = net.forward_heads(x)
    assert said.patches.shape == (2, said.grid[0] * said.grid[1], 5)
    assert torch.equal(said.answer, net(x))
    assert net.num_prefix_tokens == 2
    assert VisionTransformer(space, space.smallest(), 5).forward_heads(x.float()).patches is None


def test_batch_that_does_not_divide(images):
    space = with_heads()
    with pytest.raises(ConfigError, match=r"5 images .* 2 architectures"):
        network(space).forward_heads(images(space, 5, dtype=torch.float64), drawn(space, 2))
