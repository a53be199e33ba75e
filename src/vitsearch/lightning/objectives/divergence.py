"""How far logits are from a teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || logits) at a temperature, times its square; the mean over rows, and pixels.

    The square keeps gradients as large as those of labels (Hinton et al., 2015, section 2).

    Args:
        logits: (N, classes), or dense ones (N, classes, h, w).
        teacher: Of the same shape, logits too.
        temperature: Divides both.
    """
    learnt = F.log_softmax(logits / temperature, dim=1)
    taught = F.log_softmax(teacher / temperature, dim=1)
    total = F.kl_div(learnt, taught, reduction="sum", log_target=True)
    return total / (logits.numel() // logits.shape[1]) * temperature**2
