"""The training loss: objectives by name, each with a weight, read from a configuration.

    {cross_entropy: {weight: 0.5}, teacher_distillation: {weight: 0.5, teacher: {name: ...}}}

A name is that of an objective, or of anything if `type` names a class of one's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from vitsearch.errors import ConfigError, VitSearchError
from vitsearch.errors.checks import check_number
from vitsearch.lightning.objectives.base import DISTILLATION, ImageFacts, Objective, StepOutputs
from vitsearch.lightning.objectives.cross_entropy import CrossEntropy
from vitsearch.lightning.objectives.feature_distillation import FeatureDistillation
from vitsearch.lightning.objectives.in_place_distillation import InPlaceDistillation
from vitsearch.lightning.objectives.keep_ratio import KeepRatio
from vitsearch.lightning.objectives.named import find_object
from vitsearch.lightning.objectives.patch_token_mixup import PatchTokenMixup
from vitsearch.lightning.objectives.teacher_distillation import TeacherDistillation
from vitsearch.lightning.objectives.token_labelling import TokenLabelling
from vitsearch.lightning.settings import is_plain, plain
from vitsearch.samplers import Sampler
from vitsearch.spaces import SearchSpace
from vitsearch.supernet.network import ElasticTransformer

OBJECTIVES: dict[str, type[Objective]] = {
    "cross_entropy": CrossEntropy,
    "in_place_distillation": InPlaceDistillation,
    "teacher_distillation": TeacherDistillation,
    "feature_distillation": FeatureDistillation,
    "patch_token_mixup": PatchTokenMixup,
    "token_labelling": TokenLabelling,
    "keep_ratio": KeepRatio,
}
DEFAULT: Mapping[str, Any] = {"cross_entropy": {"weight": 1.0}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """An objective with its name and weight."""

    name: str
    weight: float
    objective: Objective


class WeightedObjectives:
    """The weighted sum of terms.

    Attributes:
        terms: In the order of the configuration; those of weight 0 are left out.
        settings: What they were read from; `None` if that is more than plain data, such as a
            network that teaches.
    """

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        """Read the terms.

        Args:
            settings: For each name a mapping of `weight` (1 by default), `type` and the objective's
                own settings; or an `Objective`; or `None` for none. Labels alone by default.

        Raises:
            ConfigError: A setting is unknown or out of range, or there is no term.
        """
        settings = DEFAULT if settings is None else settings
        if not isinstance(settings, Mapping):
            raise ConfigError(f"objective={settings} must be a mapping of names to settings")
        settings = plain(settings)
        self.settings = settings if is_plain(settings) else None
        terms = [_term(str(name), given) for name, given in settings.items() if given is not None]
        self.terms = tuple(term for term in terms if term.weight)
        if not self.terms:
            raise ConfigError(f"objective={dict(settings)} has no term with a weight above 0")

    def __deepcopy__(self, memo: object) -> WeightedObjectives:
        """Copies of a module share its objectives, which hold nothing of a step."""
        return self

    @property
    def uses(self) -> frozenset[str]:
        """Which classifiers are taught besides that of the logits."""
        return frozenset().union(*(term.objective.uses for term in self.terms))

    def teaches_token(self, net: ElasticTransformer) -> bool:
        """Whether the network has a distillation token, and a teacher for it."""
        return DISTILLATION in self.uses and net.head_dist is not None

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks whose tokens a step must have."""
        return tuple(sorted({layer for term in self.terms for layer in term.objective.layers}))

    def needs_heads(self, net: ElasticTransformer) -> bool:
        """Whether a step must say what every classifier says."""
        return bool(self.uses - {DISTILLATION} or self.layers) or self.teaches_token(net)

    def begin_with(self, make_original: Callable[[], nn.Module]) -> None:
        """Give every term the pretrained network that training begins with.

        Args:
            make_original: Makes it, for each term a network of its own.
        """
        for term in self.terms:
            term.objective.begin_with(make_original())

    def check(self, net: ElasticTransformer) -> None:
        """Refuse a network that a term cannot teach.

        Raises:
            ConfigError: Names the term.
        """
        for term in self.terms:
            with _named(term.name):
                term.objective.check(net)

    def check_sampling(
        self, space: SearchSpace, num_architectures: int, sampler: Sampler | None
    ) -> None:
        """Refuse architectures of a step that a term cannot train, by those of the first steps.

        Args:
            space: Whose.
            num_architectures: How many a step trains.
            sampler: Which; `None` if none is drawn, but the largest trained.

        Raises:
            ConfigError: Names the term.
        """
        largest = space.largest()
        steps = [[largest]]
        if sampler is not None:
            steps = [
                sampler.sample(space, num_architectures=num_architectures, step=step)
                for step in range(2)
            ]
        for term in self.terms:
            with _named(term.name):
                term.objective.check_sampling(largest, steps)

    def prepare(self, images: ImageFacts) -> None:
        """Load teachers.

        Raises:
            ConfigError: Names the term.
        """
        for term in self.terms:
            with _named(term.name):
                term.objective.prepare(images)

    def make_learned(self) -> dict[str, nn.Module]:
        """What terms learn beside the network, by their names."""
        made = {term.name: term.objective.make_learned() for term in self.terms}
        return {name: layers for name, layers in made.items() if layers is not None}

    def value(self, term: Term, step: StepOutputs) -> Tensor:
        """What one of the terms says of a step, before its weight.

        Raises:
            ConfigError: Names the term.
        """
        learned = None if step.learned is None else dict(step.learned.named_children())
        with _named(term.name):
            return term.objective(replace(step, learned=(learned or {}).get(term.name)))

    def __call__(self, step: StepOutputs) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and the value of each term before its weight.

        Raises:
            ConfigError: No term teaches what the step trains.
        """
        values = {term.name: self.value(term, step) for term in self.terms}
        weighted = [
            values[term.name] if term.weight == 1 else term.weight * values[term.name]
            for term in self.terms
        ]
        loss = weighted[0] if len(weighted) == 1 else torch.stack(weighted).sum()
        if step.logits.requires_grad and not loss.requires_grad:
            raise ConfigError(
                f"objective: none of {', '.join(values)} teaches the architectures of this step; "
                f"add cross_entropy"
            )
        return loss, {name: value.detach() for name, value in values.items()}


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put a term's name before its complaints."""
    try:
        yield
    except VitSearchError as error:
        raise type(error)(f"objective.{name}: {error}") from error


def _term(name: str, given: Any) -> Term:
    if name == "loss":
        raise ConfigError("objective.loss: the name is that of the sum; take another")
    if isinstance(given, Objective):
        return Term(name=name, weight=1.0, objective=given)
    if not isinstance(given, Mapping):
        raise ConfigError(f"objective.{name}={given} must be settings, such as {{weight: 1.0}}")
    settings = dict(given)
    weight, kind = settings.pop("weight", 1.0), settings.pop("type", None)
    check_number(f"objective.{name}.weight", weight, "[0, inf)")
    if isinstance(kind, Objective):
        return Term(name=name, weight=weight, objective=kind)
    made_by = _class_of(name, kind)
    legal = list(inspect.signature(made_by).parameters)
    for setting, value in settings.items():
        if setting not in legal:
            raise ConfigError(
                f"objective.{name}.{setting}={value} is no setting; legal: "
                f"{', '.join(['weight', *legal])}"
            )
    with _named(name):
        return Term(name=name, weight=weight, objective=made_by(**settings))


def _class_of(name: str, kind: Any) -> type[Objective]:
    if kind is None and name in OBJECTIVES:
        return OBJECTIVES[name]
    if isinstance(kind, str):
        kind = OBJECTIVES.get(kind) or find_object(kind, f"objective.{name}.type")
    if kind is None:
        close = get_close_matches(name, OBJECTIVES, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"objective.{name} is unknown; {hint}legal: {', '.join(OBJECTIVES)}; one of your own "
            f"needs its class as objective.{name}.type"
        )
    if not isinstance(kind, type) or not issubclass(kind, Objective):
        raise ConfigError(
            f"objective.{name}.type={kind} is no vitsearch.lightning.objectives.Objective"
        )
    return kind
