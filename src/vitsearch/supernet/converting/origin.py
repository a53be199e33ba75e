"""The pretrained network of timm that a supernet comes from, as `+space=timm` names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from vitsearch.errors import CheckpointError, SpaceError
from vitsearch.errors.checks import check_flag, check_one_of, check_whole
from vitsearch.spaces import SearchSpace
from vitsearch.spaces.parts.heads.dense import with_dense_head
from vitsearch.supernet.converting.from_timm import from_timm, timm_facts, timm_space_config
from vitsearch.supernet.repairing.ordering import IMPORTANCES
from vitsearch.supernet.storage.inherit import without_classifier
from vitsearch.supernet.super_transformer import SuperTransformer
from vitsearch.supernet.timm.preprocessing import PREPROCESSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A pretrained network, and how a supernet is made of it.

    Attributes:
        model: timm's name, `hf-hub:<repository>`, or a folder.
        pretrained: Whether timm loads the weights.
        weights: A file with them instead.
        image_size: Side of the images, pixels; `None` for the network's own.
        in_chans: Channels of the images; likewise.
        options: What sub-networks may have; see `vitsearch.supernet.converting.options.Options`.
        tokens: How many tokens go on; `None` for all.
        calibration_images: Training images that are looked at before training.
        importance: By which units are put in order.
    """

    model: str
    pretrained: bool = True
    weights: str | None = None
    image_size: int | None = None
    in_chans: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, Any] | None = None
    calibration_images: int = 1000
    importance: str = "variance"

    @staticmethod
    def read(section: Mapping[str, Any]) -> Origin:
        """The network that a section names; its file and folder by absolute paths.

        Raises:
            SpaceError: No network is named, or a setting is unknown.
            ConfigError: A setting is out of range.
        """
        legal = [own.name for own in fields(Origin)]
        for name in section:
            if name not in legal:
                raise SpaceError(f"space.{name} is unknown; legal: {', '.join(legal)}")
        model, weights = section.get("model"), section.get("weights")
        if not model or model == "???":
            raise SpaceError(
                "space.model is missing: timm's name of a vision transformer, hf-hub:<repository>, "
                "or a folder as timm writes it"
            )
        found = Origin(**{**section, "model": _absolute(str(model)), "weights": _file(weights)})
        check_flag("space.pretrained", found.pretrained)
        check_whole("space.calibration_images", found.calibration_images, 1)
        check_one_of("space.importance", found.importance, IMPORTANCES)
        for name in ("image_size", "in_chans"):
            if getattr(found, name) is not None:
                check_whole(f"space.{name}", getattr(found, name), 1, otherwise="null")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As `read` takes it."""
        return asdict(self)

    def space_config(self) -> dict[str, Any]:
        """The configuration of the space, which names neither model nor weights.

        Raises:
            SpaceError: The network cannot be converted, or an option is not legal.
        """
        return timm_space_config(
            self.model,
            img_size=self.image_size,
            in_chans=self.in_chans,
            options=self.options,
            tokens=self.tokens,
        )

    def preprocessing(self, in_chans: int) -> dict[str, Any]:
        """How the images were prepared that it was trained on, as far as timm knows.

        Args:
            in_chans: Of the images here; of a network for colours, means over the channels.
        """
        facts = timm_facts(self.model)
        found = {name: facts[name] for name in PREPROCESSING if name in facts}
        for name in ("mean", "std"):
            values = found.pop(name, None)
            if values is not None and len(values) in (1, in_chans):
                found[name] = [float(value) for value in values]
            elif values is not None and in_chans == 1:
                found[name] = [sum(values) / len(values)]
        return found

    def keeps_head(self, num_classes: int, class_names: tuple[str, ...] | None) -> bool:
        """Whether its classifier is one of these classes, as far as that is known."""
        facts = timm_facts(self.model)
        own = facts.get("label_names")
        agree = own is None or not class_names or tuple(own) == tuple(class_names)
        return bool(facts["num_classes"] == num_classes and agree)

    def load(self, space: SearchSpace, num_classes: int) -> SuperTransformer:
        """The supernet with the network's weights.

        Args:
            space: As the run has it.
            num_classes: Of the data; the classifier is fresh where the network has another number,
                and so is a dense head.

        Raises:
            CheckpointError: The weights cannot be loaded, or timm's network is another one now.
            SpaceError: As `space_config`.
        """
        with torch.random.fork_rng(devices=[]):  # the same draws follow, whether this runs or not
            net = from_timm(
                self.model,
                pretrained=self.pretrained and self.weights is None,
                weights=self.weights,
                img_size=self.image_size,
                in_chans=self.in_chans,
                num_classes=num_classes,
                options=self.options,
                tokens=self.tokens,
            )
            if space.head.dense and not net.space.head.dense:
                net = _with_dense_head(net, num_classes)
        if net.space != space:
            raise CheckpointError(
                f"origin.model={self.model} is another network now than when the run began; start "
                f"a new run"
            )
        return net


def _with_dense_head(net: SuperTransformer, num_classes: int) -> SuperTransformer:
    """The body of a supernet with a fresh dense head."""
    dense = SuperTransformer(SearchSpace(with_dense_head(net.space.config)), num_classes)
    dense.load_state_dict(without_classifier(net.state_dict(), dense.state_dict()))
    dense.preprocessing = net.preprocessing
    return dense.eval()


def _absolute(model: str) -> str:
    folder = Path(model).expanduser()
    return str(folder.absolute()) if folder.is_dir() else model


def _file(weights: Any) -> str | None:
    return None if weights is None else str(Path(str(weights)).expanduser().absolute())
