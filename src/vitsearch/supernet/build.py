"""From plans to layers: each kind of plan has a function that makes the layer for all of them.

`make_layer(plans)` takes every plan that the layer will ever be called with. An extracted network
passes one plan, a supernet all of them; the layer is as large as the largest. A part of one's own
registers its plan's class here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vitsearch.elastic import (
    Axis,
    ElasticAttention,
    ElasticBlock,
    ElasticConvStem,
    ElasticFinalNorm,
    ElasticGlitMixer,
    ElasticLocal,
    ElasticMlp,
    ElasticModule,
    ElasticPatchEmbed,
    ElasticPatchStem,
    ElasticPrivateAttention,
    ElasticReduction,
    ElasticRelativeAttention,
)
from vitsearch.elastic.layers.tokens.predictor import ElasticTokenPredictor, predicts
from vitsearch.spaces.parts import (
    AttentionPlan,
    BlockPlan,
    ConvStemPlan,
    GlitMixerPlan,
    MlpPlan,
    NormPlan,
    PatchStemPlan,
    ReductionPlan,
    RelativeAttentionPlan,
    VitasAttentionPlan,
)
from vitsearch.spaces.plan import PiecePlan, widths_of

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


def axis(plans: Sequence[PiecePlan], attribute: str) -> Axis:
    """The widths that plans take of one dimension."""
    return Axis(widths_of(plans, attribute))


@layer_for(PatchStemPlan)
def _patch_stem(plans: Sequence[PatchStemPlan]) -> ElasticPatchStem:
    by_patch_size: dict[int, list[PatchStemPlan]] = {}
    for plan in plans:
        by_patch_size.setdefault(plan.patch_size, []).append(plan)
    return ElasticPatchStem(
        {
            size: ElasticPatchEmbed(
                axis(same, "embed_dim"),
                size,
                same[0].in_chans,
                same[0].num_patches,
                same[0].num_prefix_tokens,
            )
            for size, same in by_patch_size.items()
        }
    )


@layer_for(ConvStemPlan)
def _conv_stem(plans: Sequence[ConvStemPlan]) -> ElasticConvStem:
    patch = make_layer([plan.patch for plan in plans])
    assert isinstance(patch, ElasticPatchStem)
    return ElasticConvStem(plans[0].in_chans, plans[0].mid_chans, patch)


@layer_for(BlockPlan)
def _block(plans: Sequence[BlockPlan]) -> ElasticBlock:
    return ElasticBlock(
        axis(plans, "embed_dim"),
        make_layer(list(dict.fromkeys(plan.mixer for plan in plans))),
        make_layer(list(dict.fromkeys(plan.mlp for plan in plans))),
        norm_eps=plans[0].norm_eps,
        predictor=token_predictor(plans),
    )


def token_predictor(plans: Sequence[Any]) -> ElasticTokenPredictor | None:
    """What says which tokens go on in a block; `None` where no plan asks."""
    asking = [plan for plan in plans if plan.tokens is not None and predicts(plan.tokens)]
    return ElasticTokenPredictor(widths_of(asking, "embed_dim")) if asking else None


@layer_for(NormPlan)
def _final_norm(plans: Sequence[NormPlan]) -> ElasticFinalNorm:
    first = plans[0]
    return ElasticFinalNorm(axis(plans, "embed_dim"), first.norm_eps, kind=first.kind)


@layer_for(ReductionPlan)
def _reduction(plans: Sequence[ReductionPlan]) -> ElasticReduction:
    return ElasticReduction(
        axis(plans, "in_dim"),
        axis(plans, "embed_dim"),
        sorted({plan.grid for plan in plans}),
        norm_eps=plans[0].norm_eps,
    )


@layer_for(MlpPlan)
def _mlp(plans: Sequence[MlpPlan]) -> ElasticMlp:
    return ElasticMlp(axis(plans, "embed_dim"), axis(plans, "hidden_dim"))


@layer_for(AttentionPlan)
def _attention(plans: Sequence[AttentionPlan]) -> ElasticAttention:
    return ElasticAttention(
        axis(plans, "embed_dim"), axis(plans, "num_heads"), axis(plans, "head_dim")
    )


@layer_for(RelativeAttentionPlan)
def _relative_attention(plans: Sequence[RelativeAttentionPlan]) -> ElasticRelativeAttention:
    return ElasticRelativeAttention(
        axis(plans, "embed_dim"),
        axis(plans, "num_heads"),
        plans[0].head_dim,
        max_distance=plans[0].max_distance,
    )


@layer_for(VitasAttentionPlan)
def _private_attention(plans: Sequence[VitasAttentionPlan]) -> ElasticPrivateAttention:
    return ElasticPrivateAttention(
        axis(plans, "embed_dim"),
        axis(plans, "inner_dim"),
        widths_of(plans, "num_heads"),
        private=plans[0].private,
    )


@layer_for(GlitMixerPlan)
def _glit_mixer(plans: Sequence[GlitMixerPlan]) -> ElasticGlitMixer:
    attn = local = None
    if any(plan.global_dim for plan in plans):
        attn = ElasticAttention(
            axis(plans, "global_dim"), axis(plans, "num_heads"), axis(plans, "head_dim")
        )
    if any(plan.local_dim for plan in plans):
        local = ElasticLocal(
            axis(plans, "local_dim"),
            axis(plans, "local_inner"),
            widths_of(plans, "kernel_size")[-1],
            on_grid=plans[0].local == "grid",
        )
    return ElasticGlitMixer(attn, local)
