"""Reads timm's `vision_transformer.py` and `deit.py`: networks whose blocks are `Block`."""

from __future__ import annotations

from typing import Any

from timm.layers import (
    Attention,
    AttentionPoolLatent,
    GluMlp,
    LayerScale,
    Mlp,
    PatchEmbed,
    SwiGLU,
)
from timm.models.vision_transformer import Block
from torch import nn

from vitsearch.supernet.converting.reading import (
    BlockReading,
    ModuleReader,
    Reading,
    reader_for,
)
from vitsearch.supernet.converting.timm_modules import AbsentBranch

_POOLS = ("token", "avg", "max", "avgmax", "map")


@reader_for("VisionTransformer", "VisionTransformerDistilled")
def read_vision_transformer(network: Any, name: str) -> Reading:
    """A plain vision transformer, or DeiT's with a distillation token."""
    reader = ModuleReader(network, name)
    patch_size, image_size, crop = read_patches(reader, network.patch_embed)
    blocks = [reader.expect(f"blocks.{i}", block, Block) for i, block in enumerate(network.blocks)]
    layers = [block.attn for block in blocks]
    mixer = _attention(reader, layers)
    mlp, hidden = read_mlps(reader, [block.mlp for block in blocks])
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
            "block": read_block(reader, blocks, scaled_by=("ls1", "ls2")),
            "mixer": mixer,
            "mlp": mlp,
            "head": read_head(
                reader,
                network,
                distillation=type(network).__name__ == "VisionTransformerDistilled",
                pool_prefix=network.pool_include_prefix,
            ),
        },
        fixed={
            **({"qk_dim": "queries and keys are normalised"} if "qk_norm" in mixer else {}),
            **({"v_dim": "the joined heads are normalised"} if "inner_norm" in mixer else {}),
        },
    )


def read_patches(reader: ModuleReader, embed: Any) -> tuple[int, int, bool]:
    """Patch size, image size, and whether pixels at the edge fill no patch.

    Raises:
        SpaceError: Patches or images are not square, or patches overlap.
    """
    reader.expect("patch_embed", embed, PatchEmbed)
    proj = reader.expect("patch_embed.proj", embed.proj, nn.Conv2d)
    if proj.kernel_size != proj.stride or len(set(proj.kernel_size)) > 1:
        raise reader.refuse("patch_embed.proj", "its patches are not square or overlap")
    if embed.img_size is None or len(set(embed.img_size)) > 1:
        raise reader.refuse(
            "patch_embed",
            f"img_size={embed.img_size} is not square; with its name, give img_size=<side>",
        )
    patch, image = proj.kernel_size[0], embed.img_size[0]
    if embed.dynamic_img_pad and image % patch:
        raise reader.refuse("patch_embed", "it pads images that its patches do not fill")
    return patch, image, bool(image % patch)


def read_stem(reader: ModuleReader, network: Any, *, crop: bool) -> dict[str, Any]:
    """The settings of patches, the tokens in front of them, positions and norms."""
    if network.pos_embed is None:
        positions = "none"
    else:
        positions = "patches" if getattr(network, "no_embed_class", False) else "all"
    registers = getattr(network, "reg_token", None)
    own = {
        "kind": "vit",
        "crop": crop,
        "class_token": network.cls_token is not None,
        "registers": 0 if registers is None else registers.shape[1],
        "positions": positions,
        "bias": network.patch_embed.proj.bias is not None,
        "embed_norm": reader.norm("patch_embed.norm", network.patch_embed.norm),
        "pre_norm": reader.norm("norm_pre", getattr(network, "norm_pre", nn.Identity())),
    }
    return {key: value for key, value in own.items() if value is not None}


def read_block(
    reader: ModuleReader, blocks: list[Any], *, scaled_by: tuple[str, str]
) -> dict[str, Any]:
    """The norm that all blocks have in common, and which of their branches have LayerScale.

    Args:
        reader: Of the network.
        blocks: Those of the network.
        scaled_by: The names of the LayerScale of attention and MLP: modules or parameters.

    Raises:
        SpaceError: Blocks differ.
    """
    norms, scaled = [], []
    for norm, inner, scale in zip(("norm1", "norm2"), ("attn", "mlp"), scaled_by, strict=True):
        found: list[Any] = []
        have: list[Any] = []
        for i, block in enumerate(blocks):
            if isinstance(getattr(block, inner), AbsentBranch):
                found.append(None)
                have.append(None)
                continue
            found.append(reader.norm(f"blocks.{i}.{norm}", getattr(block, norm)))
            classes = (LayerScale, nn.Identity, nn.Parameter, type(None))
            reader.expect(f"blocks.{i}.{scale}", getattr(block, scale), *classes)
            have.append(isinstance(getattr(block, scale), nn.Parameter | LayerScale))
        norms.append(reader.same(norm, found, "norm"))
        scaled.append(reader.same(scale, have, "use of LayerScale"))
    if norms[0] != norms[1]:
        raise reader.refuse("blocks.0.norm2", f"its norm is {norms[1]}, that of norm1 {norms[0]}")
    attention, mlp = scaled
    section = {"kind": "vit", "norm": norms[0], "layer_scale": attention}
    return section if mlp == attention else {**section, "mlp_layer_scale": mlp}


def _attention(reader: ModuleReader, layers: list[Any]) -> dict[str, Any]:
    """The settings that all layers of attention have in common."""
    settings: list[dict[str, Any] | None] = []
    for i, layer in enumerate(layers):
        path = f"blocks.{i}.attn"
        if isinstance(layer, AbsentBranch):
            settings.append(None)
            continue
        reader.expect(path, layer, Attention)
        if layer.gate is not None:
            raise reader.refuse(f"{path}.gate", "attention with a gate is not supported")
        settings.append(
            {
                "qkv_bias": "all" if layer.qkv.bias is not None else "none",
                "proj_bias": layer.proj.bias is not None,
                "qk_norm": reader.norm(f"{path}.q_norm", layer.q_norm),
                "inner_norm": reader.norm(f"{path}.norm", layer.norm),
            }
        )
    own = reader.same("attn", settings, "kind of attention")
    return {"kind": "vit_attention", **{k: v for k, v in own.items() if v is not None}}


def attention_sizes(layers: list[Any]) -> list[tuple[int, int]]:
    """Heads of each attention, and the channels of a head; zeros where there is none."""
    return [
        (0, 0)
        if isinstance(layer, AbsentBranch)
        else (layer.num_heads, layer.proj.in_features // layer.num_heads)
        for layer in layers
    ]


def read_mlps(reader: ModuleReader, layers: list[Any]) -> tuple[dict[str, Any], list[int]]:
    """The settings that all MLPs have in common, and their hidden widths; 0 where there is none.

    Raises:
        SpaceError: One is of another class, or they differ in more than their width.
    """
    settings = [
        None if isinstance(layer, AbsentBranch) else _mlp(reader, f"blocks.{i}.mlp", layer)
        for i, layer in enumerate(layers)
    ]
    own = reader.same("mlp", settings, "kind of MLP")
    section = {"kind": "vit_mlp", **{k: v for k, v in own.items() if v is not None}}
    return section, [
        0 if isinstance(layer, AbsentBranch) else layer.fc2.in_features for layer in layers
    ]


def _mlp(reader: ModuleReader, path: str, layer: Any) -> dict[str, Any]:
    reader.expect(path, layer, Mlp, GluMlp, SwiGLU)
    if type(layer) is SwiGLU:
        gate, first = "split", layer.fc1_g
    elif type(layer) is GluMlp:
        gate, first = "last" if layer.gate_last else "first", layer.fc1
    else:
        gate, first = "none", layer.fc1
    return {
        "activation": reader.activation(f"{path}.act", layer.act),
        "gate": gate,
        "bias": first.bias is not None,
        "proj_bias": layer.fc2.bias is not None,
        "inner_norm": reader.norm(f"{path}.norm", layer.norm),
    }


def read_head(
    reader: ModuleReader, network: Any, *, distillation: bool = False, pool_prefix: bool = False
) -> dict[str, Any]:
    """The settings of pool, norm and classifiers.

    Args:
        reader: Of the network.
        network: The network.
        distillation: Whether there is a classifier of a distillation token.
        pool_prefix: Whether the tokens in front of the patches are pooled with them.

    Raises:
        SpaceError: Nothing is pooled, or there are two norms.
    """
    pool = network.global_pool
    if pool not in _POOLS:
        raise reader.refuse(
            "global_pool", f"{pool!r} gives no pooled features; legal: {', '.join(_POOLS)}"
        )
    before, after = reader.norm("norm", network.norm), reader.norm("fc_norm", network.fc_norm)
    if distillation and (after is not None or network.num_reg_tokens or network.no_embed_class):
        raise reader.refuse(
            "forward", "with a distillation token timm uses no fc_norm, registers, no_embed_class"
        )
    if before is not None and after is not None:
        raise reader.refuse("fc_norm", "there is a norm before the pool, too")
    own = {
        "kind": "classifier",
        "pool": pool,
        "norm": before or after,
        "norm_place": "before" if before else "after" if after else "none",
        "distillation": distillation,
        "pool_prefix": pool_prefix,
        "attention_pool": read_attention_pool(reader, getattr(network, "attn_pool", None)),
    }
    return {key: value for key, value in own.items() if value is not None}


def read_attention_pool(reader: ModuleReader, pool: Any) -> dict[str, Any] | None:
    """The settings of a pool by attention; `None` without one.

    Raises:
        SpaceError: It is another kind of pool.
    """
    if pool is None:
        return None
    reader.expect("attn_pool", pool, AttentionPoolLatent)
    reader.expect("attn_pool.q", pool.q, nn.Linear)
    reader.expect("attn_pool.q_norm", pool.q_norm, nn.Identity)
    reader.expect("attn_pool.mlp", pool.mlp, Mlp)
    plain = pool.latent_len == 1 and pool.pool == "token" and pool.pos_embed is None
    if not plain or pool.q.bias is None or pool.proj.bias is None:
        raise reader.refuse("attn_pool", "only a pool with one query and biases is supported")
    norm = reader.norm("attn_pool.norm", pool.norm)
    if norm is None:
        raise reader.refuse("attn_pool.norm", "a pool without a norm is not supported")
    return {
        "num_heads": pool.num_heads,
        "hidden": pool.mlp.fc1.out_features,
        "activation": reader.activation("attn_pool.mlp.act", pool.mlp.act),
        "norm": norm,
    }
