"""The layers of ResNets, from their plans."""

from __future__ import annotations

from collections.abc import Sequence

from vitsearch.elastic import Axis
from vitsearch.elastic.layers.residual import ElasticResidual, ElasticResNetStem
from vitsearch.spaces.parts import ResidualPlan, ResNetStemPlan
from vitsearch.supernet.build import axis, layer_for


@layer_for(ResNetStemPlan)
def _stem(plans: Sequence[ResNetStemPlan]) -> ElasticResNetStem:
    first = plans[0]
    return ElasticResNetStem(
        first.in_chans, axis(plans, "embed_dim"), first.kernel_size, small=first.small
    )


@layer_for(ResidualPlan)
def _residual(plans: Sequence[ResidualPlan]) -> ElasticResidual:
    first = plans[0]
    into: Axis = axis(plans, "in_dim")
    return ElasticResidual(
        into,
        axis(plans, "mid_dim"),
        axis(plans, "embed_dim"),
        bottleneck=first.bottleneck,
        stride=first.stride,
        has_shortcut=any(plan.shortcut is not None for plan in plans),
    )
