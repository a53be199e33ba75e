"""A network of timm as a super-transformer whose largest sub-network is that very network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict
from torch import Tensor, nn

from vitsearch.errors import CheckpointError, ConfigError, SpaceError, VitSearchError
from vitsearch.spaces import SearchSpace
from vitsearch.supernet.converting import (  # noqa: F401  (they register readers)
    beit,
    eva,
    vision_transformer,
)
from vitsearch.supernet.converting.options import Options, read_options, space_config
from vitsearch.supernet.converting.reading import READERS, Reading, read_network
from vitsearch.supernet.converting.weights import PAIRS, state_from_timm
from vitsearch.supernet.storage.weights import check_state
from vitsearch.supernet.super_transformer import SuperTransformer
from vitsearch.supernet.timm.preprocessing import PREPROCESSING
from vitsearch.supernet.timm.resample import resample_positions

LOCAL, HUB = "local-dir:", "hf-hub:"


def from_timm(
    network: str | Path | nn.Module,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    img_size: int | None = None,
    in_chans: int | None = None,
    num_classes: int | None = None,
    options: Mapping[str, Any] | Options | None = None,
    tokens: Mapping[str, Any] | None = None,
) -> SuperTransformer:
    """Make a vision transformer of timm elastic: its largest sub-network is that network, exactly.

    Args:
        network: timm's name of it, `hf-hub:<repository>`, a folder as timm writes it, or the
            network itself.
        pretrained: Whether to load its weights, where timm has them: from the Hub or a folder.
        weights: A `.safetensors` or `.pth` file with its weights instead; no code from it runs.
        img_size: Side of the square images, pixels; positions are resampled bicubically. The
            network's own by default.
        in_chans: Channels of the images; the network's own by default. Of a network that is made
            by its name, as timm adapts its first convolution.
        num_classes: Outputs of the classifier, which is fresh where it is another number than that
            of the weights; 0 for none. By default that of the weights, or the network's own.
        options: What sub-networks may have, as shares of its sizes; see `Options`.
        tokens: How many tokens go on, such as `{"kind": "merge", "merged": [0, 8, 13]}`
            (`docs/spaces/tokens.md`); all of them by default.

    Raises:
        SpaceError: A part of the network cannot be converted (the message names it), an option is
            not legal, or the image size does not fit the patches.
        CheckpointError: There are no weights, or they do not fit.
        ConfigError: An argument does not go with another.
    """
    chosen = read_options(options)
    if isinstance(network, nn.Module):
        if pretrained or weights is not None or in_chans is not None:
            raise ConfigError(
                "pretrained, weights and in_chans go with the name of a network, not with a "
                "network in memory"
            )
        reading = read_network(network, type(network).__name__)
        made = network
    else:
        reading, made = _created(
            str(network),
            pretrained=pretrained,
            weights=weights,
            img_size=img_size,
            in_chans=in_chans,
            num_classes=num_classes,
        )
    config = space_config(reading, chosen)
    if img_size is not None and img_size != reading.image_size:
        config |= {"image_size": img_size, "stem": {**config["stem"], "crop": False}}
    space = _with_tokens(config, tokens)
    supernet = SuperTransformer(space, reading.num_classes if num_classes is None else num_classes)
    reference = next(made.parameters())
    supernet.to(device=reference.device, dtype=reference.dtype)
    _load(supernet, made.state_dict(), reading)
    _take_preprocessing(supernet, getattr(made, "pretrained_cfg", None) or {})
    return supernet.eval()


def timm_space_config(
    network: str | Path,
    *,
    img_size: int | None = None,
    in_chans: int | None = None,
    options: Mapping[str, Any] | Options | None = None,
    tokens: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The configuration of the space that `from_timm` makes of a named network, without weights.

    Args:
        network: As in `from_timm`.
        img_size: As in `from_timm`.
        in_chans: As in `from_timm`.
        options: As in `from_timm`.
        tokens: As in `from_timm`.

    Raises:
        SpaceError: As in `from_timm`.
    """
    reading = _read_by_name(str(network), in_chans=in_chans, img_size=img_size)
    config = space_config(reading, read_options(options))
    if img_size is not None:
        config |= {"image_size": img_size, "stem": {**config["stem"], "crop": False}}
    return _with_tokens(config, tokens).config


def _with_tokens(config: dict[str, Any], tokens: Mapping[str, Any] | None) -> SearchSpace:
    """The space, with what is said of its tokens.

    Raises:
        SpaceError: The largest network would have fewer tokens than the one it is made of.
    """
    if tokens is None:
        return SearchSpace(config)
    space = SearchSpace({**config, "tokens": dict(tokens)})
    if space.plan(space.largest()).token_steps:
        raise SpaceError(
            f"tokens={dict(tokens)}: the largest network has to keep all tokens, or it would not "
            f"be the one that it is made of; offer merged=0, or keep=1"
        )
    return space


def _created(
    name: str,
    *,
    pretrained: bool,
    weights: str | Path | None,
    img_size: int | None,
    in_chans: int | None,
    num_classes: int | None,
) -> tuple[Reading, nn.Module]:
    # What cannot be converted is refused before weights are fetched.
    reading = _read_by_name(name, in_chans=in_chans, img_size=img_size)
    if img_size is not None and img_size % reading.patch_size:
        config = space_config(reading, Options())
        SearchSpace({**config, "image_size": img_size, "stem": {**config["stem"], "crop": False}})
    settings: dict[str, Any] = {"in_chans": in_chans, "img_size": img_size}
    if weights is None:
        with _one_line(CheckpointError, f"the pretrained weights of {name} cannot be loaded"):
            made = _make(name, pretrained=pretrained, **settings)
        return read_network(made, _short(name)), made
    file = Path(weights).expanduser()
    if not file.is_file():
        raise CheckpointError(f"weights={weights} is no file")
    with _one_line(CheckpointError, f"weights={weights} cannot be loaded"):
        state = load_state_dict(str(file))
        # timm loads all of a file only if its number of classes is that of the network.
        overlay: dict[str, Any] = {"state_dict": state, "source": None}
        classes = _num_classes(state, num_classes)
        if classes is not None:
            settings["num_classes"] = overlay["num_classes"] = classes
        made = _make(name, pretrained=True, pretrained_cfg_overlay=overlay, **settings)
    return read_network(made, _short(name)), made


def _num_classes(state: Mapping[str, Any], wanted: int | None) -> int | None:
    """The classes that a file is of; `None` for the network's own, as timm has them."""
    if "head.weight" in state:
        return len(state["head.weight"])
    is_timms = any(name.startswith("blocks.") for name in state)
    return 0 if is_timms and wanted is not None else None  # features alone, under a new classifier


def _read_by_name(name: str, *, in_chans: int | None, img_size: int | None) -> Reading:
    """What a named network is, without weights.

    Raises:
        SpaceError: timm knows no such network, cannot read its folder or repository, or it cannot
            be converted.
    """
    with torch.device("meta"), _one_line(SpaceError, f"space.model={name} cannot be built"):
        made = _make(name, in_chans=in_chans)
        if img_size is not None and type(made).__name__ in READERS:  # others may not take a size
            made = _make(name, in_chans=in_chans, img_size=img_size)
    return read_network(made, _short(name))


def _make(name: str, **settings: Any) -> nn.Module:
    """The network of a name, by timm's own function.

    Raises:
        SpaceError: timm knows no such network.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    folder = Path(name).expanduser()
    if folder.is_dir() and not name.startswith((LOCAL, HUB)):
        if not (folder / "config.json").is_file():
            raise SpaceError(
                f"space.model={name} is no folder of a timm model: config.json is missing in it"
            )
        name = f"{LOCAL}{folder}"
    plain = name.partition(":")[0] if ":" in name else name.partition(".")[0]
    if ":" not in name and not timm.is_model(plain):
        close = get_close_matches(plain, timm.list_models(), 3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise SpaceError(
            f"space.model={name} is no network of timm, no hf-hub: repository and no folder{hint}"
        )
    made: nn.Module = timm.create_model(name, **given)
    return made


@contextlib.contextmanager
def _one_line(error_class: type[VitSearchError], what: str) -> Iterator[None]:
    """Say in one line what timm, or the Hub, has against something; our own errors pass."""
    try:
        yield
    except VitSearchError:
        raise
    except Exception as error:  # the Hub, safetensors and pickles each have errors of their own
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise error_class(f"{what}: {words or type(error).__name__}") from error


def _short(name: str) -> str:
    """A name for the space: of a repository or a folder the last part."""
    return name.rstrip("/").rpartition("/")[2].rpartition(":")[2]


def _load(supernet: SuperTransformer, state: Mapping[str, Tensor], reading: Reading) -> None:
    """Load weights under timm's names; a classifier of another number of classes stays fresh."""
    own = supernet.state_dict()
    found = resample_positions(state_from_timm(state, reading), supernet)
    for name in [n for n in own if n.startswith(("head.", "head_dist."))]:
        if name not in found or found[name].shape != own[name].shape:
            found[name] = own[name]
    if not supernet.num_classes:
        found = {n: t for n, t in found.items() if not n.startswith(("head.", "head_dist."))}
    found |= {name: tensor for name, tensor in own.items() if ".predictor." in name}  # fresh
    found |= {name: tensor for name, tensor in own.items() if name.endswith(PAIRS)}  # in order
    check_state(own, found, reading.name)
    supernet.load_state_dict(found)


def _take_preprocessing(supernet: SuperTransformer, cfg: Mapping[str, Any]) -> None:
    """Keep how images are prepared, and the names of the classes, where timm knows them."""
    mean = cfg.get("mean")
    if mean is not None and len(mean) == supernet.space.in_chans:
        supernet.preprocessing = {key: cfg[key] for key in PREPROCESSING if key in cfg}
    names = cfg.get("label_names")
    if names is not None and len(names) == supernet.num_classes:
        supernet.class_names = tuple(names)


def timm_facts(network: str | Path) -> dict[str, Any]:
    """What timm knows of a named network beside its sizes, without its weights.

    Args:
        network: As in `from_timm`.

    Returns:
        `num_classes`, and of its `pretrained_cfg` what is there: `mean`, `std`, `interpolation`,
        `crop_pct`, `label_names`.

    Raises:
        SpaceError: timm knows no such network.
    """
    with torch.device("meta"):
        made = _make(str(network))
    cfg = getattr(made, "pretrained_cfg", None) or {}
    known = {key: cfg[key] for key in (*PREPROCESSING, "label_names") if cfg.get(key) is not None}
    return {"num_classes": int(getattr(made, "num_classes", 0)), **known}
