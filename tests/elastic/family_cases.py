"""The layers of ViTAS, ViT-ResNAS and AutoFormer, as cases of elastic layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.elastic.cases import Case, axis, stem_plan, tokens

from vitsearch.elastic import ConvSizes, ElasticConv2d
from vitsearch.spaces.parts import (
    ConvStemPlan,
    ReductionPlan,
    RelativeAttentionPlan,
    VitasAttentionPlan,
)
from vitsearch.supernet import make_layer


def conv(sizes: Sequence[ConvSizes], **settings: Any) -> ElasticConv2d:
    return ElasticConv2d(axis(sizes, "in_chans"), axis(sizes, "out_chans"), 3, **settings)


def conv_stem_plan(patch_size: int, embed_dim: int) -> ConvStemPlan:
    """On images of 24 pixels: 12 after the first convolution."""
    patch = stem_plan(patch_size, embed_dim)
    return ConvStemPlan(mid_chans=2, in_chans=3, half_size=12, patch=patch)


def reduction_plan(in_dim: int, dim: int, rows: int, columns: int, prefix: int = 1) -> Any:
    return ReductionPlan(
        in_dim=in_dim,
        embed_dim=dim,
        in_grid=(rows, columns),
        grid=((rows + 1) // 2, (columns + 1) // 2),
        num_prefix_tokens=prefix,
        norm_eps=1e-6,
    )


def reduction_shape(plan: ReductionPlan) -> tuple[int, ...]:
    return 3, plan.num_prefix_tokens + plan.in_grid[0] * plan.in_grid[1], plan.in_dim


def vitas_plan(embed_dim: int, num_heads: int, inner_dim: int, private: str) -> VitasAttentionPlan:
    return VitasAttentionPlan(
        embed_dim=embed_dim,
        num_tokens=10,
        num_heads=num_heads,
        inner_dim=inner_dim,
        private=private,
    )


def relative_plan(
    embed_dim: int,
    num_heads: int,
    *,
    grid: tuple[int, int] = (3, 3),
    prefix: int = 1,
    max_distance: int,
) -> RelativeAttentionPlan:
    return RelativeAttentionPlan(
        embed_dim=embed_dim,
        num_tokens=grid[0] * grid[1] + prefix,
        grid=grid,
        num_heads=num_heads,
        head_dim=4,
        max_distance=max_distance,
    )


PAIRS = [(2, 4), (5, 6), (5, 10), (6, 12)]  # widths before and after a reduction
VITAS = [(4, 2, 6), (10, 3, 18), (12, 2, 18), (12, 3, 24)]
FAMILY_CASES = {
    "conv": Case(
        conv,
        (ConvSizes(2, 3), ConvSizes(4, 7), ConvSizes(6, 8)),
        lambda sizes: (3, sizes.in_chans, 5, 4),
    ),
    "strided conv without bias": Case(
        lambda sizes: conv(sizes, stride=2, bias=False),
        (ConvSizes(2, 3), ConvSizes(4, 7), ConvSizes(6, 8)),
        lambda sizes: (3, sizes.in_chans, 5, 4),
    ),
    "conv stem": Case(
        make_layer,
        (conv_stem_plan(4, 3), conv_stem_plan(6, 8), conv_stem_plan(4, 7), conv_stem_plan(4, 8)),
        lambda sizes: (3, 3, 24, 24),
    ),
    "reduction": Case(
        make_layer, tuple(reduction_plan(*pair, 4, 4) for pair in PAIRS), reduction_shape
    ),
    "reduction of an odd grid": Case(
        make_layer, tuple(reduction_plan(*pair, 5, 3, 2) for pair in PAIRS), reduction_shape
    ),
    "reduction of several grids": Case(
        make_layer,
        (reduction_plan(2, 4, 6, 6), reduction_plan(5, 10, 3, 3), reduction_plan(6, 12, 6, 6)),
        reduction_shape,
    ),
    **{
        f"private attention: {private}": Case(
            make_layer, tuple(vitas_plan(*sizes, private) for sizes in VITAS), tokens("embed_dim")
        )
        for private in ("none", "v", "qk")
    },
    "relative attention, dense": Case(
        make_layer,
        tuple(relative_plan(*sizes, max_distance=4) for sizes in ((4, 1), (10, 3), (12, 4))),
        tokens("embed_dim"),
    ),
    "relative attention, by tables": Case(
        make_layer,
        tuple(relative_plan(*sizes, max_distance=1) for sizes in ((4, 1), (10, 3), (12, 4))),
        tokens("embed_dim"),
    ),
}
