"""The layers of high-resolution networks, from their plans."""

from __future__ import annotations

from collections.abc import Sequence

from vitsearch.elastic import Axis
from vitsearch.elastic.layers.hr.block import ElasticSearching
from vitsearch.elastic.layers.hr.light_transformer import ElasticLightTransformer
from vitsearch.elastic.layers.hr.maps import (
    ElasticConvsStem,
    ElasticConvUnit,
    MapConcat,
    MapSum,
)
from vitsearch.elastic.layers.hr.mixconv import ElasticMixBranch
from vitsearch.spaces.parts.hr import (
    ConvsStemPlan,
    ConvUnitPlan,
    MapConcatPlan,
    MapSumPlan,
    SearchingPlan,
)
from vitsearch.spaces.parts.hr.light_transformer import SIDE
from vitsearch.supernet.build import layer_for


@layer_for(ConvsStemPlan)
def _stem(plans: Sequence[ConvsStemPlan]) -> ElasticConvsStem:
    first = plans[0]
    return ElasticConvsStem(first.in_chans, first.embed_dim, first.strides, first.layers)


@layer_for(MapSumPlan)
def _sum(plans: Sequence[MapSumPlan]) -> MapSum:
    return MapSum()


@layer_for(MapConcatPlan)
def _concat(plans: Sequence[MapConcatPlan]) -> MapConcat:
    return MapConcat()


@layer_for(ConvUnitPlan)
def _unit(plans: Sequence[ConvUnitPlan]) -> ElasticConvUnit:
    return ElasticConvUnit(plans[0].in_dim, plans[0].embed_dim, plans[0].layers)


@layer_for(SearchingPlan)
def _searching(plans: Sequence[SearchingPlan]) -> ElasticSearching:
    first = plans[0]
    step, squeezed = first.step, first.behind.squeezed
    branches = {}
    for same in zip(*(plan.branches for plan in plans), strict=True):
        channels = {branch.channels for branch in same} - {0}
        if channels:
            branches[f"kernel{same[0].kernel_size}"] = ElasticMixBranch(
                step.in_dim,
                Axis(sorted(channels)),
                step.embed_dim,
                same[0].kernel_size,
                stride=step.stride,
                squeezed=squeezed,
                kind=first.layers,
            )
    tokens = {plan.transformer.num_tokens for plan in plans} - {0}
    transformer = None
    if tokens:
        transformer = ElasticLightTransformer(
            step.in_dim, step.embed_dim, Axis(sorted(tokens)), SIDE, first.transformer.dropout
        )
    return ElasticSearching(
        step,
        branches,
        transformer,
        has_norm=any(plan.behind.there for plan in plans),
        squeezed=squeezed,
        kind=first.layers,
    )
