"""Merging and keeping tokens, against the papers' rules as plain loops over images and tokens."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tests.token_rules import loop_merge, mean_of

from vitsearch.elastic import active_state
from vitsearch.elastic.layers.tokens.flow import GONE, FewTokens
from vitsearch.elastic.layers.tokens.mixing import masking
from vitsearch.elastic.layers.tokens.predictor import ElasticTokenPredictor
from vitsearch.elastic.layers.tokens.reduction import best_scored, most_attended, most_similar


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


def test_the_predictor_is_that_of_the_paper() -> None:
    torch.manual_seed(3)
    predictor = ElasticTokenPredictor([8, 12]).double()
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter)
    x, there = torch.randn(2, 5, 8).double(), torch.tensor([[1, 1, 0, 1, 1], [1, 0, 0, 1, 0]])
    found = predictor(x, there.double(), 8)
    weights = active_state(predictor, 8)
    for image in range(2):
        normed = F.layer_norm(x[image], (8,), weights["norm.weight"], weights["norm.bias"], 1e-5)
        inner = F.gelu(normed @ weights["first.weight"].T + weights["first.bias"])
        seen = [token for token in range(5) if there[image, token]]
        mean = torch.stack([inner[token, 4:] for token in seen]).mean(0)
        for token in range(5):
            y = torch.cat([inner[token, :4], mean])
            for name in ("second", "third"):
                y = F.gelu(weights[f"{name}.weight"] @ y + weights[f"{name}.bias"])
            y = weights["last.weight"] @ y + weights["last.bias"]
            torch.testing.assert_close(found[image, token], y.log_softmax(0), atol=1e-5, rtol=1e-5)


def test_masked_tokens_are_as_good_as_gone() -> None:
    torch.manual_seed(4)
    q, k, v = torch.randn(3, 2, 3, 7, 4).double().unbind(0)
    decisions = torch.tensor([[1, 1, 0, 1, 0, 1, 1], [1, 0, 0, 1, 1, 1, 0]]).double()
    masked = F.scaled_dot_product_attention(q, k, v, attn_mask=masking(decisions))
    for image in range(2):
        there = decisions[image].bool()
        own = (part[image : image + 1, :, there] for part in (q, k, v))
        alone = F.scaled_dot_product_attention(*own)
        torch.testing.assert_close(masked[image, :, there], alone[0], atol=1e-4, rtol=1e-4)


def test_the_best_scored_go_on_and_the_others_leave_nothing() -> None:
    torch.manual_seed(5)
    x, scores = torch.randn(2, 7, 3), torch.randn(2, 6)
    flow = best_scored(scores, 2, 1)(FewTokens.of(x))
    again = best_scored(scores[:, :2], 1, 1)(flow)
    for image in range(2):
        order = sorted(range(6), key=lambda token: -float(scores[image, token]))
        torch.testing.assert_close(flow.tokens[image], x[image, [0, order[0] + 1, order[1] + 1]])
        spread = flow.spread()[image]
        gone = [token + 1 for token in order[2:]]
        assert not spread[gone].any()
        torch.testing.assert_close(spread[order[0] + 1], x[image, order[0] + 1])
        assert int((again.places[image] == GONE).sum()) == 5
