"""timm's name for the networks that `to_timm` makes, and folders in which timm finds them.

Importing this module registers `vitsearch_vit`: timm's own class, built from the arguments `space`
and `architecture`, as they stand in the `config.json` of such a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from timm.models import (
    beit,
    build_model_with_cfg,
    eva,
    generate_default_cfgs,
    register_model,
    resolve_pretrained_cfg,
    save_for_hf,
    vision_transformer,
)
from torch import Tensor, nn

from vitsearch.errors import ConfigError
from vitsearch.runs.files import atomic_folder
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.supernet.converting.to_timm import TIMM_VIT, check_timm_can
from vitsearch.supernet.timm.preprocessing import make_pretrained_cfg
from vitsearch.supernet.timm.timm_models import (
    PAPER_CLASSES,
    PLAIN_FEATURES,
    SOURCES,
    make_network,
    read_arguments,
)
from vitsearch.supernet.vision_transformer import VisionTransformer

default_cfgs = generate_default_cfgs(
    {TIMM_VIT: {"input_size": None, "fixed_input_size": True, "num_classes": PAPER_CLASSES}}
)

__all__: list[str] = []


def vitsearch_vit(
    pretrained: bool = False,
    space: SearchSpace | Mapping[str, Any] | str | None = None,
    architecture: Architecture | Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """A `VisionTransformer` of timm with the sizes of an architecture, each block its own.

    Args:
        pretrained: Whether to load weights from where `pretrained_cfg` says.
        space: A space of parts `vit`, its configuration, or its name.
        architecture: An architecture, or its choices by name.
        **options: See `vitsearch.supernet.timm.timm_models.OPTIONS`, and timm's own for loading.

    Raises:
        ConfigError: An argument is missing or unknown, a part has no counterpart in timm's class,
            or there are no weights.
        SpaceError: The space or the architecture is not legal.
    """
    if space is None or architecture is None:
        raise ConfigError(f"timm.create_model('{TIMM_VIT}') needs space=... and architecture=...")
    space, architecture = read_arguments(space, architecture)
    plan = space.plan(architecture)
    check_timm_can(space.name, plan)
    cfg = resolve_pretrained_cfg(
        TIMM_VIT, options.pop("pretrained_cfg", None), options.pop("pretrained_cfg_overlay", None)
    )
    if pretrained and not any(getattr(cfg, source, None) for source in SOURCES):
        raise ConfigError(
            f"pretrained=True: {TIMM_VIT} has no weights; give pretrained_cfg_overlay="
            f"{{'file': ...}}, or the folder that vitsearch.save_timm wrote as local-dir:..."
        )
    if cfg.input_size is None:
        distilled = getattr(plan.head, "distillation", False)
        own = make_pretrained_cfg(
            image_size=space.image_size,
            in_chans=space.in_chans,
            num_classes=PAPER_CLASSES,
            first_conv="patch_embed.proj",
            classifiers=("head", "head_dist") if distilled else ("head",),
        )
        cfg = replace(cfg, **own | {"architecture": TIMM_VIT})
    return build_model_with_cfg(  # type: ignore[no-any-return]
        partial(_make, space, architecture),
        TIMM_VIT,
        pretrained,
        pretrained_cfg=cfg.to_dict(),
        pretrained_filter_fn=_own_weights,
        feature_cfg={"feature_cls": "getter", "out_indices": PLAIN_FEATURES},
        **options,
    )


def _make(space: SearchSpace, architecture: Architecture, **options: Any) -> nn.Module:
    return make_network(TIMM_VIT, space, architecture, **options).to_timm()


def _own_weights(state: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Weights for another image size, or without a pool by attention that is not wanted."""
    filters = {"Eva": eva, "Beit": beit}
    module: Any = filters.get(type(network).__name__, vision_transformer)
    state = module.checkpoint_filter_fn(state, network)
    if getattr(network, "attn_pool", None) is None:
        state = {name: t for name, t in state.items() if not name.startswith("attn_pool.")}
    return state


register_model(vitsearch_vit)


def save_timm(network: VisionTransformer | nn.Module, folder: str | Path) -> Path:
    """Write a folder that timm reads as its own class: `config.json` and `model.safetensors`.

    After `import vitsearch`, `timm.create_model("local-dir:<folder>", pretrained=True)` gives
    timm's `VisionTransformer` with the same outputs; uploaded to the Hub, `"hf-hub:<repository>"`
    does. The folder is replaced whole.

    Args:
        network: A network of a converted space, or what its `to_timm()` returned, trained or not.
        folder: Where.

    Raises:
        ConfigError: It cannot be made a network of timm; see `VisionTransformer.to_timm`.
    """
    made: Any = network.to_timm() if isinstance(network, VisionTransformer) else network
    if getattr(made, "pretrained_cfg", {}).get("architecture") != TIMM_VIT:
        raise ConfigError(
            f"a {type(network).__name__} that to_timm() has not made cannot be written by "
            f"save_timm; timm.models.save_for_hf writes timm's own networks"
        )
    target = Path(folder)
    with atomic_folder(target) as temporary:
        save_for_hf(made, temporary, safe_serialization=True)
        weights, config = temporary / "model.safetensors", temporary / "config.json"
        # safetensors writes files that only their owner can read.
        weights.chmod(config.stat().st_mode)
    return target
