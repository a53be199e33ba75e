"""The share of tokens that predictors keep, which they have to learn."""

from __future__ import annotations

import torch
from torch import Tensor

from vitsearch.elastic.layers.tokens.predictor import predicts
from vitsearch.errors import ConfigError
from vitsearch.lightning.objectives.base import KEPT, Objective, StepOutputs
from vitsearch.spaces import Plan
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.network import ElasticTransformer


class KeepRatio(Objective):
    """Every image keeps about the share of tokens that the architecture says.

    The mean square of (share kept - share of the architecture), over images and predictors.
    Source: DynamicViT (NeurIPS 2021), section 3.3, whose weight for it is 2, beside 0.5 for the
    teacher's logits and 0.5 for its tokens (`feature_distillation`).
    """

    uses = frozenset({KEPT})

    def check(self, net: ElasticTransformer) -> None:
        """Refuse networks without predictors.

        Raises:
            ConfigError: Says which setting gives them.
        """
        super().check(net)
        if not net.has_predictors:
            raise ConfigError(
                "it teaches predictors of tokens, which the network has not: add "
                "space.tokens.kind=predict"
            )
        if isinstance(net, SuperTransformer) and net.sharing == "bilateral":
            raise ConfigError(
                "model.sharing=bilateral has two ways of every block; use model.sharing=prefix"
            )

    def __call__(self, step: StepOutputs) -> Tensor:
        """0 for architectures that keep all tokens."""
        losses = [step.logits.new_zeros(())]
        for index, architecture in enumerate(step.architectures):
            plan = step.net.space.plan(architecture)  # type: ignore[union-attr, operator]
            pairs = zip(step.heads[index].kept, shares_of(plan), strict=True)
            each = [(kept.mean(dim=1) - share).square().mean() for kept, share in pairs]
            if each:
                losses.append(step.part([index]) * torch.stack(each).mean())
        return torch.stack(losses).sum()


def shares_of(plan: Plan) -> list[float]:
    """The share of patch tokens behind each predictor."""
    return [step.share for step in plan.token_steps.values() if predicts(step)]
