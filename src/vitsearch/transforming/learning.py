"""How the policy learns: REINFORCE on what its transformations gain.

Each step sees several given architectures and several transformations of each. The baseline of one
is the mean of the others from the same architecture (leave-one-out: unbiased, and without a state).
The paper (NAT, section 3.3) takes one transformation of one architecture and a moving average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vitsearch.transforming.policy import Policy, Transformation

_BETAS = (0.9, 0.99)
_CLIP = 1.0
_MEMORY = 0.9  # of the running size of advantages


@dataclass(frozen=True, slots=True)
class Group:
    """Transformations of one architecture, and what each has gained.

    Attributes:
        transformations: At least two.
        rewards: Score of the output minus score of the given architecture.
    """

    transformations: Sequence[Transformation]
    rewards: Sequence[float]


def advantages(rewards: Sequence[float]) -> list[float]:
    """Each reward minus the mean of the others."""
    others = len(rewards) - 1
    assert others > 0, rewards
    total = sum(rewards)
    return [reward - (total - reward) / others for reward in rewards]


def objective(
    policy: Policy, groups: Sequence[Group], *, scale: float = 1.0, entropy_weight: float = 0.0
) -> torch.Tensor:
    """What is made larger: its gradient estimates that of the expected reward, and of entropy.

    Args:
        policy: It.
        groups: The transformations of a step.
        scale: Advantages are divided by it.
        entropy_weight: Of the entropy of a walk in nats, summed over its decisions.
    """
    walks = [one for group in groups for one in group.transformations]
    gains = [gain / scale for group in groups for gain in advantages(group.rewards)]
    log_probs, entropies = policy.log_probs(walks)
    return (log_probs * log_probs.new_tensor(gains) + entropy_weight * entropies).mean()


class Learner:
    """Steps of Adam.

    Attributes:
        policy: What learns.
    """

    def __init__(self, policy: Policy, *, lr: float, entropy_weight: float) -> None:
        self.policy = policy
        self._entropy_weight = entropy_weight
        self._optimizer = torch.optim.Adam(policy.parameters(), lr=lr, betas=_BETAS)
        self._size: float | None = None

    def step(self, groups: Sequence[Group]) -> None:
        """Learn from what some transformations have gained."""
        own = [abs(gain) for group in groups for gain in advantages(group.rewards)]
        size = sum(own) / len(own)
        known = size if self._size is None else self._size
        self._size = _MEMORY * known + (1 - _MEMORY) * size
        self._optimizer.zero_grad()
        loss = -objective(
            self.policy,
            groups,
            scale=self._size or 1.0,
            entropy_weight=self._entropy_weight,
        )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), _CLIP)
        self._optimizer.step()
