"""What one block slot can be: its legal assignments and their costs, each looked at once.

A slot's choices depend on each other, on shared choices (depth), and on the slot before (a chain of
skippable slots). Slots that look alike under what they depend on share one list of options, and a
stage's slots are walked in order, keeping only what later slots ask for. So all that is asked of a
space as a whole takes time in the number of options of a slot, not in the number of architectures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitsearch.spaces.choice import Choice, Value, assignments
from vitsearch.spaces.cost import Cost, no_cost
from vitsearch.spaces.flow import Seen
from vitsearch.spaces.parts.base import Values

if TYPE_CHECKING:
    from vitsearch.spaces.bodies.stage import Stage
    from vitsearch.spaces.space import SearchSpace

Key = tuple[object, ...]
State = tuple[tuple[str, Value | None], ...]
"""Values of a stage's block choices that slots further on depend on, by full name."""


@dataclass(frozen=True, slots=True)
class SlotOption:
    """One legal assignment of a slot's choices.

    Attributes:
        values: By the choices' names below the slot.
        present: Whether the slot then has a block.
        pieces: The values of the choices of each piece of the block, by role.
    """

    values: dict[str, Value | None]
    present: bool
    pieces: dict[str, tuple[Value | None, ...]]


class Slot:
    """The choices of one slot, and what they depend on."""

    def __init__(self, stage: Stage, index: int, choices: tuple[Choice, ...]) -> None:
        self.stage = stage
        self.index = index
        self.choices = choices
        self.start = len(stage.block_prefix(index)) + 1
        own = {choice.name for choice in choices}
        self._outside = [
            (condition, choice.name[self.start :])
            for choice in choices
            for condition in choice.active_when
            if condition.name not in own
        ]
        self.needs = {condition.name for condition, _ in self._outside}
        self._looks: Key = tuple(
            (
                choice.name[self.start :],
                choice.options,
                choice.otherwise,
                tuple(
                    (c.name[self.start :], c.values) for c in choice.active_when if c.name in own
                ),
            )
            for choice in choices
        )

    def key(self, known: Values) -> Key:
        """Equal for slots with the same options, after the values of earlier choices."""
        holds = tuple(
            (name, condition.name not in known or known[condition.name] in condition.values)
            for condition, name in self._outside
        )
        within = self.stage.within_depth(self.index, known)
        return (self.stage.index, within, self._looks, holds)

    def options(self, known: Values) -> list[SlotOption]:
        """Every legal assignment after the values of earlier choices."""
        found = []
        keep = self.stage.keep_name(self.index)
        within = self.stage.within_depth(self.index, known)
        names = self.stage.pieces.names
        for full in assignments(self.choices, known):
            values = {name[self.start :]: value for name, value in full.items()}
            found.append(
                SlotOption(
                    values,
                    within and (keep is None or bool(full[keep])),
                    {role: tuple([values[name] for name in own]) for role, own in names.items()},
                )
            )
        return found


class SlotTable:
    """All slots of a space; grows its lists as they are asked for."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.stages = [
            [Slot(stage, index, choices) for index, choices in enumerate(slots)]
            for stage, slots in zip(space.stages, space.block_choices, strict=True)
        ]
        everywhere = {choice.name for choice in space.choices}
        for slots, shared in zip(self.stages, space.sections, strict=True):
            known = {choice.name for choice in shared}
            for slot in slots:
                others = (slot.needs & everywhere) - known
                assert not others, f"a block of {slot.stage.prefix} depends on {others}"
                known |= {choice.name for choice in slot.choices}
        self._later = [_needed_later(slots) for slots in self.stages]
        self._options: dict[Key, list[SlotOption]] = {}

    def options(self, slot: Slot, known: Values) -> tuple[Key, list[SlotOption]]:
        """The options of a slot after earlier choices, and a key that says which list it is."""
        key = slot.key(known)
        if key not in self._options:
            self._options[key] = slot.options(known)
        return key, self._options[key]

    def state_after(self, slot: Slot, state: State, option: SlotOption) -> State:
        """What later slots need to know once this slot is decided."""
        later = self._later[slot.stage.index][slot.index]
        if not later:
            return ()
        prefix = slot.stage.block_prefix(slot.index)
        own = {f"{prefix}.{name}": value for name, value in option.values.items()}
        return tuple(item for item in (*state, *own.items()) if item[0] in later)

    def block_cost(self, stage: Stage, option: SlotOption, seen: Seen) -> Cost:
        """What a slot costs with an option."""
        if not option.present:
            return no_cost()
        costs = (stage.pieces.cost(role, taken, seen) for role, taken in option.pieces.items())
        return sum(costs, stage.pieces.own_cost(seen))

    def walk(self, stage: Stage, shared: Values) -> Iterator[tuple[Slot, Key, list[SlotOption]]]:
        """Every list of options that the slots of a stage can have after the shared choices."""
        states: dict[State, None] = {(): None}
        for slot in self.stages[stage.index]:
            seen: set[Key] = set()
            following: dict[State, None] = {}
            for state in states:
                key, options = self.options(slot, {**shared, **dict(state)})
                if key not in seen:
                    seen.add(key)
                    yield slot, key, options
                if self._later[stage.index][slot.index]:
                    for option in options:
                        following[self.state_after(slot, state, option)] = None
            states = following or {(): None}


def _needed_later(slots: list[Slot]) -> list[set[str]]:
    """For each slot, the names of choices up to it that a later slot depends on."""
    later: set[str] = set()
    found: list[set[str]] = []
    for slot in reversed(slots):
        blocks = f"{slot.stage.prefix}.blocks."
        found.append({name for name in later if name.startswith(blocks)})
        later = later | slot.needs
    return found[::-1]
