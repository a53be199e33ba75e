"""A search space: what can be chosen, and how a choice becomes sizes. Plain data, no tensors.

    configuration -> SearchSpace -> Architecture -> Plan -> { forward | extract | cost | picture }

The space holds parts; parts declare choices; an architecture names an option for each active
choice; `plan` turns it into sizes. What one can ask about all architectures together (how many,
the smallest, every piece they need) is in `extent.py`; genetic operators are in `operators.py`.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces import assemble, extent, operators
from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.bodies import Body
from vitsearch.spaces.bodies.slots import SlotTable
from vitsearch.spaces.choice import Choice, Value
from vitsearch.spaces.cost import Cost, further_forms
from vitsearch.spaces.flow import ImageSize, sides
from vitsearch.spaces.parts.base import BODIES, StageContext, Values
from vitsearch.spaces.plan import Plan, PlanCatalogue
from vitsearch.spaces.restriction import expand_patterns, is_named, unknown_choice
from vitsearch.spaces.settings import Settings, refuse_unknown_sections

_MOST_PLANS = 512  # kept of each space: those of a search's generation, of some training steps


class SearchSpace:
    """A composable space of vision transformers; a value: equal configurations are equal spaces.

    Attributes:
        name: The family or file that it comes from.
        image_size: Of the input, pixels: the side of a square, or height and width.
        in_chans: Channels of the input.
        body: The parts, and how they are wired.
        stem: Image to tokens, or to a map.
        stages: Runs of blocks.
        head: What answers.
        choices: Every choice in dependency order, those with a single option too.
        sections: Those of everything but the blocks, stage by stage.
        steps: Every way through each stage, see `extent.Step`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Build the space that a configuration describes (the keys of `conf/space/*.yaml`).

        Raises:
            SpaceError: A key is unknown or missing, a value is out of range, or parts do not fit.
        """
        refuse_unknown_sections(config)
        self._config: dict[str, Any] = copy.deepcopy(dict(config))
        self._key = json.dumps(self._config, sort_keys=True)
        settings = Settings(self._config, "space")
        self.name = str(self._config.get("name", "unnamed"))
        self.image_size = settings.image_size("image_size")
        self.in_chans = settings.integer("in_chans", 3)
        nothing = StageContext(index=0, num_stages=1, embed_dims=(), config=self._config)
        section = self._config.get("body") or {"kind": "stages"}
        self.body: Body = BODIES.build(section, nothing)
        self.stem, self.stages, self.head = self.body.stem, self.body.stages, self.body.head
        self.sections, self.block_choices = self._build_choices()
        self.shared_choices = tuple(choice for own in self.sections for choice in own)
        self.choices: tuple[Choice, ...] = (
            *self.shared_choices,
            *(c for stage in self.block_choices for slot in stage for c in slot),
        )
        self._plans: dict[Architecture, Plan] = {}
        self._ends: dict[tuple[object, ...], tuple[Architecture, Cost]] = {}
        self._by_name = {choice.name: choice for choice in self.choices}
        self.steps = extent.steps(self)

    def _build_choices(
        self,
    ) -> tuple[tuple[tuple[Choice, ...], ...], tuple[tuple[tuple[Choice, ...], ...], ...]]:
        sections = self.body.shared_choices()
        shared = [choice for own in sections for choice in own]
        blocks = [
            [list(stage.block_choices(slot)) for slot in range(stage.num_blocks)]
            for stage in self.stages
        ]
        limits = expand_patterns(
            self._config.get("restrict") or {},
            [c.name for c in shared] + [c.name for s in blocks for b in s for c in b],
            self.name,
        )

        def limited(choices: Sequence[Choice]) -> tuple[Choice, ...]:
            return tuple(c.limited_to(limits[c.name]) if c.name in limits else c for c in choices)

        return (
            tuple(map(limited, sections)),
            tuple(tuple(limited(slot) for slot in stage) for stage in blocks),
        )

    @cached_property
    def slot_table(self) -> SlotTable:
        """What each block slot can be, looked at once for all questions about the space."""
        return SlotTable(self)

    # What the space is

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Of an image: channels, height, width."""
        return (self.in_chans, *sides(self.image_size))

    @property
    def config(self) -> dict[str, Any]:
        """A copy of the configuration; `SearchSpace(space.config) == space`."""
        return copy.deepcopy(self._config)

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, SearchSpace) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        free = sum(len(choice.options) > 1 for choice in self.choices)
        return f"SearchSpace({self.name}, {free} free choices, {self.image_size} px)"

    def choice(self, name: str) -> Choice:
        """The choice with this name.

        Raises:
            SpaceError: No such choice; the message has the nearest name.
        """
        if name not in self._by_name:
            raise SpaceError(unknown_choice(name, self.name, list(self._by_name)))
        return self._by_name[name]

    def restrict(self, options: Mapping[str, Value | Sequence[Value]]) -> SearchSpace:
        """The part of the space in which the named choices have only these options.

        Args:
            options: One option or several for each name; a name may be a pattern such as
                `*.kernel_size`. An `Architecture` works too, and leaves nothing to choose.

        Raises:
            SpaceError: An unknown name or option.
        """
        named = [choice.name for choice in self.choices]
        patterns = self._config.get("restrict") or {}
        merged = {c.name: list(c.options) for c in self.choices if is_named(c.name, patterns)}
        for name, wanted in expand_patterns(options, named, self.name).items():
            merged[name] = list(self.choice(name).limited_to(wanted).options)
        return SearchSpace({**self._config, "restrict": merged})

    def resized(
        self, *, image_size: ImageSize | None = None, in_chans: int | None = None
    ) -> SearchSpace:
        """The same space for other images.

        Raises:
            SpaceError: The patch size does not divide the image size.
        """
        sized = list(image_size) if isinstance(image_size, tuple) else image_size
        changes = {"image_size": sized, "in_chans": in_chans}
        return SearchSpace({**self._config, **{k: v for k, v in changes.items() if v is not None}})

    def with_identity_probability(self, probability: float) -> SearchSpace:
        """The same space in which a sampled slot is an identity with this probability.

        Raises:
            SpaceError: The space has no identities, or the number is not between 0 and 1.
        """
        if self._config.get("identity_probability") is None:
            raise SpaceError(f"space {self.name} has no identity_probability to change")
        return SearchSpace({**self._config, "identity_probability": probability})

    # Architectures

    def complete(self, pick: Callable[[Choice], Value]) -> Architecture:
        """The architecture that `pick` decides, choice by choice; asked for active ones only."""
        effective: dict[str, Value | None] = {}
        values: dict[str, Value] = {}
        for choice in self.choices:
            if choice.is_active(effective):
                effective[choice.name] = values[choice.name] = pick(choice)
            else:
                effective[choice.name] = choice.otherwise
        return Architecture(values)

    def canonical(self, values: Mapping[str, Value]) -> Architecture:
        """The architecture of a genotype: values of inactive choices are dropped.

        Raises:
            SpaceError: A name is unknown, or a value is missing or no option.
        """
        given = values.to_dict() if isinstance(values, Architecture) else dict(values)
        for name in given:
            self.choice(name)

        def pick(choice: Choice) -> Value:
            if choice.name not in given:
                raise SpaceError(f"{choice.name} is missing; options: {_listed(choice)}")
            value = given[choice.name]
            if value not in choice.options:
                raise SpaceError(
                    f"{choice.name}={value} is not legal in space {self.name}; "
                    f"options: {_listed(choice)}"
                )
            return choice.options[choice.options.index(value)]  # 1, not True

        return self.complete(pick)

    def assemble(
        self,
        shared: Mapping[str, Value],
        blocks: Sequence[Sequence[Mapping[str, Value] | None]],
    ) -> Architecture:
        """The architecture with these blocks, wherever its identities stand.

        Args:
            shared: Values of `stem.patch_size`, `stages.0.embed_dim` and the like.
            blocks: For each stage its blocks in order, as values by short names (`mlp_ratio`).
                `None` is an identity, or an empty slot; identities are shifted to the end, empty
                slots to the end of those that stand side by side. Where fewer blocks than slots
                are given, the last skippable slots stay empty.

        Raises:
            SpaceError: A name or value is not legal, or a slot cannot be empty.
        """
        return assemble.assemble(self, shared, blocks)

    def validate(self, architecture: Architecture) -> None:
        """Check that an architecture is legal and canonical in this space.

        Raises:
            SpaceError: Names the choice, the value and the legal options.
        """
        canonical = self.canonical(architecture)
        for name in architecture:
            if name not in canonical:
                needs = " and ".join(map(str, self.choice(name).active_when))
                raise SpaceError(
                    f"{name}={architecture[name]} is not active in this architecture; "
                    f"it needs {needs}"
                )

    def sample(self, rng: random.Random) -> Architecture:
        """An architecture with every active choice drawn independently."""
        return operators.sample(self, rng)

    def mutate(
        self, architecture: Architecture, prob: float | Mapping[str, float], rng: random.Random
    ) -> Architecture:
        """A copy in which each active choice is drawn again with probability `prob`.

        `prob` is one number, or one for each choice by its name.
        """
        return operators.mutate(self, architecture, prob, rng)

    def crossover(
        self, first: Architecture, second: Architecture, rng: random.Random
    ) -> Architecture:
        """A child that takes each choice from one of its parents at random."""
        return operators.crossover(self, first, second, rng)

    # Sizes

    def values(self, architecture: Architecture) -> Values:
        """The value of every choice: the architecture's, or what stands where it is inactive.

        Raises:
            SpaceError: The architecture is not legal in this space.
        """
        self.validate(architecture)
        taken = architecture.to_dict()
        return {c.name: taken.get(c.name, c.otherwise) for c in self.choices}

    def plan(self, architecture: Architecture) -> Plan:
        """The architecture in sizes.

        Raises:
            SpaceError: It is no `Architecture`, or not legal in the space.
        """
        if not isinstance(architecture, Architecture):
            raise SpaceError(
                f"architecture of type {type(architecture).__name__} must be an Architecture: "
                f"space.canonical(...) makes one of choices by name"
            )
        found = self._plans.get(architecture)
        if found is None:
            found = self.body.plan(self.values(architecture))
            if len(self._plans) == _MOST_PLANS:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[architecture] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        """What copies are made of: not the plans that were made, which are made again."""
        return {**self.__dict__, "_plans": {}}

    def catalogue(self) -> PlanCatalogue:
        """Every piece that some architecture of the space asks for."""
        return extent.catalogue(self)

    # Extent

    def size(self) -> int:
        """How many different architectures there are, exactly."""
        return extent.size(self)

    def smallest(self) -> Architecture:
        """The architecture with the fewest MACs (of those, the fewest parameters)."""
        return self.extreme("macs", largest=False)[0]

    def largest(self) -> Architecture:
        """The architecture with the most MACs (of those, the most parameters)."""
        return self.extreme("macs", largest=True)[0]

    def extreme(
        self, metric: str, *, largest: bool, num_classes: int = 0
    ) -> tuple[Architecture, Cost]:
        """The exact end of the space in a closed form (`macs`, `params`, ...), and its cost.

        Args:
            metric: Its name.
            largest: Which end.
            num_classes: Of the classifier, whose cost counts; 0 for none.

        Raises:
            SpaceError: The metric has no closed form.
        """
        key = (metric, largest, num_classes, further_forms())
        if key not in self._ends:
            found = extent.extreme(self, largest=largest, metric=metric, num_classes=num_classes)
            self._ends[key] = (found, self.plan(found).cost(num_classes))
        return self._ends[key]


def _listed(choice: Choice) -> str:
    return ", ".join(map(str, choice.options))
