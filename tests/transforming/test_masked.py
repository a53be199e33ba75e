"""The softmax over valid options, and the policy's gradient, against golden numbers.

Those of `tests/fixtures/nat_golden.json` were measured on the public code of NAT++ where that is
right, and computed without its defects elsewhere.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from vitsearch.transforming.learning import advantages
from vitsearch.transforming.masked import masked_entropy, masked_log_softmax

GOLDEN = json.loads((Path(__file__).parents[1] / "fixtures" / "nat_golden.json").read_text())
TOY = GOLDEN["toy_policy_gradient"]


def double(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("case", GOLDEN["masked_softmax"], ids=lambda case: case["source"])
def test_probabilities_entropies_and_their_gradients(case: dict) -> None:
    logits = double(case["logits"]).requires_grad_()
    valid = torch.tensor(case["mask"], dtype=torch.bool)
    log_probs = masked_log_softmax(logits, valid)
    torch.testing.assert_close(log_probs.exp(), double(case["probs"]), rtol=0, atol=1e-12)
    assert (log_probs.exp()[~valid] == 0).all()
    action = GOLDEN["operations"].index(case["action"])
    assert float(log_probs[action]) == pytest.approx(case["log_prob"], abs=1e-12)
    (gradient,) = torch.autograd.grad(log_probs[action], logits, retain_graph=True)
    torch.testing.assert_close(gradient, double(case["grad_log_prob"]), rtol=0, atol=1e-12)
    entropy = masked_entropy(log_probs, valid)
    assert float(entropy) == pytest.approx(case["entropy"], abs=1e-12)
    (gradient,) = torch.autograd.grad(entropy, logits)
    torch.testing.assert_close(gradient, double(case["grad_entropy"]), rtol=0, atol=1e-12)
    assert (gradient[~valid] == 0).all()
    gathered = torch.softmax(logits.detach()[valid], 0)
    torch.testing.assert_close(log_probs.exp()[valid], gathered, rtol=0, atol=1e-15)


def test_a_row_with_one_valid_option() -> None:
    logits = double([1.0, -2.0, 3.0]).requires_grad_()
    valid = torch.tensor([False, True, False])
    log_probs = masked_log_softmax(logits, valid)
    entropy = masked_entropy(log_probs, valid)
    assert float(entropy) == 0
    (gradient,) = torch.autograd.grad(entropy + log_probs[1], logits)
    assert (gradient == 0).all()


def toy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits = double(TOY["logits"]).requires_grad_()
    valid = torch.tensor(TOY["mask"], dtype=torch.bool)
    return logits, valid, masked_log_softmax(logits, valid)


def sequences() -> list[tuple[int, ...]]:
    valid = torch.tensor(TOY["mask"], dtype=torch.bool)
    return list(itertools.product(*(row.nonzero()[:, 0].tolist() for row in valid)))


def reward_of(taken: tuple[int, ...]) -> float:
    found = TOY["reward"]
    for number in taken:
        found = found[number]
    return float(found)


def log_prob(log_probs: torch.Tensor, taken: tuple[int, ...]) -> torch.Tensor:
    return sum(log_probs[slot, number] for slot, number in enumerate(taken))  # type: ignore[return-value]


def test_single_samples_estimate_the_gradient_without_bias() -> None:
    logits, _, log_probs = toy()
    expected = sum(log_prob(log_probs, s).exp() * reward_of(s) for s in sequences())
    assert float(expected) == pytest.approx(TOY["expected_reward"], abs=1e-12)
    (exact,) = torch.autograd.grad(expected, logits, retain_graph=True)
    golden = double(TOY["grad_expected_reward"])
    torch.testing.assert_close(exact, golden, rtol=0, atol=1e-12)
    mean = torch.zeros_like(golden)
    for one in sequences():
        own = log_prob(log_probs, one)
        (gradient,) = torch.autograd.grad(own, logits, retain_graph=True)
        mean += own.exp().detach() * reward_of(one) * gradient
    torch.testing.assert_close(mean, golden, rtol=0, atol=1e-12)


def mean_over_pairs(of) -> torch.Tensor:
    """The expected gradient of two samples, with advantages by a rule."""
    logits, _, log_probs = toy()
    mean = torch.zeros_like(logits)
    for pair in itertools.product(sequences(), repeat=2):
        probability = sum(log_prob(log_probs, one) for one in pair).exp().detach()
        gains = of([reward_of(one) for one in pair])
        loss = sum(gain * log_prob(log_probs, one) for gain, one in zip(gains, pair, strict=True))
        (gradient,) = torch.autograd.grad(loss / 2, logits, retain_graph=True)
        mean += probability * gradient
    return mean.detach()


def test_the_mean_of_the_others_is_no_bias() -> None:
    golden = double(TOY["grad_expected_reward"])
    torch.testing.assert_close(mean_over_pairs(advantages), golden, rtol=0, atol=1e-12)

    def with_itself(rewards: list[float]) -> list[float]:
        mean = sum(rewards) / len(rewards)
        return [reward - mean for reward in rewards]

    assert (mean_over_pairs(with_itself) - golden).abs().max() > 1e-3
