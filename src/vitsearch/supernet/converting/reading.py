"""What a network of timm is, as the settings of a space: read off its modules, not off its name.

    timm module -> Reading -> configuration of a space

Whatever is not known exactly is refused by the name of its module, so that nothing is converted
almost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from vitsearch.errors import SpaceError

Reader = Callable[[nn.Module, str], "Reading"]
READERS: dict[str, Reader] = {}
"""A reader for each class of networks, by the name of the class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReading:
    """The sizes of one block; 0 of what is absent.

    Attributes:
        num_heads: Attention heads.
        head_dim: Channels of a head.
        hidden_dim: Hidden width of the MLP.
    """

    num_heads: int
    head_dim: int
    hidden_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A network in settings and sizes.

    Attributes:
        name: What to call it.
        image_size: Side of its square images, pixels.
        in_chans: Channels of its images.
        patch_size: Side of a patch, pixels.
        embed_dim: C.
        num_classes: Outputs of its classifier; 0 for none.
        blocks: The sizes of its blocks.
        sections: The settings of stem, block, mixer, MLP and head, without what can be chosen.
        fixed: Choices that have to keep their full size, with the reason.
        renamed: How names inside of a block begin that are not those of `vision_transformer.py`, as
            timm has them, and as we do.
    """

    name: str
    image_size: int
    in_chans: int
    patch_size: int
    embed_dim: int
    num_classes: int
    blocks: tuple[BlockReading, ...]
    sections: dict[str, dict[str, Any]]
    fixed: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)


def reader_for(*class_names: str) -> Callable[[Reader], Reader]:
    """Decorator: this function reads networks of these classes."""

    def add(reader: Reader) -> Reader:
        READERS.update(dict.fromkeys(class_names, reader))
        return reader

    return add


def read_network(network: nn.Module, name: str) -> Reading:
    """What a network is.

    Args:
        network: Of timm.
        name: What to call it, in messages and as the name of its space.

    Raises:
        SpaceError: It cannot be converted exactly; the message names the module and the reason.
    """
    kind = type(network).__name__
    if kind not in READERS or not type(network).__module__.startswith("timm.models."):
        raise cannot(name, kind, f"networks of these classes can: {', '.join(READERS)}")
    return READERS[kind](network, name)


def cannot(name: str, module: str, reason: str) -> SpaceError:
    """The error for a network that cannot be converted: which module, and why."""
    return SpaceError(f"{name} cannot be made elastic: {module}: {reason}")


class ModuleReader:
    """Reads modules of one network, and refuses those that are not known, by their names.

    Attributes:
        network: What is read.
        name: What it is called in messages.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        self.network = network
        self.name = name

    def refuse(self, path: str, reason: str) -> SpaceError:
        """The error for a module."""
        return cannot(self.name, path, reason)

    def expect(self, path: str, module: object, *classes: type) -> Any:
        """A module that is exactly of one of these classes."""
        if type(module) not in classes:
            legal = " or ".join(dict.fromkeys(c.__name__ for c in classes))
            raise self.refuse(path, f"it is a {type(module).__name__}, not a {legal}")
        return module

    def norm(self, path: str, module: object) -> dict[str, Any] | None:
        """The settings of a norm; `None` for an identity.

        Raises:
            SpaceError: It is another module, or has no scale.
        """
        if isinstance(module, nn.Identity):
            return None
        kind = NORM_KINDS.get(type(module).__name__)
        if kind is None:
            raise self.refuse(path, f"it is a {type(module).__name__}, not a LayerNorm or RmsNorm")
        if getattr(module, "weight", None) is None:
            raise self.refuse(path, "it has no scale")
        if kind == "layer" and getattr(module, "bias", None) is None:
            raise self.refuse(path, "it has no shift")
        return {"kind": kind, "eps": float(module.eps)}  # type: ignore[attr-defined]

    def activation(self, path: str, module: object) -> str:
        """The name of an activation.

        Raises:
            SpaceError: It is another one.
        """
        found = ACTIVATION_NAMES.get(type(module).__name__)
        if isinstance(module, nn.GELU) and module.approximate == "tanh":
            found = "gelu_tanh"
        if found is None:
            legal = ", ".join(ACTIVATION_NAMES)
            raise self.refuse(path, f"it is a {type(module).__name__}, none of {legal}")
        return found

    def same(self, path: str, values: list[Any], what: str) -> Any:
        """The one value that all blocks have; `None` for a block without the module is left out.

        Raises:
            SpaceError: They differ, or no block has the module.
        """
        there = [(index, value) for index, value in enumerate(values) if value is not None]
        if not there:
            raise self.refuse("blocks", f"none has {path}, so its {what} is not known")
        first, own = there[0]
        for index, value in there:
            if value != own:
                raise self.refuse(
                    f"blocks.{index}.{path}",
                    f"its {what} is {value}, that of block {first} {own}",
                )
        return own


NORM_KINDS = {"LayerNorm": "layer", "RmsNorm": "rms", "RMSNorm": "rms"}
ACTIVATION_NAMES = {
    "GELU": "gelu",
    "GELUTanh": "gelu_tanh",
    "QuickGELU": "quick_gelu",
    "SiLU": "silu",
    "ReLU": "relu",
}
