"""timm's `Eva` and `Beit` with the sizes of a plan, for attention that knows positions.

Rotary positions: blocks are `EvaBlock`, whose attention is timm's `AttentionRope`. A table of
relative positions: blocks and attention are those of `beit.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from timm.layers import AttentionRope, RotaryEmbeddingMixed
from timm.models.beit import Attention, Beit, Block
from timm.models.eva import Eva, EvaBlock
from torch import nn

from vitsearch.spaces.parts import (
    BeitAttentionPlan,
    ClassifierPlan,
    RopeAttentionPlan,
    VitAttentionPlan,
    VitStemPlan,
)

PlanT = TypeVar("PlanT", bound=VitAttentionPlan)


def rope_of_timm(plan: PlanT) -> PlanT:
    """A plan with all pairs of channels, as timm's rotation has them; others as they are."""
    if isinstance(plan, RopeAttentionPlan) and plan.full_qk_dim is not None:
        return replace(plan, qk_dim=plan.full_qk_dim)
    return plan


def why_not(
    stem: VitStemPlan, head: ClassifierPlan, pool: str, layers: Mapping[str, VitAttentionPlan]
) -> dict[str, str]:
    """What `Eva` or `Beit` have no counterpart for, by where it is in the network.

    Args:
        stem: Of the network.
        head: Of the network.
        pool: timm's name of the pool.
        layers: Attention by the name of its block; without positions nothing is found.
    """
    rope = {n: plan for n, plan in layers.items() if isinstance(plan, RopeAttentionPlan)}
    tables = {n: plan for n, plan in layers.items() if isinstance(plan, BeitAttentionPlan)}
    if rope:
        return _why_not_eva(stem, head, pool, rope)
    return _why_not_beit(stem, head, pool, tables) if tables else {}


def _why_not_eva(
    stem: VitStemPlan, head: ClassifierPlan, pool: str, layers: Mapping[str, RopeAttentionPlan]
) -> dict[str, str]:
    found = {}
    if stem.distillation:
        found["stem"] = "timm's Eva has no distillation token"
    if head.pool_prefix != (pool == "map") and pool not in ("token", ""):
        found["head"] = f"timm's Eva pools {'all tokens' if pool == 'map' else 'patches alone'}"
    for name, own in layers.items():
        plan = rope_of_timm(own)
        if plan.head_dim > plan.qk_dim:
            found[f"{name}.attn"] = (
                f"heads have {plan.head_dim} channels of values, and {plan.qk_dim} that are rotated"
            )
    heads = {name: plan.num_heads for name, plan in layers.items() if plan.rope.kind == "mixed"}
    for name, number in heads.items():
        if number != next(iter(heads.values())):
            found[f"{name}.attn"] = (
                f"it has {number} heads and {next(iter(heads))} {next(iter(heads.values()))}; "
                f"timm's learned frequencies are of one number for all blocks"
            )
    return found


def _why_not_beit(
    stem: VitStemPlan, head: ClassifierPlan, pool: str, layers: Mapping[str, BeitAttentionPlan]
) -> dict[str, str]:
    found = {}
    if stem.pre_norm is not None or stem.positions == "patches":
        found["stem"] = "timm's Beit has no norm before its blocks, and positions for all tokens"
    if head.pool_prefix or pool not in ("token", "avg", ""):
        found["head"] = f"timm's Beit has no pool {pool}; it has token, and avg of the patches"
    for name, plan in layers.items():
        width = max(plan.qk_dim, plan.head_dim)
        if plan.qk_norm is not None or plan.inner_norm is not None or plan.qkv_bias == "all":
            reason = "timm's Beit has no norm inside of attention, and no bias of keys"
        elif not plan.proj_bias:
            reason = "timm's Beit has a bias of the output projection"
        elif plan.num_heads * width != plan.embed_dim:
            reason = (
                f"{plan.num_heads} heads of {width} channels have {plan.num_heads * width} in all; "
                f"those of timm's Beit have as many as the tokens, {plan.embed_dim}"
            )
        else:
            continue
        found[f"{name}.attn"] = reason
    return found


def eva(stem: VitStemPlan, settings: Mapping[str, Any], *, dynamic: bool) -> Any:
    """An `Eva` without blocks, rotation, pool and norms."""
    return Eva(
        **settings,
        depth=0,
        global_pool="",
        class_token=stem.class_token,
        num_reg_tokens=stem.registers,
        use_abs_pos_emb=stem.positions != "none",
        no_embed_class=stem.positions == "patches",
        dynamic_img_size=dynamic,
    )


def beit(stem: VitStemPlan, settings: Mapping[str, Any]) -> Any:
    """A `Beit` without blocks and norms."""
    return Beit(**settings, depth=0, global_pool="", use_abs_pos_emb=stem.positions == "all")


def eva_block(dim: int, drop_path_rate: float) -> EvaBlock:
    """A block with branches of any size."""
    return EvaBlock(dim, num_heads=1, mlp_ratio=1.0, drop_path=drop_path_rate)


def beit_block(dim: int, drop_path_rate: float) -> Block:
    """A block with branches of any size."""
    return Block(dim, num_heads=1, mlp_ratio=1.0, drop_path=drop_path_rate)


def rope_attention(plan: RopeAttentionPlan, norm: Callable[[Any, int], nn.Module]) -> AttentionRope:
    """Attention with all pairs of channels; `norm` makes one of a kind and a width."""
    plan = rope_of_timm(plan)
    made = AttentionRope(
        plan.embed_dim,
        num_heads=plan.num_heads,
        attn_head_dim=plan.qk_dim,
        qkv_bias=plan.qkv_bias != "none",
        proj_bias=plan.proj_bias,
        num_prefix_tokens=plan.num_prefix_tokens,
        rotate_half=plan.rope.half,
    )
    if plan.qk_norm is not None:
        made.q_norm, made.k_norm = norm(plan.qk_norm, plan.qk_dim), norm(plan.qk_norm, plan.qk_dim)
    made.norm = norm(plan.inner_norm, plan.num_heads * plan.qk_dim)
    return made


def beit_attention(plan: BeitAttentionPlan) -> Attention:
    """Attention whose heads have as many channels in all as the tokens."""
    return Attention(
        plan.embed_dim,
        num_heads=plan.num_heads,
        qkv_bias=plan.qkv_bias == "qv",
        window_size=plan.grid,
    )


def learned_frequencies(plan: RopeAttentionPlan, depth: int) -> RotaryEmbeddingMixed:
    """The rotation with frequencies of all blocks; their values are yet to be loaded."""
    plan = rope_of_timm(plan)
    with torch.random.fork_rng(devices=[]):
        return RotaryEmbeddingMixed(
            plan.num_heads * plan.qk_dim,
            depth=depth,
            num_heads=plan.num_heads,
            temperature=plan.rope.temperature,
            feat_shape=None if plan.rope.dynamic else list(plan.grid),
            grid_indexing=plan.rope.indexing,
        )
