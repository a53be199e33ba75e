"""A loss of one's own: everything else stays as it is in `SearchableClassifier`."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vitsearch.lightning import SearchableClassifier


class FocalClassifier(SearchableClassifier):
    """Focal loss (Lin et al., 2017): easy images count less."""

    def __init__(self, *args: Any, gamma: float = 2.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gamma = gamma

    def compute_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if not targets.is_floating_point():  # mixup and cutmix give soft targets (B, classes)
            targets = F.one_hot(targets, self.num_classes)
        log_probs = F.log_softmax(logits, dim=1)
        easiness = (1 - log_probs.exp()) ** self.gamma
        return -(targets * easiness * log_probs).sum(dim=1).mean()
