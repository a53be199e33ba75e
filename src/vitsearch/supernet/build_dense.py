"""The layer of dense heads, from its plans."""

from __future__ import annotations

from collections.abc import Sequence

from vitsearch.elastic import Axis
from vitsearch.elastic.layers.heads.dense import ElasticDense
from vitsearch.spaces.parts import DensePlan
from vitsearch.supernet.heads import head_for


@head_for(DensePlan)
def _dense(plans: Sequence[DensePlan], num_classes: int) -> ElasticDense:
    return ElasticDense(Axis(sorted({plan.embed_dim for plan in plans})), num_classes)
