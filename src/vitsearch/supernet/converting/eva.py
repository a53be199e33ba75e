"""Reads timm's `eva.py`: EVA-02, DINOv3, Perception Encoder, RoPE-ViT, Sapiens2.

Random shifts and scales of the coordinates in training are not converted, like other dropout.
"""

from __future__ import annotations

from typing import Any

from timm.layers import (
    AttentionRope,
    RotaryEmbeddingCat,
    RotaryEmbeddingDinoV3,
    RotaryEmbeddingMixed,
)
from timm.models.eva import EvaAttention, EvaBlock

from vitsearch.supernet.converting.reading import (
    BlockReading,
    ModuleReader,
    Reading,
    reader_for,
)
from vitsearch.supernet.converting.timm_modules import AbsentBranch
from vitsearch.supernet.converting.vision_transformer import (
    attention_sizes,
    read_block,
    read_head,
    read_mlps,
    read_patches,
    read_stem,
)
from vitsearch.supernet.converting.weights import BIASES, GAMMAS

NORMED = "queries and keys are normalised"
PROJECTIONS = {f"attn.{name}_proj.": f"attn.{name}." for name in "qkv"}


@reader_for("Eva")
def read_eva(network: Any, name: str) -> Reading:
    """A network of blocks `EvaBlock`."""
    reader = ModuleReader(network, name)
    blocks = [reader.expect(f"blocks.{i}", b, EvaBlock) for i, b in enumerate(network.blocks)]
    layers = [block.attn for block in blocks]
    mixer, renamed = _attention(reader, layers, network.num_prefix_tokens)
    rope = _rope(reader, network, layers)
    if rope is not None:
        mixer |= {"kind": "rope_attention", "rope": rope}
    mlp, hidden = read_mlps(reader, [block.mlp for block in blocks])
    patch_size, image_size, crop = read_patches(reader, network.patch_embed)
    return Reading(
        name=name,
        image_size=image_size,
        in_chans=network.patch_embed.proj.in_channels,
        patch_size=patch_size,
        embed_dim=network.embed_dim,
        num_classes=network.num_classes,
        blocks=tuple(
            BlockReading(num_heads=heads, head_dim=head_dim, hidden_dim=width)
            for (heads, head_dim), width in zip(attention_sizes(layers), hidden, strict=True)
        ),
        sections={
            "stem": read_stem(reader, network, crop=crop),
            "block": read_block(reader, blocks, scaled_by=("gamma_1", "gamma_2")),
            "mixer": mixer,
            "mlp": mlp,
            "head": read_head(reader, network, pool_prefix=network.attn_pool is not None),
        },
        fixed={"qk_dim": NORMED} if "qk_norm" in mixer else {},
        renamed={**GAMMAS, **renamed},
    )


def _attention(
    reader: ModuleReader, layers: list[Any], num_prefix_tokens: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings that all layers of attention have in common, and how they name their weights.

    Raises:
        SpaceError: One has a gate, shares keys and values among heads, or differs from the others.
    """
    settings: list[dict[str, Any] | None] = []
    names: list[dict[str, str] | None] = []
    for i, layer in enumerate(layers):
        path = f"blocks.{i}.attn"
        if isinstance(layer, AbsentBranch):
            settings.append(None)
            names.append(None)
            continue
        reader.expect(path, layer, EvaAttention, AttentionRope)
        if layer.gate is not None:
            raise reader.refuse(f"{path}.gate", "attention with a gate is not supported")
        keys = getattr(layer, "num_kv_heads", layer.num_heads)
        if keys != layer.num_heads:
            raise reader.refuse(
                path,
                f"its {layer.num_heads} heads share {keys} keys and values (grouped attention)",
            )
        if layer.num_prefix_tokens != num_prefix_tokens:
            raise reader.refuse(path, "it rotates other tokens than the patches")
        biases, renamed = _biases(layer)
        names.append(renamed)
        settings.append(
            {
                "qkv_bias": biases,
                "proj_bias": layer.proj.bias is not None,
                "qk_norm": reader.norm(f"{path}.q_norm", layer.q_norm),
                "inner_norm": reader.norm(f"{path}.norm", layer.norm),
            }
        )
    own = reader.same("attn", settings, "kind of attention")
    renamed = reader.same("attn", names, "kind of projections")
    return {"kind": "vit_attention", **{k: v for k, v in own.items() if v is not None}}, renamed


def _biases(layer: Any) -> tuple[str, dict[str, str]]:
    """Which projections have a bias, and the names of their weights that are not timm's usual."""
    if layer.qkv is None:
        has_biases = layer.q_proj.bias is not None
        of_keys = layer.k_proj.bias is not None
        return "all" if of_keys else "qv" if has_biases else "none", PROJECTIONS
    if getattr(layer, "q_bias", None) is not None:
        return "qv", BIASES
    return "all" if layer.qkv.bias is not None else "none", {}


def _rope(reader: ModuleReader, network: Any, layers: list[Any]) -> dict[str, Any] | None:
    """The settings of the rotation of queries and keys; `None` without one.

    Raises:
        SpaceError: It is of another kind, or does not go with the layers of attention.
    """
    rope = network.rope
    if rope is None:
        return None
    reader.expect("rope", rope, RotaryEmbeddingCat, RotaryEmbeddingDinoV3, RotaryEmbeddingMixed)
    is_mixed = type(rope) is RotaryEmbeddingMixed
    half = not is_mixed and rope.rotate_half
    width = rope.dim // rope.num_heads if is_mixed else rope.dim
    for i, layer in enumerate(layers):
        if isinstance(layer, AbsentBranch):
            continue
        if layer.head_dim != width or (is_mixed and layer.num_heads != rope.num_heads):
            raise reader.refuse("rope", f"its heads are not those of blocks.{i}.attn")
        if layer.rotate_half != half:
            raise reader.refuse("rope", f"its pairs of channels are not those of blocks.{i}.attn")
    if is_mixed:
        return {"kind": "mixed", "temperature": rope.temperature, "indexing": rope.grid_indexing}
    found = {
        "temperature": float(rope.temperature or 0),
        "indexing": rope.grid_indexing,
        "half": half,
        "dynamic": bool(network.dynamic_img_size),
    }
    if rope.grid_offset:
        found["offset"] = float(rope.grid_offset)
    if type(rope) is RotaryEmbeddingDinoV3:
        if rope.min_period is not None or rope.normalize_coords != "separate":
            raise reader.refuse("rope", "only a temperature and coordinates by side are supported")
        return {"kind": "dinov3", **found}
    if rope.in_pixels or rope.grid_type != "index":
        raise reader.refuse("rope", "only coordinates in patches are supported")
    if rope.ref_feat_shape is not None:
        found["reference_grid"] = list(rope.ref_feat_shape)
    return {"kind": "cat", **found}
