"""Reads timm's `beit.py`: BEiT and BEiT v2, with a table of relative positions in each block."""

from __future__ import annotations

from typing import Any

from timm.models.beit import Attention, Block

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


@reader_for("Beit")
def read_beit(network: Any, name: str) -> Reading:
    """A network of blocks of `beit.py`."""
    reader = ModuleReader(network, name)
    if network.rel_pos_bias is not None:
        raise reader.refuse(
            "rel_pos_bias", "a table of relative positions that blocks share is not supported"
        )
    blocks = [reader.expect(f"blocks.{i}", b, Block) for i, b in enumerate(network.blocks)]
    layers = [block.attn for block in blocks]
    mixer, renamed = _attention(reader, layers, tuple(network.patch_embed.grid_size))
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
            "head": read_head(reader, network),
        },
        renamed={**GAMMAS, **renamed},
    )


def _attention(
    reader: ModuleReader, layers: list[Any], grid: tuple[int, ...]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings that all layers of attention have in common, and how they name their weights.

    Raises:
        SpaceError: They differ, or have a table for another grid than that of the patches.
    """
    settings: list[dict[str, Any] | None] = []
    for i, layer in enumerate(layers):
        path = f"blocks.{i}.attn"
        if isinstance(layer, AbsentBranch):
            settings.append(None)
            continue
        reader.expect(path, layer, Attention)
        has_table = layer.relative_position_bias_table is not None
        if has_table and tuple(layer.window_size) != grid:
            raise reader.refuse(path, f"its table is for a grid of {tuple(layer.window_size)}")
        settings.append(
            {
                "kind": "beit_attention" if has_table else "vit_attention",
                "qkv_bias": "none" if layer.q_bias is None else "qv",
                "proj_bias": layer.proj.bias is not None,
            }
        )
    return reader.same("attn", settings, "kind of attention"), BIASES
