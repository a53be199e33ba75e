"""What cannot be converted is refused in one line that names the module and the reason."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import GatedMlp, HybridEmbed
from timm_networks import NAMES, REFUSED, SMALL, create
from torch import nn

import vitsearch
from vitsearch.errors import CheckpointError, ConfigError, SpaceError
from vitsearch.supernet.converting.from_timm import timm_space_config


def refused(error, words, call, *args, **options):
    with pytest.raises(error, match=re.escape(words)) as info:
        call(*args, **options)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_blocks_of_another_kind(name):
    network = timm.create_model(name, **SMALL)
    message = f"VisionTransformer cannot be made elastic: {REFUSED[name]}"
    refused(SpaceError, message, vitsearch.from_timm, network)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("swin_tiny_patch4_window7_224", "SwinTransformer: networks of these classes can: Vision"),
        ("resnet18", "resnet18 cannot be made elastic: ResNet: networks of these classes can"),
        ("vit_small_patch16_18x2_224", "blocks.0: it is a ParallelThingsBlock, not a Block"),
        ("vit_small_r26_s32_224", "patch_embed: it is a HybridEmbed, not a PatchEmbed"),
    ],
)
def test_by_name(name, words):
    refused(SpaceError, words, vitsearch.from_timm, name)
    refused(SpaceError, words, timm_space_config, name)


def test_hybrid_embeddings():
    backbone = timm.create_model("resnet10t", features_only=True, out_indices=(1,))
    network = create("vit_base_patch16_224", torch.float32)
    network.patch_embed = HybridEmbed(backbone, img_size=12, embed_dim=32)
    refused(SpaceError, "patch_embed: it is a HybridEmbed", vitsearch.from_timm, network)


def replaced(path, module):
    """A small network with another module at a path."""
    network = create("vit_base_patch16_224")
    parent, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
    return network


@pytest.mark.parametrize(
    ("path", "module", "words"),
    [
        ("blocks.1.norm1", nn.BatchNorm1d(32), "blocks.1.norm1: it is a BatchNorm1d, not a Layer"),
        (
            "blocks.1.norm2",
            nn.LayerNorm(32, eps=0.5),
            "blocks.1.norm2: its norm is {'kind': 'layer', 'eps': 0.5}, that of block 0 {'kind'",
        ),
        ("blocks.0.norm1", nn.LayerNorm(32, bias=False), "blocks.0.norm1: it has no shift"),
        ("norm", nn.LayerNorm(32, elementwise_affine=False), "norm: it has no scale"),
        ("blocks.0.mlp", GatedMlp(32), "blocks.0.mlp: it is a GatedMlp, not a Mlp or GluMlp"),
        ("blocks.1.mlp.act", nn.Mish(), "blocks.1.mlp.act: it is a Mish, none of GELU"),
        ("blocks.1.mlp.act", nn.ReLU(), "blocks.1.mlp: its kind of MLP is {'activation': 'relu'"),
        ("blocks.0.ls2", nn.Dropout(), "blocks.0.ls2: it is a Dropout, not a LayerScale or Iden"),
        ("fc_norm", nn.LayerNorm(32), "fc_norm: there is a norm before the pool, too"),
        (
            "patch_embed.proj",
            nn.Conv2d(3, 32, 4, stride=2),
            "patch_embed.proj: its patches are not square or overlap",
        ),
    ],
    ids=str,
)
def test_modules_that_are_not_known(path, module, words):
    refused(SpaceError, words, vitsearch.from_timm, replaced(path, module))


def test_networks_that_are_not_known():
    gated = timm.create_model("vit_base_patch16_224", **SMALL)
    gated.blocks[0].attn.gate = nn.Linear(32, 32)
    words = "blocks.0.attn.gate: attention with a gate is not supported"
    refused(SpaceError, words, vitsearch.from_timm, gated)
    wide = timm.create_model("vit_base_patch16_224", **SMALL | {"img_size": (12, 16)})
    refused(SpaceError, "img_size=(12, 16) is not square", vitsearch.from_timm, wide)
    bare = timm.create_model("vit_base_patch16_224", **SMALL, global_pool="")
    refused(SpaceError, "global_pool: '' gives no pooled", vitsearch.from_timm, bare)
    empty = timm.create_model("vit_base_patch16_224", **SMALL | {"depth": 0})
    refused(
        SpaceError,
        "blocks: none has attn, so its kind of attention is not known",
        vitsearch.from_timm,
        empty,
    )
    twice = timm.create_model("deit_tiny_distilled_patch16_224", **SMALL, reg_tokens=2)
    refused(SpaceError, "forward: with a distillation token", vitsearch.from_timm, twice)

    class Own(type(gated)):
        """Somebody's subclass may do anything in its forward."""

    refused(SpaceError, "Own cannot be made elastic: Own", vitsearch.from_timm, Own(**SMALL))


def test_images_that_do_not_fit_the_patches():
    words = "patch_size 16 does not divide image_size 100; nearest: 96, 112"
    refused(SpaceError, words, vitsearch.from_timm, "test_vit", img_size=100)
    refused(SpaceError, words, timm_space_config, "test_vit", img_size=100)
    network = timm.create_model("test_vit")
    refused(SpaceError, words, vitsearch.from_timm, network, img_size=100)
    refused(SpaceError, "nearest: 16", vitsearch.from_timm, network, img_size=9)


def test_unknown_names(tmp_path):
    words = "space.model=vit_small_patch14_dino2 is no network of timm"
    refused(SpaceError, words, vitsearch.from_timm, "vit_small_patch14_dino2")
    with pytest.raises(SpaceError, match="did you mean vit_small_patch14_dinov2"):
        vitsearch.from_timm("vit_small_patch14_dino2")
    assert "vit_small_patch14_dinov2" in NAMES
    words = "space.model=test_vit.tag cannot be built: Invalid pretrained tag (tag) for test_vit"
    refused(SpaceError, words, vitsearch.from_timm, "test_vit.tag")
    words = "no folder of a timm model: config.json is missing in it"
    refused(SpaceError, words, vitsearch.from_timm, tmp_path)
    for text in ("{", "[]", '{"architecture": "no_such"}'):
        (tmp_path / "config.json").write_text(text)
        words = f"space.model={tmp_path} cannot be built: "
        refused(SpaceError, words, vitsearch.from_timm, tmp_path)


def test_weights_that_are_not_there(tmp_path):
    missing = tmp_path / "missing.safetensors"
    words = f"weights={missing} is no file"
    refused(CheckpointError, words, vitsearch.from_timm, "test_vit", weights=missing)
    words = "the pretrained weights of test_vit4 cannot be loaded: No pretrained weights exist"
    refused(CheckpointError, words, vitsearch.from_timm, "test_vit4", pretrained=True)
    words = "go with the name of a network, not with a network in memory"
    network = timm.create_model("test_vit")
    refused(ConfigError, words, vitsearch.from_timm, network, pretrained=True)
    refused(ConfigError, words, vitsearch.from_timm, network, weights=missing)
    refused(ConfigError, words, vitsearch.from_timm, network, in_chans=1)


class Malicious:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_weights_that_cannot_be_loaded(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_vit2").state_dict(), file)
    whole = file.read_bytes()
    words = f"weights={file} cannot be loaded: "
    refused(CheckpointError, words, vitsearch.from_timm, "test_vit", weights=file)
    file.write_bytes(whole[: len(whole) // 2])
    refused(CheckpointError, words, vitsearch.from_timm, "test_vit2", weights=file)

    torch_file, made = tmp_path / "weights.pth", tmp_path / "made"
    for write in (
        lambda: torch.save({"state_dict": Malicious(made)}, torch_file),
        lambda: torch_file.write_bytes(pickle.dumps(Malicious(made))),
        lambda: torch_file.write_bytes(b"no checkpoint"),
        lambda: torch_file.write_bytes(b""),
    ):
        write()
        words = f"weights={torch_file} cannot be loaded"
        refused(CheckpointError, words, vitsearch.from_timm, "test_vit", weights=torch_file)
        assert not made.exists()
    pickle.loads(pickle.dumps(Malicious(made)))  # it would have
    assert Path(made).is_dir()
