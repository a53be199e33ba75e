"""timm's vision transformers made small: their own variations, few channels and two blocks."""

from __future__ import annotations

import random
import zlib
from typing import Any

import timm
import torch
from torch import Tensor, nn

NAMES = [name for file in ("vision_transformer", "deit") for name in timm.list_models(module=file)]
REFUSED = {
    "vit_base_patch16_18x2_224": "blocks.0: it is a ParallelThingsBlock, not a Block",
    "vit_small_patch16_18x2_224": "blocks.0: it is a ParallelThingsBlock, not a Block",
    "vit_base_patch16_rpn_224": "blocks.0: it is a ResPostBlock, not a Block",
    "vit_base_patch16_xp_224": "blocks.0: it is a ParallelScalingBlock, not a Block",
    "vit_large_patch14_xp_224": "blocks.0: it is a ParallelScalingBlock, not a Block",
    "vit_huge_patch14_xp_224": "blocks.0: it is a ParallelScalingBlock, not a Block",
    "vit_pwee_patch16_reg1_gap_256": "blocks.0: it is a ParallelScalingBlock, not a Block",
    "vit_dpwee_patch16_reg1_gap_256": "blocks.0: it is a DiffParallelScalingBlock, not a Block",
    "vit_dlittle_patch16_reg1_gap_256": "blocks.0.attn: it is a DiffAttention, not a Attention",
    "vit_dwee_patch16_reg1_gap_256": "blocks.0.attn: it is a DiffAttention, not a Attention",
}
CONVERTED = [name for name in NAMES if name not in REFUSED]

SMALL: dict[str, Any] = {
    "img_size": 12,
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 3,
}
# One name for each variation: tokens in front, positions, norms, MLPs, pools, biases.
VARIATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "class token": ("vit_base_patch16_224", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "LayerScale, positions of patches": ("deit3_small_patch16_224", {}),
    "registers": ("vit_small_patch14_reg4_dinov2", {}),
    "packed SwiGLU": ("vit_giant_patch14_dinov2", {}),
    "plain SwiGLU, embed norm, no biases": ("aimv2_large_patch14_224", {}),
    "norms of heads and hidden units": ("beit3_base_patch16_224", {}),
    "norm in front, no bias of patches": ("vit_base_patch16_clip_224", {}),
    "quick GELU": ("vit_base_patch16_clip_quickgelu_224", {}),
    "no class token, mean": ("vit_medium_patch16_gap_240", {}),
    "no class token, registers": ("vit_wee_patch16_reg1_gap_256", {}),
    "norm behind the mean": ("eva_large_patch14_196", {}),
    "SigLIP's attention": ("vit_base_patch16_siglip_224", {}),
    "attention over registers": ("vit_so150m_patch16_reg4_map_256", {}),
    "SigLIP without class token": ("vit_so400m_patch14_siglip_gap_224", {}),
    "normalised queries": ("vit_little_patch16_reg4_gap_256", {"qk_norm": True}),
    "queries under RMSNorm": (
        "deit3_small_patch16_224",
        {"qk_norm": True, "norm_layer": "rmsnorm"},
    ),
    "RADIO": ("vit_base_patch16_radio_v3", {}),
    "InternViT": ("vit_intern300m_patch14_448", {}),
    "no bias of queries": ("vit_base_patch16_224_miil", {}),
    "class token, attention over all": ("test_vit3", {}),
    "fc_norm, SwiGLU": ("test_vit4", {}),
    "largest": ("vit_base_patch16_224", {"global_pool": "max"}),
    "largest and mean, with prefix": (
        "vit_base_patch16_224",
        {"global_pool": "avgmax", "pool_include_prefix": True},
    ),
    "no positions, no final norm": (
        "vit_base_patch16_224",
        {"pos_embed": "none", "final_norm": False, "norm_layer": "rmsnorm"},
    ),
    "pixels over": ("vit_base_patch16_224", {"img_size": 14, "proj_bias": False}),
}


def create(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    """A small network of timm with noise on vectors and tokens, which begin as zeros and ones."""
    torch.manual_seed(zlib.crc32(name.encode()))
    network = timm.create_model(name, **{**SMALL, **options}).to(dtype).eval()
    return noisy(network)


def variation(key: str, dtype: torch.dtype = torch.float64) -> Any:
    """A network of `VARIATIONS`."""
    name, options = VARIATIONS[key]
    return create(name, dtype, **options)


@torch.no_grad()
def noisy(network: Any) -> Any:
    """With noise on every vector and token."""
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1 or "token" in name or "latent" in name:
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def pictures(network: Any, count: int = 2, side: int | None = None) -> Tensor:
    """Random images for a network of timm or of ours."""
    space = getattr(network, "space", None)
    own = space.image_size if space is not None else network.patch_embed.img_size[0]
    chans = space.in_chans if space is not None else network.patch_embed.proj.in_channels
    dtype = next(network.parameters()).dtype
    side = side or own
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, chans, side, side, generator=generator, dtype=dtype)


def num_parameters(network: nn.Module) -> int:
    """Of all its tensors."""
    return sum(parameter.numel() for parameter in network.parameters())


def drawn(space: Any, count: int, seed: int = 0) -> list[Any]:
    """Random architectures."""
    rng = random.Random(seed)
    return [space.sample(rng) for _ in range(count)]
