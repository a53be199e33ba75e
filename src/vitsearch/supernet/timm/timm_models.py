"""Our networks under names that `timm.create_model` knows; importing this module registers them.

`vitsearch_<name>` is a published network; `vitsearch` is any other, described by the arguments
`space` and `architecture`, as in the `config.json` of a repository on the Hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    resolve_pretrained_cfg,
)
from torch import nn

from vitsearch.errors import ConfigError
from vitsearch.spaces import Architecture, SearchSpace, build_space
from vitsearch.spaces.published import published, published_entries
from vitsearch.spaces.resizing import resized_for
from vitsearch.supernet.timm.face import repooled, size_for
from vitsearch.supernet.timm.preprocessing import (
    PREPROCESSING,
    TIMM_NAME,
    checked_preprocessing,
    make_pretrained_cfg,
)
from vitsearch.supernet.timm.resample import resample_positions
from vitsearch.supernet.vision_transformer import VisionTransformer

PREFIX = f"{TIMM_NAME}_"
PAPER_SIZE, PAPER_CHANS, PAPER_CLASSES = 224, 3, 1000
SOURCES = ("url", "file", "hf_hub_id", "state_dict")
PLAIN_FEATURES = 3  # the last blocks that `features_only` takes by default, as timm's own
OPTIONS = (
    "num_classes",
    "in_chans",
    "img_size",
    "global_pool",
    "drop_rate",
    "drop_path_rate",
    "device",
    "dtype",
    "features_only",
    "out_indices",
)

__all__: list[str] = []


def _default_cfg(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What `pretrained_cfg` of a published network is, without building it."""
    family = entry.get("family")
    if family == "hr_nas":
        first_conv = "stem.convs.0"
    elif "stem" in entry or family in ("resnet", "vt"):
        first_conv = "stem.conv1"
    else:
        first_conv = f"stem.embeds.{entry['patch_size']}"
    return make_pretrained_cfg(
        image_size=PAPER_SIZE,
        in_chans=PAPER_CHANS,
        num_classes=PAPER_CLASSES,
        first_conv=first_conv,
        classifiers=["head"],
    )


default_cfgs = generate_default_cfgs(
    {
        **{PREFIX + name: _default_cfg(entry) for name, entry in published_entries().items()},
        TIMM_NAME: {"input_size": None, "fixed_input_size": True, "num_classes": PAPER_CLASSES},
    }
)


def build(
    timm_name: str,
    space: SearchSpace,
    architecture: Architecture,
    *,
    pretrained: bool = False,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """A network by timm's conventions: pretrained weights, other classes, features only.

    Args:
        timm_name: The name that timm knows it by.
        space: Where the architecture is legal.
        architecture: What to build.
        pretrained: Whether to load weights from where `pretrained_cfg` says.
        pretrained_cfg: timm's; that of the name by default.
        pretrained_cfg_overlay: Entries in place of its own.
        **options: See `OPTIONS`.

    Raises:
        ConfigError: An option is unknown, or there are no weights.
    """
    cfg = resolve_pretrained_cfg(timm_name, pretrained_cfg, pretrained_cfg_overlay)
    if pretrained and not any(getattr(cfg, source, None) for source in SOURCES):
        raise ConfigError(
            f"pretrained=True: {timm_name} has no weights of this library's; give "
            f"pretrained_cfg_overlay={{'file': ...}}, or vitsearch.load_published_checkpoint the "
            f"authors' file"
        )
    if cfg.input_size is None:
        cfg.input_size = space.input_shape
    stages = len(space.stages)
    network = build_model_with_cfg(
        partial(make_network, timm_name, space, architecture),
        timm_name,
        pretrained,
        pretrained_cfg=cfg.to_dict(),
        pretrained_filter_fn=resample_positions,
        feature_cfg={
            "feature_cls": "getter",
            "out_indices": tuple(range(stages)) if stages > 1 else PLAIN_FEATURES,
        },
        **options,
    )
    built = getattr(network, "model", network)  # what gives features out is around the network
    assert isinstance(built, VisionTransformer)
    _settle(built, timm_name, stated=pretrained)
    if network is not built:
        of_features = built.pretrained_cfg.keys() - {"num_classes", "classifier"}
        network.pretrained_cfg = {key: built.pretrained_cfg[key] for key in of_features}
        network.default_cfg = network.pretrained_cfg
    return network  # type: ignore[no-any-return]


def make_network(
    timm_name: str,
    space: SearchSpace,
    architecture: Architecture,
    *,
    num_classes: int = PAPER_CLASSES,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    global_pool: str | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **unknown: Any,
) -> VisionTransformer:
    """A network with fresh weights, from timm's arguments of a model's class.

    Args:
        timm_name: The name that timm knows it by.
        space: Where the architecture is legal.
        architecture: What to build.
        num_classes: Outputs of the classifier; 0 for none.
        in_chans: Channels of the images; those of the space by default.
        img_size: Side of the images, pixels; that of the space by default.
        global_pool: Another pool than the space's.
        drop_rate: Dropout in front of the classifier.
        drop_path_rate: Stochastic depth of the last block.
        device: Where the weights are.
        dtype: Of the weights.
        **unknown: What it does not take.

    Raises:
        ConfigError: An argument is unknown, or a value is not legal.
        SpaceError: The patch size does not divide the image size.
    """
    if unknown:
        given = ", ".join(f"{name}={value}" for name, value in unknown.items())
        raise ConfigError(f"{timm_name} takes no {given}; legal: {', '.join(OPTIONS)}")
    size = None if img_size is None else size_for(space, img_size)
    space = resized_for(space, architecture, image_size=size, in_chans=in_chans)
    if global_pool:
        space = repooled(space, global_pool)
    with torch.device(device or torch.get_default_device()):
        network = VisionTransformer(
            space,
            architecture,
            num_classes,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
        )
    if global_pool == "":
        network.reset_classifier(num_classes, "")
    if timm_name != TIMM_NAME:
        network._model_args = {}  # its name says what it is
    return network.to(dtype=dtype)


def _settle(network: VisionTransformer, timm_name: str, *, stated: bool) -> None:
    """Let `pretrained_cfg`, which timm has set to that of the weights, tell of this network."""
    source, own = network.pretrained_cfg, network.describe_to_timm()
    if len(source["mean"]) == network.in_chans:
        given = {name: source[name] for name in PREPROCESSING}
        own |= checked_preprocessing(given, network.in_chans)
        network.has_stated_preprocessing = stated
    network.pretrained_cfg = network.default_cfg = {**source, **own, "architecture": timm_name}
    names = network.pretrained_cfg.pop("label_names", None)
    if names is not None and len(names) == network.num_classes:
        network.class_names = tuple(names)


def vitsearch(
    pretrained: bool = False,
    space: SearchSpace | Mapping[str, Any] | str | None = None,
    architecture: Architecture | Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Any architecture of any space.

    Args:
        pretrained: Whether to load weights from where `pretrained_cfg` says.
        space: A space, its configuration, or its name.
        architecture: An architecture, or its choices by name.
        **options: See `OPTIONS`.

    Raises:
        ConfigError: Either is missing, an option is unknown, or there are no weights.
        SpaceError: The space or the architecture is not legal.
    """
    if space is None or architecture is None:
        raise ConfigError(
            f"timm.create_model('{TIMM_NAME}') needs space=... and architecture=...; a published "
            f"network has a name of its own: {', '.join(sorted(default_cfgs.keys() - {TIMM_NAME}))}"
        )
    space, architecture = read_arguments(space, architecture)
    return build(TIMM_NAME, space, architecture, pretrained=pretrained, **options)


def read_arguments(
    space: SearchSpace | Mapping[str, Any] | str, architecture: Architecture | Mapping[str, Any]
) -> tuple[SearchSpace, Architecture]:
    """A space and an architecture from what stands in a `config.json`.

    Raises:
        SpaceError: The space or the architecture is not legal.
    """
    if isinstance(space, str):
        space = build_space(space)
    elif not isinstance(space, SearchSpace):
        space = SearchSpace(space)
    if not isinstance(architecture, Architecture):
        architecture = Architecture.from_dict(architecture)
    return space, architecture


def _register_published(name: str) -> None:
    def entry_point(pretrained: bool = False, **options: Any) -> nn.Module:
        return build(PREFIX + name, *published(name), pretrained=pretrained, **options)

    entry_point.__name__ = entry_point.__qualname__ = PREFIX + name
    entry_point.__doc__ = f"The published network {name}."
    globals()[PREFIX + name] = register_model(entry_point)


register_model(vitsearch)
for _name in published_entries():
    _register_published(_name)
