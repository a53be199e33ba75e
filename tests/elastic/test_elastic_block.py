from __future__ import annotations

import pytest
import torch

from vitsearch.elastic import (
    AttentionSizes,
    ElasticAttention,
    ElasticBlock,
    ElasticGlitMixer,
    ElasticLocal,
    ElasticMlp,
)
from vitsearch.elastic.layers.local import LocalSizes
from vitsearch.spaces import BlockPlan
from vitsearch.spaces.parts import GlitMixerPlan, MlpPlan


def mixer_plan(thirds, local="sequence"):
    return GlitMixerPlan(
        embed_dim=12,
        num_tokens=10,
        grid=(3, 3),
        global_dim=4 * thirds,
        num_heads=thirds,
        head_dim=4 if thirds else 0,
        local_dim=12 - 4 * thirds,
        local_inner=2 * (12 - 4 * thirds),
        kernel_size=3 if thirds < 3 else 0,
        local=local,
    )


def new_mixer(local="sequence"):
    return ElasticGlitMixer(
        ElasticAttention(12, 3, 4), ElasticLocal(12, 24, 5, on_grid=local == "grid")
    )


@pytest.mark.parametrize("local", ["sequence", "grid"])
@pytest.mark.parametrize("thirds", [0, 1, 2, 3])
def test_mixer_puts_both_halves_side_by_side(thirds, local, randomised):
    mixer = randomised(new_mixer(local)).eval()
    plan = mixer_plan(thirds, local)
    x = torch.randn(2, 10, 12, dtype=torch.float64)
    parts = []
    if thirds:
        parts.append(mixer.attn(x[..., : 4 * thirds], AttentionSizes(4 * thirds, thirds, 4)))
    if thirds < 3:
        dim = 12 - 4 * thirds
        parts.append(mixer.local(x[..., 4 * thirds :], LocalSizes(dim, 2 * dim, 3, (3, 3))))
    assert torch.equal(mixer(x, plan), torch.cat(parts, -1))


def test_nothing_crosses_the_seam(randomised):
    mixer = randomised(new_mixer()).eval()
    x = torch.randn(2, 10, 12, dtype=torch.float64, requires_grad=True)
    mixer(x, mixer_plan(1))[..., :4].sum().backward()
    assert x.grad[..., :4].any()
    assert not x.grad[..., 4:].any()


def test_halves_that_nobody_uses_may_be_missing(randomised):
    whole = randomised(new_mixer()).eval()
    x = torch.randn(2, 10, 12, dtype=torch.float64)
    only_global = ElasticGlitMixer(whole.attn, None)
    only_local = ElasticGlitMixer(None, whole.local)
    assert torch.equal(only_global(x, mixer_plan(3)), whole(x, mixer_plan(3)))
    assert torch.equal(only_local(x, mixer_plan(0)), whole(x, mixer_plan(0)))


def test_block_is_pre_norm_with_two_residuals(randomised):
    block = randomised(ElasticBlock(12, new_mixer(), ElasticMlp(12, 48), norm_eps=1e-3)).eval()
    plan = BlockPlan(
        embed_dim=12,
        norm_eps=1e-3,
        mixer=mixer_plan(2),
        mlp=MlpPlan(embed_dim=12, hidden_dim=30, num_tokens=10),
    )
    x = torch.randn(2, 10, 12, dtype=torch.float64)

    def norm(layer, y):
        return torch.nn.functional.layer_norm(y, (12,), layer.weight, layer.bias, 1e-3)

    middle = x + block.mixer(norm(block.norm1, x), plan.mixer)
    expected = middle + block.mlp(norm(block.norm2, middle), plan.mlp)
    torch.testing.assert_close(block(x, plan), expected, rtol=0, atol=1e-12)


def test_drop_path_drops_whole_examples_in_training_only(randomised):
    block = randomised(ElasticBlock(12, new_mixer(), ElasticMlp(12, 48), drop_path=0.5))
    plain = ElasticBlock(12, block.mixer, block.mlp).double()
    plain.norm1, plain.norm2 = block.norm1, block.norm2
    plan = BlockPlan(
        embed_dim=12,
        norm_eps=1e-6,
        mixer=mixer_plan(3),
        mlp=MlpPlan(embed_dim=12, hidden_dim=48, num_tokens=10),
    )
    x = torch.randn(400, 10, 12, dtype=torch.float64)
    block.eval()
    assert torch.equal(block(x, plan), plain.eval()(x, plan))
    block.train()
    torch.manual_seed(0)
    unchanged = (block(x, plan) == x).flatten(1).all(1).double().mean()
    assert unchanged == pytest.approx(0.25, abs=0.07)
