"""A frozen network that others learn from.

It belongs to no module: not to the state that checkpoints save, not to what an optimiser trains,
not to the copies that weight averaging makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from torch import Tensor, nn

from vitsearch.errors import ConfigError, VitSearchError
from vitsearch.errors.checks import check_flag, check_whole
from vitsearch.lightning.objectives.base import ImageFacts
from vitsearch.lightning.objectives.dense_scores import dense_scores
from vitsearch.lightning.objectives.teacher_tokens import LayerTokens, tokens_and_logits
from vitsearch.lightning.objectives.teacher_view import TeacherView
from vitsearch.spaces.flow import sides
from vitsearch.spaces.words import pixels_in_words
from vitsearch.supernet import load_model

Said = TypeVar("Said")

SETTINGS = (
    "name",
    "checkpoint_path",
    "pretrained",
    "options",
    "network",
    "image_size",
    "normalize",
)


class Teacher:
    """A network in eval mode, without gradients, on the device and in the type of the images."""

    def __init__(
        self,
        network: nn.Module,
        images: ImageFacts,
        *,
        image_size: int | None = None,
        normalize: bool = True,
    ) -> None:
        """Freeze a network.

        Its images are resized, grey ones repeated over its channels, and normalised anew, where the
        network says what it expects (timm's `pretrained_cfg`) and that differs from `images`.

        Args:
            network: Images (B, C, H, W) to logits (B, classes).
            images: What the training images are.
            image_size: Side in pixels of the images that it expects, instead of what it says.
            normalize: Whether images are normalised as it says; else they stay as they are.

        Raises:
            ConfigError: The images cannot be made into what it expects.
        """
        self._view = TeacherView(
            network.requires_grad_(False).eval(), images, image_size, normalize
        )

    def __deepcopy__(self, memo: object) -> Teacher:
        """Copies of whoever learns share the teacher."""
        return self

    @property
    def network(self) -> nn.Module:
        """Who teaches."""
        return self._view.network

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Training images (B, C, H, W) to logits (B, classes)."""
        logits: Tensor = self.network(self._seen(images))
        return logits

    @torch.no_grad()
    def dense(self, images: Tensor) -> Tensor:
        """Training images (B, C, H, W) to logits of every location (B, classes, h, w)."""
        return dense_scores(self.network, self._seen(images))

    @torch.no_grad()
    def tokens(
        self, images: Tensor, layers: Sequence[int]
    ) -> tuple[tuple[LayerTokens, ...], Tensor | None]:
        """Training images (B, C, H, W) to the tokens behind some blocks, and logits if it has any.

        Raises:
            ConfigError: The network does not hand out tokens, or has fewer blocks.
        """
        return tokens_and_logits(self.network, self._seen(images), layers)

    def probe(self, images: ImageFacts, *, dense: bool = False) -> Tensor:
        """What it says of one blank image.

        Raises:
            ConfigError: It fails; the message is its own.
        """
        said: object = self._try(self.dense if dense else self.logits, images)
        if not isinstance(said, Tensor):
            raise ConfigError(f"teacher: it answers with a {type(said).__name__}, not a tensor")
        return said

    def probe_tokens(
        self, images: ImageFacts, layers: Sequence[int]
    ) -> tuple[tuple[LayerTokens, ...], Tensor | None]:
        """The tokens and logits of one blank image; see `tokens`.

        Raises:
            ConfigError: It fails; the message is its own.
        """
        return self._try(lambda one: self.tokens(one, layers), images)

    def _try(self, call: Callable[[Tensor], Said], images: ImageFacts) -> Said:
        one = torch.zeros(1, images.in_chans, *sides(images.image_size))
        try:
            return call(one)
        except VitSearchError:
            raise
        except Exception as error:
            size = pixels_in_words(self._view.size)
            raise ConfigError(
                f"teacher: it fails on images of {size}, {_line(error)}; teacher."
                f"image_size says what it expects"
            ) from error

    def _seen(self, images: Tensor) -> Tensor:
        weights = next(self.network.parameters(), None)
        if weights is None or (weights.device, weights.dtype) != (images.device, images.dtype):
            self._view.to(device=images.device, dtype=images.dtype)
        if self.network.training:  # part of a module of the user's, which trains
            self.network.eval()
        seen: Tensor = self._view(images)
        return seen


def load_teacher(given: Mapping[str, Any] | nn.Module | None, images: ImageFacts) -> Teacher:
    """Make a teacher.

    Args:
        given: A network; or settings. `name`: a model of timm, or the folder of a saved model
            (`vitsearch.save_model`). `checkpoint_path`: its weights, or `pretrained: true` for
            those that timm downloads. `options`: further arguments of `timm.create_model`.
            `network`: a network instead of a name. `image_size`, `normalize`: see `Teacher`.
        images: What the training images are.

    Raises:
        ConfigError: A setting is unknown or wrong, or the network does not fit the images.
    """
    if isinstance(given, nn.Module):
        return Teacher(given, images)
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"teacher={given} must be a network or have settings: {_legal()}")
    for setting, value in given.items():
        if setting not in SETTINGS:
            raise ConfigError(f"teacher.{setting}={value} is no setting; legal: {_legal()}")
    size, normalize = given.get("image_size"), given.get("normalize", True)
    if size is not None:
        check_whole("teacher.image_size", size, 1, otherwise="null")
    check_flag("teacher.normalize", normalize)
    network = given.get("network")
    if network is None:
        if not given.get("name"):
            raise ConfigError("teacher.name is missing: a model of timm, or a model folder")
        with torch.random.fork_rng(devices=[]):  # weights that are drawn, then loaded
            network = _load_network(str(given["name"]), given, images.num_classes)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"teacher.network={network} must be a torch.nn.Module")
    return Teacher(network, images, image_size=size, normalize=normalize)


def _load_network(name: str, given: Mapping[str, Any], num_classes: int) -> nn.Module:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return load_model(folder)
    path, pretrained = given.get("checkpoint_path"), given.get("pretrained", False)
    if not path and not pretrained:
        raise ConfigError(
            f"teacher.name={name} has fresh weights, which teach noise: give teacher."
            f"checkpoint_path, or teacher.pretrained=true, or the name of a model folder"
        )
    options = dict(given.get("options") or {})
    if path:
        path = Path(path).expanduser()
        if not path.is_file():
            raise ConfigError(f"teacher.checkpoint_path={path} is no file")
        # With pretrained weights timm would put a fresh classifier on for other classes.
        options = {"num_classes": num_classes, **options}
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=bool(pretrained), checkpoint_path=str(path or ""), **options
        )
    except Exception as error:
        close = get_close_matches(name, timm.list_models(), 3)
        hint = f"; names like it: {', '.join(close)}" if close and name not in close else ""
        raise ConfigError(f"teacher.name={name}: {_line(error)}{hint}") from error
    return network


def _legal() -> str:
    return ", ".join(f"teacher.{name}" for name in SETTINGS)


def _line(error: Exception) -> str:
    """The first words of an error, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
