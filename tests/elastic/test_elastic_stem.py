from __future__ import annotations

import pytest
import torch
from torch import nn

from vitsearch.elastic import ElasticPatchEmbed, ElasticPatchStem
from vitsearch.spaces.parts import PatchStemPlan


@pytest.mark.parametrize("channels", [1, 5, 8])
def test_patches_class_token_and_positions(channels, randomised):
    layer = randomised(ElasticPatchEmbed(8, 4, 2, 9))
    plain = nn.Conv2d(2, channels, 4, stride=4, dtype=torch.float64)
    with torch.no_grad():
        plain.weight.copy_(layer.weight[:channels])
        plain.bias.copy_(layer.bias[:channels])
    images = torch.randn(3, 2, 12, 12, dtype=torch.float64)
    patches = plain(images).permute(0, 2, 3, 1).reshape(3, 9, channels)  # row by row
    token = layer.cls_token[..., :channels].expand(3, 1, channels)
    expected = torch.cat([token, patches], 1) + layer.pos_embed[..., :channels]
    torch.testing.assert_close(layer(images, channels), expected, rtol=0, atol=1e-12)


def test_every_patch_size_has_an_embedding_of_its_own(randomised):
    embeds = {size: ElasticPatchEmbed(8, size, 2, (12 // size) ** 2) for size in (3, 4, 6)}
    stem = randomised(ElasticPatchStem(embeds))
    images = torch.randn(3, 2, 12, 12, dtype=torch.float64)
    for size in (3, 4, 6):
        grid = 12 // size
        plan = PatchStemPlan(patch_size=size, in_chans=2, embed_dim=5, grid=(grid, grid))
        found = stem(images, plan)
        assert found.shape == (3, 1 + grid**2, 5)
        assert torch.equal(found, embeds[size](images, 5))
        stem.zero_grad()
        found.sum().backward()
        for other in (3, 4, 6):
            grads = [p.grad for p in embeds[other].parameters()]
            assert all(g is not None for g in grads) == (other == size)
