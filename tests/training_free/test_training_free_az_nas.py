"""AZ-NAS: entropies in closed form, trainability of known maps, ranks by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.every_space import quick_space
from torch import Tensor

from vitsearch import VisionTransformer
from vitsearch.training_free.az_expressivity import az_expressivity, spectral_entropy
from vitsearch.training_free.az_nas import rank_aggregate
from vitsearch.training_free.az_trainability import az_trainability
from vitsearch.training_free.half_blocks import half_blocks


def with_spectrum(shares: list[float], rows: int = 32) -> Tensor:
    """Features (rows, C) of any mean whose covariance has these eigenvalues."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(rows, len(shares), generator=generator, dtype=torch.float64)
    columns, _ = torch.linalg.qr(drawn - drawn.mean(dim=0))
    turn, _ = torch.linalg.qr(torch.randn(len(shares), len(shares), generator=generator).double())
    return columns * torch.tensor(shares, dtype=torch.float64).sqrt() @ turn + 3.0


@pytest.mark.parametrize(
    "shares", [[1.0] * 8, [0.5, 0.25, 0.125, 0.125], [1.0, 0.0, 0.0], [3.0, 1.0]]
)
def test_the_entropy_of_a_known_spectrum(shares: list[float]) -> None:
    whole = sum(shares)
    expected = -sum(p / whole * math.log(p / whole) for p in shares if p)
    assert spectral_entropy(with_spectrum(shares)) == pytest.approx(expected, abs=1e-9)
    if shares == [1.0] * 8:
        assert expected == pytest.approx(math.log(8))


def test_fewer_tokens_than_channels_have_the_same_entropy() -> None:
    features = torch.randn(6, 20, dtype=torch.float64)
    values = torch.linalg.eigvalsh(torch.cov(features.T, correction=0)).clamp(min=0)
    shares = (values / values.sum()).tolist()
    expected = -sum(p * math.log(p) for p in shares if p > 1e-14)
    assert spectral_entropy(features) == pytest.approx(expected, abs=1e-9)
    assert spectral_entropy(torch.ones(5, 3)) == 0


def network_of(name: str, architecture: str = "largest") -> tuple[Any, Tensor]:
    space = quick_space(name)
    torch.manual_seed(0)
    network = VisionTransformer(space, getattr(space, architecture)(), 10).eval()
    generator = torch.Generator().manual_seed(0)
    return network, torch.randn(4, *space.input_shape, generator=generator)


def test_halves_are_those_of_the_blocks() -> None:
    network, images = network_of("autoformer")
    found = half_blocks(network, images)
    blocks = [
        (network.layer(node.name), node.plan)
        for node in network.plan.nodes
        if ".blocks." in node.name
    ]
    assert len(found) == 2 * len(blocks)
    x = found[0].before
    for number, (block, sizes) in enumerate(blocks):
        of = block.children_sizes(sizes)
        half = x + block.mixer(block.norm1(x, of["norm1"]), of["mixer"])
        whole = half + block.mlp(block.norm2(half, of["norm2"]), of["mlp"])
        torch.testing.assert_close(found[2 * number].after, half)
        torch.testing.assert_close(found[2 * number + 1].after, whole)
        x = whole
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in network.modules()
    )


def test_blocks_that_are_the_identity_have_the_products_of_signs() -> None:
    network, images = network_of("vitas")
    network.zero_init_residual(True)
    halves = half_blocks(network, images)
    generator = torch.Generator().manual_seed(3)
    expected = []
    for half in halves:
        signs = (2 * torch.randint(0, 2, half.after.shape, generator=generator) - 1).double()
        rows = signs.flatten(0, 1)
        s = float(torch.linalg.svdvals(rows.T @ rows / len(rows))[0])
        expected.append(2 - s - 1 / (s + 1e-6))
    found = az_trainability(network, images, torch.Generator().manual_seed(3))
    assert found == pytest.approx(sum(expected) / len(expected))
    assert az_expressivity(network, images) == pytest.approx(
        len(halves) * spectral_entropy(halves[0].before.detach().flatten(0, 1)), rel=1e-5
    )


def test_halves_with_fewer_tokens() -> None:
    network, images = network_of("GLiT with merged tokens", "smallest")
    halves = half_blocks(network, images)
    assert {half.before.shape == half.after.shape for half in halves} == {True, False}
    assert math.isfinite(az_trainability(network, images, torch.Generator().manual_seed(0)))


def test_ranks_are_put_together_by_their_logarithms() -> None:
    found = rank_aggregate([[0.1, 0.3, 0.2, 0.4], [5, 5, -1, 9]])
    first, second = [1, 3, 2, 4], [2.5, 2.5, 1, 4]
    assert found == pytest.approx(
        [math.log(a / 4) + math.log(b / 4) for a, b in zip(first, second, strict=True)]
    )
    assert max(found) == found[3] == 0
    assert rank_aggregate([[], []]) == []
