"""Distillation of tokens: networks learn the features of a frozen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitsearch.errors import ConfigError
from vitsearch.errors.checks import check_number, is_whole
from vitsearch.lightning.objectives.base import ImageFacts, Objective, StepOutputs, mean_of_kept
from vitsearch.lightning.objectives.divergence import soft_divergence
from vitsearch.lightning.objectives.teacher import Teacher, load_teacher
from vitsearch.lightning.objectives.teacher_tokens import LayerTokens
from vitsearch.spaces.parts import ClassifierPlan
from vitsearch.supernet import SuperTransformer
from vitsearch.supernet.execution.block_tokens import token_blocks
from vitsearch.supernet.network import ElasticTransformer


class FeatureDistillation(Objective):
    """Every architecture learns the class token and the patch tokens of a teacher.

    For each layer it is the cosine distance of normalised tokens, 1 - cos(own, teacher's): half of
    the class token, half of the mean over the patches; all of the patches where one of the two has
    no class token. Patches that a predictor drops do not count. Layers count alike. Where the
    teacher has a classifier of the same classes, the divergence of its logits is added.

    An architecture that is narrower than the teacher learns the teacher's first channels, which
    are its own where the teacher is the network that the supernet began with. Where the teacher has
    another width than the largest network of the space, a linear projection of the tokens learns
    it: one for each layer, trained with the network and no part of it (FitNets, 2015, section 2.2).
    A narrower architecture uses the first columns of the projection. Patch tokens on another grid
    are resized.

    By default the teacher is that network, frozen: a run of `+space=timm` has one.
    """

    of_images = True

    def __init__(
        self,
        teacher: Mapping[str, Any] | nn.Module | None = None,
        layers: Sequence[int] = (-1,),
        logits_weight: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        """Name the teacher and what is learnt of it.

        Args:
            teacher: A network, or the settings of `load_teacher`; without a name the network that
                training begins with.
            layers: Blocks whose tokens are compared, as indices into the blocks of each network;
                negative ones count from its last.
            logits_weight: Weight of the logits' divergence beside the tokens' distance; 0 for none.
            temperature: Divides the logits of both.

        Raises:
            ConfigError: A setting is out of range.
        """
        if not isinstance(layers, list | tuple) or not layers or not all(map(is_whole, layers)):
            raise ConfigError(f"layers={layers} must list blocks by index, such as [-1, -5]")
        self.layers = tuple(dict.fromkeys(layers))
        self.logits_weight = check_number("logits_weight", logits_weight, "[0, inf)")
        self.temperature = check_number("temperature", temperature, "(0, inf)")
        self.teacher: Teacher | None = None
        self._given = teacher
        self._original: nn.Module | None = None
        self._width = 0
        self._taught_widths: tuple[int, ...] = ()
        self._teaches_logits = False

    def check(self, net: ElasticTransformer) -> None:
        """Refuse networks without tokens, or with fewer blocks than a layer names.

        Raises:
            ConfigError: Says what is missing.
        """
        super().check(net)
        space: Any = net.space
        if isinstance(net, SuperTransformer):
            if net.sharing == "bilateral":
                raise ConfigError(
                    "model.sharing=bilateral has two ways of every block; use model.sharing=prefix"
                )
            plans = [space.plan(a) for a in (space.largest(), space.smallest())]
        else:
            plans = [net.plan]
        count = min(len(token_blocks(plan)) for plan in plans)
        if not count or not isinstance(plans[0].head, ClassifierPlan):
            raise ConfigError("it needs a network whose last blocks give tokens and a classifier")
        for layer in self.layers:
            if not -count <= layer < count:
                raise ConfigError(
                    f"layers={list(self.layers)}: {layer} is no block of a network of {count} "
                    f"blocks, the fewest that are trained"
                )
        self._width = space.plan(space.largest()).head.embed_dim

    def begin_with(self, original: nn.Module) -> None:
        """Learn from this network, if no other is named."""
        self._original = original

    def prepare(self, images: ImageFacts) -> None:
        """Load the teacher.

        Raises:
            ConfigError: There is none, or it does not fit the images or the network.
        """
        self.teacher = self._load(images)
        tokens, logits = self.teacher.probe_tokens(images, self.layers)
        self._taught_widths = tuple(own.width for own in tokens)
        self._teaches_logits = (
            self.logits_weight > 0
            and logits is not None
            and tuple(logits.shape) == (1, images.num_classes)
        )

    def make_learned(self) -> nn.Module | None:
        """A projection for each layer in which the teacher has another width; the same each time.

        At first it keeps all angles, or as many directions as the teacher has.
        """
        if all(width == self._width for width in self._taught_widths):
            return None
        made = nn.ModuleList()
        for index, width in enumerate(self._taught_widths):
            if width == self._width:
                made.append(nn.Identity())
                continue
            with torch.random.fork_rng(devices=[]):  # the same draws follow
                layer = nn.Linear(self._width, width)
            generator = torch.Generator().manual_seed(index)
            nn.init.orthogonal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
            made.append(layer)
        return made

    def _load(self, images: ImageFacts) -> Teacher:
        given = self._given
        if isinstance(given, nn.Module) or (given and (given.get("name") or given.get("network"))):
            return load_teacher(given, images)
        if self._original is None:
            raise ConfigError(
                "teacher.name is missing: a model of timm, or a model folder such as original/ of "
                "a run; only a training of +space=timm begins with a network that can teach"
            )
        # It sees what the supernet sees, so nothing is resized or normalised anew.
        return Teacher(self._original, images, normalize=False)

    def __call__(self, step: StepOutputs) -> Tensor:
        """The distance of all rows' tokens, and the divergence of their logits."""
        assert self.teacher is not None, "prepare() comes first"
        taught, logits = self.teacher.tokens(step.images, self.layers)
        layers: Any = step.learned or [nn.Identity()] * len(self.layers)
        assert step.learned is not None or set(self._taught_widths) == {self._width}
        losses = [
            step.part([index]) * self._distance(step, index, layer, tokens, projection)
            for index in range(len(step.architectures))
            for layer, tokens, projection in zip(self.layers, taught, layers, strict=True)
        ]
        loss = torch.stack(losses).sum() / len(self.layers)
        if not self._teaches_logits:
            return loss
        assert logits is not None
        said = soft_divergence(step.logits, step.by_row(logits), self.temperature)
        return loss + self.logits_weight * said

    def _distance(
        self,
        step: StepOutputs,
        index: int,
        layer: int,
        taught: LayerTokens,
        projection: nn.Module,
    ) -> Tensor:
        """The mean distance of one architecture's tokens behind a block from the teacher's."""
        plan = step.net.space.plan(step.architectures[index])  # type: ignore[union-attr, operator]
        own, prefix = step.tokens(index, layer), plan.head.num_prefix_tokens
        if isinstance(projection, nn.Linear):
            columns = projection.weight[:, : own.shape[-1]]
            own = F.linear(own.to(columns.dtype), columns, projection.bias)
        patches = step.seen(taught.patches_on(step.heads[index].grid), index)
        distance = mean_of_kept(_cosine_distance(own[:, prefix:], patches), step.kept(index))
        has_class = prefix > 0 and getattr(plan.stem, "class_token", True)
        if not has_class or taught.class_token is None:
            return distance
        of_class = _cosine_distance(own[:, 0], step.seen(taught.class_token, index)).mean()
        return (distance + of_class) / 2


def _cosine_distance(own: Tensor, taught: Tensor) -> Tensor:
    """1 - cos of vectors (..., C); of wider ones the first C channels count."""
    if own.dtype != torch.float64:
        own, taught = own.float(), taught.float()
    return 1 - F.cosine_similarity(own, taught[..., : own.shape[-1]], dim=-1)
