"""The layers of timm's plain vision transformers, from their plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vitsearch.elastic import ElasticModule
from vitsearch.elastic.layers.norm import ElasticLayerNorm
from vitsearch.elastic.layers.vit.attention import ElasticVitAttention, VitAttentionSizes
from vitsearch.elastic.layers.vit.beit_attention import ElasticBeitAttention
from vitsearch.elastic.layers.vit.block import ElasticVitBlock
from vitsearch.elastic.layers.vit.mlp import ElasticVitMlp
from vitsearch.elastic.layers.vit.rope_attention import ElasticRopeAttention
from vitsearch.elastic.layers.vit.stem import ElasticVitStem
from vitsearch.spaces.parts import (
    BeitAttentionPlan,
    NormKind,
    RopeAttentionPlan,
    VitAttentionPlan,
    VitBlockPlan,
    VitMlpPlan,
    VitStemPlan,
)
from vitsearch.supernet.build import axis, layer_for, make_layer, token_predictor


def _settings(norm: NormKind | None) -> tuple[str, float] | None:
    return None if norm is None else (norm.kind, norm.eps)


@layer_for(VitStemPlan)
def _stem(plans: Sequence[VitStemPlan]) -> ElasticVitStem:
    first, dim = plans[0], axis(plans, "embed_dim")

    def made(norm: NormKind | None) -> ElasticLayerNorm | None:
        return None if norm is None else ElasticLayerNorm(dim, norm.eps, kind=norm.kind)

    return ElasticVitStem(
        dim,
        patch_size=first.patch_size,
        in_chans=first.in_chans,
        tokens={
            "cls_token": int(first.class_token),
            "dist_token": int(first.distillation),
            "reg_token": first.registers,
        },
        num_positions=first.num_positions,
        num_position_prefix=max(first.num_positions - first.num_patches, 0),
        bias=first.bias,
        embed_norm=made(first.embed_norm),
        pre_norm=made(first.pre_norm),
    )


@layer_for(VitBlockPlan)
def _block(plans: Sequence[VitBlockPlan]) -> ElasticVitBlock:
    inner: dict[str, ElasticModule[object]] = {}
    for role in ("mixer", "mlp"):
        branches = [getattr(plan, role) for plan in plans]
        there = list(dict.fromkeys(b.inner for b in branches if b.inner is not None))
        if there:
            inner[role] = make_layer(there)
    first = plans[0]
    return ElasticVitBlock(
        axis(plans, "embed_dim"),
        inner,
        norm=(first.mixer.norm.kind, first.mixer.norm.eps),
        layer_scale=[role for role in ("mixer", "mlp") if getattr(first, role).layer_scale],
        predictor=token_predictor(plans),
    )


@layer_for(VitAttentionPlan)
def _attention(plans: Sequence[VitAttentionPlan]) -> ElasticVitAttention[VitAttentionSizes]:
    return ElasticVitAttention(**_attention_settings(plans))


@layer_for(RopeAttentionPlan)
def _rope_attention(plans: Sequence[RopeAttentionPlan]) -> ElasticRopeAttention:
    settings = _attention_settings(plans)
    del settings["qk_dim"]
    return ElasticRopeAttention(
        **settings,
        num_pairs=axis(plans, "num_pairs"),
        rope=plans[0].rope,
        grids=sorted({plan.grid for plan in plans}),
        full_qk_dim=plans[0].full_qk_dim,
    )


@layer_for(BeitAttentionPlan)
def _beit_attention(plans: Sequence[BeitAttentionPlan]) -> ElasticBeitAttention:
    return ElasticBeitAttention(
        **_attention_settings(plans), grid=plans[0].grid, num_distances=plans[0].num_distances
    )


def _attention_settings(plans: Sequence[VitAttentionPlan]) -> dict[str, Any]:
    """What attention of every kind has in common."""
    first = plans[0]
    return {
        "dim": axis(plans, "embed_dim"),
        "num_heads": axis(plans, "num_heads"),
        "qk_dim": axis(plans, "qk_dim"),
        "head_dim": axis(plans, "head_dim"),
        "qkv_bias": first.qkv_bias,
        "proj_bias": first.proj_bias,
        "qk_norm": _settings(first.qk_norm),
        "inner_norm": _settings(first.inner_norm),
    }


@layer_for(VitMlpPlan)
def _mlp(plans: Sequence[VitMlpPlan]) -> ElasticVitMlp:
    first = plans[0]
    return ElasticVitMlp(
        axis(plans, "embed_dim"),
        axis(plans, "hidden_dim"),
        activation=first.activation,
        gated=first.gate != "none",
        bias=first.bias,
        proj_bias=first.proj_bias,
        inner_norm=_settings(first.inner_norm),
    )
