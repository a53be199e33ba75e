"""From plans to layers: each kind of plan has a function that makes the layer for all of them.

`make_layer(plans)` takes every plan that the layer will ever be called with. An extracted network
passes one plan, a supernet all of them; the layer is as large as the largest. A part of one's own
registers its plan's class here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vitsearch.elastic import (
    ElasticAttention,
    ElasticGlitMixer,
    ElasticLocal,
    ElasticMlp,
    ElasticModule,
    ElasticPatchEmbed,
    ElasticPatchStem,
)
from vitsearch.spaces.parts import AttentionPlan, GlitMixerPlan, MlpPlan, PatchStemPlan
from vitsearch.spaces.plan import PiecePlan, largest_of

Maker = Callable[[Sequence[Any]], ElasticModule[Any]]
_MAKERS: dict[type, Maker] = {}


def layer_for(plan_class: type) -> Callable[[Maker], Maker]:
    """Decorator: this function makes the layers for plans of `plan_class`."""

    def add(maker: Maker) -> Maker:
        assert plan_class not in _MAKERS, plan_class
        _MAKERS[plan_class] = maker
        return maker

    return add


def make_layer(plans: Sequence[PiecePlan]) -> ElasticModule[Any]:
    """The layer that serves all of these plans, which are of one class."""
    kinds = {type(plan) for plan in plans}
    assert len(kinds) == 1, kinds
    kind = kinds.pop()
    assert kind in _MAKERS, f"no layer is registered for {kind.__name__}; see layer_for"
    return _MAKERS[kind](plans)


@layer_for(PatchStemPlan)
def _patch_stem(plans: Sequence[PatchStemPlan]) -> ElasticPatchStem:
    by_patch_size: dict[int, list[PatchStemPlan]] = {}
    for plan in plans:
        by_patch_size.setdefault(plan.patch_size, []).append(plan)
    return ElasticPatchStem(
        {
            size: ElasticPatchEmbed(
                largest_of(same, "embed_dim"), size, same[0].in_chans, same[0].num_patches
            )
            for size, same in by_patch_size.items()
        }
    )


@layer_for(MlpPlan)
def _mlp(plans: Sequence[MlpPlan]) -> ElasticMlp:
    return ElasticMlp(largest_of(plans, "embed_dim"), largest_of(plans, "hidden_dim"))


@layer_for(AttentionPlan)
def _attention(plans: Sequence[AttentionPlan]) -> ElasticAttention:
    return ElasticAttention(
        largest_of(plans, "embed_dim"),
        largest_of(plans, "num_heads"),
        largest_of(plans, "head_dim"),
    )


@layer_for(GlitMixerPlan)
def _glit_mixer(plans: Sequence[GlitMixerPlan]) -> ElasticGlitMixer:
    attn = local = None
    if any(plan.global_dim for plan in plans):
        attn = ElasticAttention(
            largest_of(plans, "global_dim"),
            largest_of(plans, "num_heads"),
            largest_of(plans, "head_dim"),
        )
    if any(plan.local_dim for plan in plans):
        local = ElasticLocal(
            largest_of(plans, "local_dim"),
            largest_of(plans, "local_inner"),
            largest_of(plans, "kernel_size"),
            on_grid=plans[0].local == "grid",
        )
    return ElasticGlitMixer(attn, local)
