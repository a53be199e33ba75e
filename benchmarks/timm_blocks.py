"""timm's vision transformer with the sizes of one of ours, block by block: what plain costs."""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers import Attention
from timm.models.vision_transformer import Block
from timm.models.vision_transformer import VisionTransformer as TimmTransformer
from torch import nn

from vitsearch import Architecture, SearchSpace
from vitsearch.spaces.parts import MlpPlan, PatchStemPlan


def has_twin(space: SearchSpace, architecture: Architecture) -> bool:
    """Whether an architecture is a patch stem and one stage of blocks with heads and MLP."""
    plan = space.plan(architecture)
    return (
        isinstance(plan.stem, PatchStemPlan)
        and plan.stem.num_prefix_tokens == 1
        and len(plan.stages) == 1
        and all(
            hasattr(block.mixer, "num_heads")
            and not getattr(block.mixer, "local_dim", 0)
            and isinstance(block.mlp, MlpPlan)
            for block in plan.stages[0].blocks
        )
    )


def timm_twin(space: SearchSpace, architecture: Architecture) -> TimmTransformer:
    """Plain timm blocks of the same widths, heads and hidden units; no relative positions."""
    plan = space.plan(architecture)
    (stage,), stem = plan.stages, plan.stem
    assert isinstance(stem, PatchStemPlan)
    norm = partial(nn.LayerNorm, eps=plan.nodes[-1].plan.norm_eps)
    net = TimmTransformer(
        img_size=space.image_size,
        patch_size=stem.patch_size,
        in_chans=space.in_chans,
        embed_dim=stage.embed_dim,
        depth=0,
        num_heads=1,
        global_pool=plan.head.pool,
        fc_norm=False,
        norm_layer=norm,
    )
    blocks = []
    for block in stage.blocks:
        mixer: Any = block.mixer
        mlp = block.mlp
        assert isinstance(mlp, MlpPlan)
        inner = getattr(mixer, "inner_dim", None) or mixer.num_heads * mixer.head_dim
        made = Block(
            stage.embed_dim,
            num_heads=1,
            mlp_ratio=mlp.hidden_dim / stage.embed_dim,
            norm_layer=norm,
        )
        made.attn = Attention(
            stage.embed_dim, mixer.num_heads, inner // mixer.num_heads, qkv_bias=True
        )
        blocks.append(made)
    net.blocks = nn.Sequential(*blocks)
    return net
