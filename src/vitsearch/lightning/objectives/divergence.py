"""How far logits are from a teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || logits) at a temperature, times its square; the mean over rows.

    The square keeps gradients as large as those of labels (Hinton et al., 2015, section 2).

    Args:
        logits: (N, classes).
        teacher: (N, classes), logits too.
        temperature: Divides both.
    """
    learnt = F.log_softmax(logits / temperature, dim=1)
    taught = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(learnt, taught, reduction="batchmean", log_target=True)
    return divergence * temperature**2
