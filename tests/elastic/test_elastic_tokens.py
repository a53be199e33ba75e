"""Merging and keeping tokens, against the papers' rules as plain loops over images and tokens."""

from __future__ import annotations

import math

import pytest
import torch
from tests.token_rules import loop_merge, mean_of

from vitsearch.elastic.layers.tokens.flow import FewTokens
from vitsearch.elastic.layers.tokens.reduction import most_attended, most_similar


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("tokens", [12, 13])
@pytest.mark.parametrize("in_order", [False, True])
def test_merging_is_the_rule_of_the_paper(prefix: int, tokens: int, in_order: bool) -> None:
    torch.manual_seed(prefix)
    for number in range((tokens - prefix) // 2 + 1):
        x, keys = torch.randn(3, tokens, 6), torch.randn(3, tokens, 4)
        counts = torch.randint(1, 5, (3, tokens)).float()
        made = most_similar(keys, counts, number, prefix, in_order=in_order)
        flow = made(FewTokens.of(x)._replace(counts=counts))
        for image in range(3):
            groups = loop_merge(keys[image], number, prefix, in_order=in_order)
            merged, counted = mean_of(x[image], counts[image], groups)
            torch.testing.assert_close(flow.tokens[image], merged)
            torch.testing.assert_close(flow.counts[image], counted)
            for place, own in enumerate(groups):
                assert all(int(flow.places[image, token]) == place for token in own)


def test_merging_again_and_spreading_gives_every_place_its_token() -> None:
    torch.manual_seed(0)
    flow = FewTokens.of(torch.randn(2, 11, 3))
    before = flow.tokens
    for number in (4, 3, 1):
        made = most_similar(flow.tokens, flow.counts, number, 1, in_order=False)
        flow = made(flow)
    assert flow.counts.sum(dim=1).tolist() == [11, 11]
    spread = flow.spread()
    torch.testing.assert_close(spread[:, 0], before[:, 0])  # the class token stays alone
    for image in range(2):
        for token in range(flow.tokens.shape[1]):
            own = flow.places[image] == token
            assert int(own.sum()) == int(flow.counts[image, token])
            torch.testing.assert_close(flow.tokens[image, token], before[image, own].mean(0))
            torch.testing.assert_close(spread[image, own][0], flow.tokens[image, token])


@pytest.mark.parametrize("prefix", [1, 2])
def test_keeping_is_the_rule_of_the_paper(prefix: int) -> None:
    torch.manual_seed(1)
    x, attention = torch.randn(2, 12, 5), torch.randn(2, 12).softmax(-1)
    kept = math.ceil(0.5 * (12 - prefix))
    flow = most_attended(attention, kept, prefix)(FewTokens.of(x), counts=False)
    for image in range(2):
        order = sorted(range(prefix, 12), key=lambda token: -float(attention[image, token]))
        fused = sum(attention[image, token] * x[image, token] for token in order[kept:])
        left = [x[image, token] for token in (*range(prefix), *order[:kept])]
        torch.testing.assert_close(flow.tokens[image], torch.stack([*left, fused]))
        assert [int(flow.places[image, token]) for token in order[:kept]] == list(
            range(prefix, prefix + kept)
        )
        assert {int(flow.places[image, token]) for token in order[kept:]} == {prefix + kept}
    assert flow.counts.eq(1).all()


def test_gradients_reach_every_token() -> None:
    torch.manual_seed(2)
    x = torch.randn(2, 9, 4, requires_grad=True)
    flow = most_similar(x, torch.ones(2, 9), 3, 1, in_order=False)(FewTokens.of(x))
    flow.spread().square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum(dim=-1).min() > 0
