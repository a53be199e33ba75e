"""An objective: what a network says should not be too certain (Pereyra et al., 2017)."""

import torch.nn.functional as F
from torch import Tensor

from vitsearch.lightning.objectives import Objective, StepOutputs


class ConfidencePenalty(Objective):
    def __call__(self, step: StepOutputs) -> Tensor:
        log_probs = F.log_softmax(step.logits, dim=1)  # (rows, classes), of all architectures
        return (log_probs.exp() * log_probs).sum(dim=1).mean()  # minus the entropy
