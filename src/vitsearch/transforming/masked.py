"""The softmax of a policy over the options that may be taken (NAT's binary-masked softmax).

`p_i = m_i exp(z_i) / sum_j m_j exp(z_j)`: an option that is masked out has probability 0, and its
logit gradient 0.
"""

from __future__ import annotations

import torch


def masked_log_softmax(logits: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Log-probabilities over the last dimension; `-inf` where not `valid`.

    Args:
        logits: (..., options).
        valid: Of the same shape, boolean; one at least in each row.
    """
    return logits.masked_fill(~valid, float("-inf")).log_softmax(-1)


def masked_entropy(log_probs: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Entropy in nats over the last dimension, with a finite gradient where a probability is 0."""
    known = log_probs.masked_fill(~valid, 0.0)
    return -(log_probs.exp() * known).sum(-1)
