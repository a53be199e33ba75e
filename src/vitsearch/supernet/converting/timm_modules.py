"""Modules of timm with the sizes of a plan: each block with its own attention and its own MLP.

Nothing here patches a module or replaces a `forward`: blocks are timm's `Block`, or those of
`eva.py` and `beit.py`, in which attention and MLP are timm's own classes, constructed with the
sizes of that block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import (
    Attention,
    GluMlp,
    LayerNorm,
    LayerScale,
    Mlp,
    PatchEmbed,
    RmsNorm,
    SwiGLU,
    get_act_layer,
)
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from vitsearch.spaces.parts import (
    BeitAttentionPlan,
    ClassifierPlan,
    NormKind,
    RopeAttentionPlan,
    VitAttentionPlan,
    VitBlockPlan,
    VitMlpPlan,
    VitStemPlan,
)
from vitsearch.spaces.plan import Plan
from vitsearch.supernet.converting.timm_positions import (
    beit,
    beit_attention,
    beit_block,
    eva,
    eva_block,
    rope_attention,
)

_NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm, "rms": RmsNorm}


class AbsentBranch(nn.Module):
    """In a block of timm, in place of an attention or an MLP that is left out: it adds zeros."""

    def forward(
        self,
        x: Tensor,
        rope: Tensor | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        shared_rel_pos_bias: Tensor | None = None,
    ) -> Tensor:
        """(B, N, C) to zeros of the same shape; the other arguments are those of attention."""
        return torch.zeros_like(x)

    def set_window_size(self, window_size: tuple[int, int]) -> None:
        """Nothing depends on the grid of patches."""


def timm_modules(
    plan: Plan,
    *,
    num_classes: int,
    global_pool: str,
    attention_pool: nn.Module | None,
    drop_rate: float,
    drop_path_rates: Sequence[float],
) -> Any:
    """A network of timm; weights, and the rotation of an `Eva`, are yet to be loaded.

    It is an `Eva` where queries and keys are rotated, a `Beit` where attention has a table of
    relative positions, else a `VisionTransformer` or its distilled subclass. A block without
    branches is left out.

    Args:
        plan: The sizes, of parts `vit` only.
        num_classes: Outputs of the classifier; 0 for none.
        global_pool: timm's name of the pool; empty for none.
        attention_pool: The module for the pool `map`.
        drop_rate: Dropout in front of the classifier.
        drop_path_rates: Stochastic depth of each block of the plan.
    """
    stem: Any = plan.stem
    head: Any = plan.head
    assert isinstance(stem, VitStemPlan)
    assert isinstance(head, ClassifierPlan)
    kind = attention_kind(plan)
    settings = {
        "img_size": plan.image_size,
        "patch_size": stem.patch_size,
        "in_chans": stem.in_chans,
        "num_classes": num_classes,
        "embed_dim": stem.embed_dim,
        "drop_rate": drop_rate,
    }
    rope = rope_of(plan)
    dynamic = rope is not None and rope.rope.dynamic
    made: Any
    if rope is not None:
        made = eva(stem, settings, dynamic=dynamic)
        made.rope_mixed = rope.rope.kind == "mixed"
    elif kind is BeitAttentionPlan:
        made = beit(stem, settings)
    else:
        made = _vision_transformer(stem, head, settings)
    made.patch_embed = PatchEmbed(
        img_size=plan.image_size,
        patch_size=stem.patch_size,
        in_chans=stem.in_chans,
        embed_dim=stem.embed_dim,
        bias=stem.bias,
        norm_layer=_norm_layer(stem.embed_norm),
        **({"strict_img_size": False, "output_fmt": "NHWC"} if dynamic else {}),
    )
    if kind is not BeitAttentionPlan:
        made.norm_pre = _norm(stem.pre_norm, stem.embed_dim)
    kept = [
        _block(block, rate, kind)
        for block, rate in zip(_blocks(plan), drop_path_rates, strict=True)
        if block.mixer.inner is not None or block.mlp.inner is not None
    ]
    listed = kind is not VitAttentionPlan  # as timm's classes have it
    made.blocks = nn.ModuleList(kept) if listed else nn.Sequential(*kept)
    made.feature_info = [
        {"module": f"blocks.{index}", "num_chs": stem.embed_dim, "reduction": stem.patch_size}
        for index in range(len(kept))
    ]
    final: Any = plan.nodes[-1].plan if plan.nodes[-1].name == "norm" else None
    for name, norm in (("norm", final), ("fc_norm", head.pool_norm)):
        own = None if norm is None else NormKind(norm.kind, norm.norm_eps)
        setattr(made, name, _norm(own, stem.embed_dim))
    made.global_pool = global_pool
    if kind is not BeitAttentionPlan:
        made.attn_pool = attention_pool
    return made


def _vision_transformer(stem: VitStemPlan, head: ClassifierPlan, settings: dict[str, Any]) -> Any:
    made: Any = (VisionTransformerDistilled if stem.distillation else VisionTransformer)(
        **settings,
        global_pool="token" if stem.distillation else "",
        depth=0,
        class_token=stem.class_token,
        pos_embed="none" if stem.positions == "none" else "learn",
        no_embed_class=stem.positions == "patches",
        reg_tokens=stem.registers,
        final_norm=False,
        pool_include_prefix=head.pool_prefix,
        weight_init="skip",
    )
    made.weight_init_mode = ""  # for whoever draws weights anew
    return made


def attention_layers(plan: Plan) -> dict[str, Any]:
    """Attention by the name of its block."""
    found: dict[str, Any] = {}
    for node in plan.nodes:
        block: Any = node.plan
        if node.slot is not None and block.mixer.inner is not None:
            found[node.name] = block.mixer.inner
    return found


def attention_kind(plan: Plan) -> type:
    """The class of the attention of a plan; all blocks have one kind."""
    return next((type(own) for own in attention_layers(plan).values()), VitAttentionPlan)


def rope_of(plan: Plan) -> RopeAttentionPlan | None:
    """An attention with rotated queries and keys; `None` without any."""
    layers = attention_layers(plan).values()
    return next((own for own in layers if isinstance(own, RopeAttentionPlan)), None)


def _blocks(plan: Plan) -> list[VitBlockPlan]:
    found: list[Any] = [node.plan for node in plan.nodes if node.slot is not None]
    return found


def _norm_layer(norm: NormKind | None) -> Callable[..., nn.Module] | None:
    return None if norm is None else partial(_NORMS[norm.kind], eps=norm.eps)


def _norm(norm: NormKind | None, width: int) -> nn.Module:
    return nn.Identity() if norm is None else _NORMS[norm.kind](width, eps=norm.eps)


def _block(plan: VitBlockPlan, drop_path_rate: float, kind: type) -> Any:
    """A block, at first with branches of any size, then with those of the plan."""
    make = {RopeAttentionPlan: eva_block, BeitAttentionPlan: beit_block}.get(kind, _plain_block)
    block = make(plan.embed_dim, drop_path_rate)
    for number, name, branch in ((1, "attn", plan.mixer), (2, "mlp", plan.mlp)):
        inner: Any = branch.inner
        if inner is None:
            own = {
                name: AbsentBranch(),
                f"norm{number}": nn.Identity(),
                f"drop_path{number}": nn.Identity(),
            }
        else:
            own = {
                name: _attention(inner) if name == "attn" else _mlp(inner),
                f"norm{number}": _norm(branch.norm, plan.embed_dim),
            }
            if branch.layer_scale and make is _plain_block:
                own[f"ls{number}"] = LayerScale(plan.embed_dim)
        for path, module in own.items():
            setattr(block, path, module)
        if make is not _plain_block:
            setattr(block, f"gamma_{number}", _gamma(plan.embed_dim, branch, kind))
    return block


def _gamma(dim: int, branch: Any, kind: type) -> nn.Parameter | None:
    """LayerScale as a vector; blocks of `beit.py` have that of both branches or of none."""
    is_there = branch.inner is not None
    if not branch.layer_scale or not (is_there or kind is BeitAttentionPlan):
        return None
    return nn.Parameter(torch.empty(dim), requires_grad=is_there)


def _plain_block(dim: int, drop_path_rate: float) -> Block:
    return Block(dim, num_heads=1, mlp_ratio=1.0, drop_path=drop_path_rate)


def _attention(plan: VitAttentionPlan) -> Any:
    if isinstance(plan, RopeAttentionPlan):
        return rope_attention(plan, _norm)
    if isinstance(plan, BeitAttentionPlan):
        return beit_attention(plan)
    head_dim = max(plan.qk_dim, plan.head_dim)
    made = Attention(
        plan.embed_dim,
        num_heads=plan.num_heads,
        attn_head_dim=head_dim,
        qkv_bias=plan.qkv_bias != "none",
        proj_bias=plan.proj_bias,
    )
    if plan.qk_norm is not None:
        made.q_norm, made.k_norm = _norm(plan.qk_norm, head_dim), _norm(plan.qk_norm, head_dim)
    made.norm = _norm(plan.inner_norm, plan.num_heads * head_dim)
    return made


def _mlp(plan: VitMlpPlan) -> nn.Module:
    kinds: dict[str, Callable[..., nn.Module]] = {
        "none": Mlp,
        "split": SwiGLU,
        "first": partial(GluMlp, gate_last=False),
        "last": partial(GluMlp, gate_last=True),
    }
    packed = plan.gate in ("first", "last")  # timm counts the rows of both halves
    return kinds[plan.gate](
        plan.embed_dim,
        plan.hidden_dim * (2 if packed else 1),
        act_layer=get_act_layer(plan.activation),
        norm_layer=_norm_layer(plan.inner_norm),
        bias=(plan.bias, plan.proj_bias),
    )
