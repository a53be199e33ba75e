"""What one block slot can be: its legal assignments and their costs, each looked at once.

A slot's choices depend on each other, on shared choices (depth), and on the slot before (a chain of
skippable slots). Slots that look alike under what they depend on share one list of options, and a
stage's slots are walked in order, keeping only what later slots ask for. Pieces whose choices do
not depend on each other are listed apart: a block of four pieces with a hundred options each has
four hundred, not a hundred million. So all that is asked of a space as a whole takes time in the
number of options of a piece, not in the number of architectures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from vitsearch.spaces.bodies.pieces import Taken
from vitsearch.spaces.choice import Choice, Value, assignments
from vitsearch.spaces.parts.base import Values

if TYPE_CHECKING:
    from vitsearch.spaces.bodies.stage import Stage
    from vitsearch.spaces.space import SearchSpace

Key = tuple[object, ...]
State = tuple[tuple[str, Value | None], ...]
"""Values of a stage's block choices that slots further on depend on, by full name."""


@dataclass(frozen=True, slots=True)
class PieceOption:
    """One legal assignment of the choices of a piece, or of several that depend on each other.

    Attributes:
        values: By the choices' names below the slot; what stands there where one is inactive.
        active: The values of those that are active.
        pieces: The values of the choices of each piece, by role.
    """

    values: dict[str, Value | None]
    active: dict[str, Value | None]
    pieces: dict[str, Taken]


@dataclass(frozen=True, slots=True)
class SlotOption:
    """What a slot can be: empty, or a block whose groups of pieces are chosen apart.

    Attributes:
        values: Of the choice whether there is a block, by its name below the slot.
        present: Whether the slot then has a block.
        groups: The options of each group; a combination of one of each is an assignment.
    """

    values: dict[str, Value | None]
    present: bool
    groups: tuple[tuple[PieceOption, ...], ...]

    @property
    def count(self) -> int:
        """How many assignments it stands for."""
        return prod(map(len, self.groups))


class Slot:
    """The choices of one slot, and what they depend on.

    Attributes:
        stage: Whose slot.
        index: Its place there, from 0.
        choices: Whether there is a block, and those of its pieces.
        needs: Names of earlier choices that they depend on.
        looks: Equal for slots whose choices are the same, what they need aside.
    """

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
        self.looks: Key = tuple(
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
        self._keep = stage.keep_name(index)
        self._groups = self._linked()

    def _linked(self) -> list[tuple[tuple[str, ...], tuple[Choice, ...]]]:
        """Roles whose choices depend on each other, with these choices."""
        names = self.stage.pieces.names
        prefix = self.stage.block_prefix(self.index)
        role_of = {f"{prefix}.{name}": role for role, own in names.items() for name in own}
        group_of = {role: number for number, role in enumerate(names)}
        for choice in self.choices:
            for condition in choice.active_when:
                if condition.name in role_of:
                    kept, gone = (group_of[role_of[n]] for n in (condition.name, choice.name))
                    group_of |= {role: kept for role, own in group_of.items() if own == gone}
        groups = (
            tuple(role for role, own in group_of.items() if own == number)
            for number in dict.fromkeys(group_of.values())
        )
        return [
            (roles, tuple(c for c in self.choices if role_of.get(c.name) in roles))
            for roles in groups
        ]

    def key(self, known: Values) -> Key:
        """Equal for slots with the same options, after the values of earlier choices."""
        holds = tuple(
            (name, condition.name not in known or known[condition.name] in condition.values)
            for condition, name in self._outside
        )
        within = self.stage.within_depth(self.index, known)
        return (self.stage.index, within, self.looks, holds)

    def options(self, known: Values) -> list[SlotOption]:
        """What it can be after the values of earlier choices."""
        within = self.stage.within_depth(self.index, known)
        keep = tuple(choice for choice in self.choices if choice.name == self._keep)
        return [
            SlotOption(
                {name[self.start :]: value for name, value in kept.items()},
                within and all(map(bool, kept.values())),
                tuple(
                    tuple(self._piece_options(roles, choices, {**known, **kept}))
                    for roles, choices in self._groups
                ),
            )
            for kept in assignments(keep, known)
        ]

    def _piece_options(
        self, roles: Sequence[str], choices: Sequence[Choice], known: Values
    ) -> Iterator[PieceOption]:
        names = self.stage.pieces.names
        for full in assignments(choices, known):
            values = {name[self.start :]: value for name, value in full.items()}
            there = {**known, **full}
            active = {c.name[self.start :]: full[c.name] for c in choices if c.is_active(there)}
            yield PieceOption(
                values,
                active,
                {role: tuple([values[name] for name in names[role]]) for role in roles},
            )


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
        for slots, later in zip(self.stages, self._later, strict=True):
            keeps = {slot.stage.keep_name(slot.index) for slot in slots}
            assert all(own & everywhere <= keeps for own in later), f"slots depend on {later}"
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
