"""The names under which timm's tools handle a model: classifier, pooling, layer groups, input size.

`timm.create_model`, its optimisers with layer decay, `resolve_data_config`, `FeatureGetterNet` and
training scripts ask for exactly these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch.elastic import GridTables
from vitsearch.errors import ConfigError, SpaceError
from vitsearch.spaces import Architecture, SearchSpace
from vitsearch.spaces.flow import ImageSize
from vitsearch.spaces.parts import ClassifierPlan
from vitsearch.spaces.plan import PlanCatalogue
from vitsearch.spaces.resizing import resized_for
from vitsearch.supernet.checks import check_num_classes
from vitsearch.supernet.heads import as_tokens
from vitsearch.supernet.network import ElasticTransformer
from vitsearch.supernet.timm.features import FeatureNetwork
from vitsearch.supernet.timm.preprocessing import checked_preprocessing, make_pretrained_cfg
from vitsearch.supernet.timm.resample import resample_positions
from vitsearch.supernet.timm.timm_internals import record_input_size

POOLS = ("token", "avg", "max", "avgmax", "map", "")


class TimmNetwork(FeatureNetwork):
    """A network of one architecture as timm sees it.

    Attributes:
        space: The space that the architecture belongs to.
        architecture: What the network is.
        global_pool: `token`, `avg`, `max`, `avgmax`, `map`, or nothing: then the head sees every
            token.
        pretrained_cfg: What timm reads of a model: `input_size` (C, H, W), `mean`, `std`,
            `interpolation`, `crop_pct`, `num_classes`, names of modules; plain data.
        default_cfg: The same under timm's older name.
        has_stated_preprocessing: Whether `set_preprocessing` was told how images are prepared; if
            not, `pretrained_cfg` has ImageNet's values.
        class_names: Of the classifier's outputs, in order, if they are known.
    """

    space: SearchSpace
    architecture: Architecture
    global_pool: str
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]
    has_stated_preprocessing: bool
    class_names: tuple[str, ...] | None
    _model_args: dict[str, Any]  # what timm's own `save_for_hf` writes, to build the network again

    @property
    def in_chans(self) -> int:
        """Channels of the images."""
        return self.plan.in_chans

    @property
    def head_hidden_size(self) -> int:
        """Channels that the classifier sees."""
        return self.num_features

    @property
    def embed_dim(self) -> int:
        """Width of the final tokens; also `num_features`."""
        return self.num_features

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the patches."""
        return self.plan.head.num_prefix_tokens

    def describe_to_timm(self) -> dict[str, Any]:
        """A fresh `pretrained_cfg`, with ImageNet's preprocessing."""
        convolutions = (name for name, weight in self.named_parameters() if weight.dim() == 4)
        return make_pretrained_cfg(
            image_size=self.plan.image_size,
            in_chans=self.in_chans,
            num_classes=self.num_classes,
            first_conv=next(convolutions).rpartition(".")[0],
            classifiers=["head", "head_dist"] if self._is_distilled else ["head"],
        )

    # The head

    @property
    def head_plan(self) -> ClassifierPlan:
        """The sizes of the classifiers.

        Raises:
            ConfigError: The network has a head of another kind.
        """
        if not isinstance(self.plan.head, ClassifierPlan):
            raise ConfigError(
                f"this network has no classifier but a {type(self.plan.head).__name__}: timm's "
                f"pooling and classifiers do not apply to it"
            )
        return self.plan.head

    @property
    def _is_distilled(self) -> bool:
        return isinstance(self.plan.head, ClassifierPlan) and self.plan.head.distillation

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, N, C) to logits (B, num_classes), or to features (B, C).

        Without pooling (`global_pool=""`) there are logits or features of every token. With a
        distillation token features are, as timm's, the mean of both tokens.
        """
        if not pre_logits:
            if self.global_pool:
                return self.run_head((tokens,), self.plan).answer
            return self.classify(self.head, self.pool(tokens), self.head_plan)
        features: Tensor = self.head_drop(self.pool(tokens))
        if self.global_pool and self._is_distilled:
            features = (features + self.head_drop(tokens[:, 1])) / 2
        return features

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C) to (B, C); without pooling (B, N, C). Normalised if a norm is behind."""
        if self.global_pool:
            return self.run_pool(tokens, self.head_plan)
        return self.normalise_pooled(as_tokens(tokens), self.head_plan)

    def get_classifier(self) -> nn.Module:
        """The classifier; an identity if there is none."""
        return nn.Identity() if self.head is None else self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace every classifier by a fresh one, or drop them with 0 classes.

        Args:
            num_classes: Outputs; 0 for none.
            global_pool: Another pooling than so far: `token`, `avg`, `max`, `avgmax`, `map` (only
                where it was), or empty for none.

        Raises:
            ConfigError: A negative number, an unknown pooling, one that the network has no token or
                no layer for, or none with two classifiers.
        """
        check_num_classes(num_classes)
        distilled = self.head_plan.distillation
        if global_pool is not None:
            self._set_pool(global_pool, num_classes)
        reference = next(self.parameters())
        self.num_classes = self.pretrained_cfg["num_classes"] = num_classes
        self.class_names = None
        self.head = self.make_classifier()
        self.head_dist = self.make_classifier() if distilled else None
        self.head_patch = None if self.head_patch is None else self.make_classifier()
        self.to(device=reference.device, dtype=reference.dtype)

    def _set_pool(self, global_pool: str, num_classes: int) -> None:
        if global_pool == "map" and self.attn_pool is None:
            raise ConfigError("global_pool='map': the network has no pool by attention")
        space = repooled(self.space, global_pool)
        if not global_pool and num_classes and self.head_plan.distillation:
            raise ConfigError("global_pool='' leaves no token for the distillation classifier")
        if global_pool:
            self._become(space)
        if global_pool != "map":
            self.attn_pool = None
        self.global_pool = global_pool

    # The images

    def set_preprocessing(self, preprocessing: Mapping[str, Any]) -> None:
        """Say how the images are prepared that this network is trained on.

        Args:
            preprocessing: `mean` and `std` of pixels in [0, 1] (one number, or one for each
                channel), `interpolation`, `crop_pct`; what is absent stays.
                `vitsearch.data.preprocessing_of` reads them from a data module.

        Raises:
            ConfigError: A key is unknown, or a value is not legal.
        """
        stated = checked_preprocessing(preprocessing, self.in_chans)
        self.pretrained_cfg.update(stated)
        self.has_stated_preprocessing |= bool(stated)

    @torch.no_grad()
    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Make the network one for images of another size; positions are resampled bicubically.

        Position embeddings are new parameters afterwards; an optimiser has to be made anew.

        Args:
            img_size: Side of square images, pixels, or height and width.

        Raises:
            ConfigError: The images are not square, and the network needs that they are.
            SpaceError: The patch size does not divide the side.
        """
        size = size_for(self.space, img_size)
        space = resized_for(self.space, self.architecture, image_size=size)
        plan = space.plan(self.architecture).renumbered()  # as in `_become`, which comes last
        with torch.device("meta"):  # only the shapes are asked for
            target = ElasticTransformer(PlanCatalogue.of(plan), num_classes=0)
        given = dict(self.named_parameters())
        for name, positions in resample_positions(given, target).items():
            if positions is not given.get(name):
                self._replace_positions(name, positions)
        for name, tables in target.named_modules():
            if isinstance(tables, GridTables):
                own = self.get_submodule(name)
                assert isinstance(own, GridTables), name
                own.set_grids(tables.grids, next(self.parameters()))
        self._become(space)
        self.pretrained_cfg["input_size"] = space.input_shape
        record_input_size(self, space.image_size)

    def _become(self, space: SearchSpace) -> None:
        """The same architecture in another space, which has the same layers."""
        self.space = space
        self.plan = space.plan(self.architecture).renumbered()
        if "space" in self._model_args:
            self._model_args["space"] = space.config

    def _replace_positions(self, name: str, positions: Tensor) -> None:
        path, _, leaf = name.rpartition(".")
        module = self.get_submodule(path)
        learnt = next(
            p.requires_grad for n, p in module.named_parameters() if "x" in n or n == leaf
        )
        parameter = nn.Parameter(positions.detach().contiguous(), requires_grad=learnt)
        if isinstance(module, nn.ParameterDict):  # a transition's positions, named by their grid
            module.clear()
            module[leaf] = parameter
        else:
            setattr(module, leaf, parameter)


def size_for(space: SearchSpace, size: int | Sequence[int]) -> ImageSize:
    """The size of images of a space, from one number or from height and width.

    Raises:
        ConfigError: The numbers differ where images are square, or are no such numbers.
    """
    given = (size, size) if isinstance(size, int) else tuple(size)
    if not all(isinstance(side, int) for side in given) or len(given) != 2:
        raise ConfigError(f"img_size={size} must be one number, or height and width")
    height, width = given
    if height == width:
        return height
    if not space.body.takes_any_shape:
        raise ConfigError(f"img_size={size} must be one number: images are square")
    return height, width


def repooled(space: SearchSpace, pool: str) -> SearchSpace:
    """The same space with another pooling; as it is with none.

    Raises:
        ConfigError: The pooling is unknown, or needs what the space has not.
    """
    if pool not in POOLS:
        raise ConfigError(f"global_pool={pool!r} is not one of {', '.join(map(repr, POOLS))}")
    config = space.config
    head = dict(config.get("head") or {})
    if not pool:
        return space
    if pool == "map" and head.get("attention_pool") is None:
        raise ConfigError(f"global_pool='map': space {space.name} has no head.attention_pool")
    try:
        return SearchSpace({**config, "head": {**head, "pool": pool}})
    except SpaceError as error:
        raise ConfigError(f"global_pool={pool!r}: {error}") from error
