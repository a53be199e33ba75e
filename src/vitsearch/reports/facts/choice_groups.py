"""The choices of a space with those that only differ in the slot of their block put together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vitsearch.spaces import Choice, Condition, Value

_RUN = r"blocks|(?:branches|fusion)\.\d+|widen|down"
_IN_A_SLOT = re.compile(rf"(?P<blocks>.+\.(?:{_RUN}))\.(?P<slot>\d+)\.(?P<own>.+)")

Values = tuple[Value | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceGroup:
    """One choice, or several of one stage with the same options under the same conditions.

    Attributes:
        label: The name; slots as ranges, for example `stages.0.blocks.0-5.mlp_ratio`.
        choices: What the group stands for, by slot.
        conditions: All of them must hold, for example `global_heads in 1, 2, 3` (of the same
            block) or `stages.0.depth > slot`. Conditions that never bind are left out.
    """

    label: str
    choices: tuple[Choice, ...]
    conditions: tuple[str, ...]

    @property
    def names_slot(self) -> bool:
        """Whether a condition speaks of the number of the slot."""
        return any(condition.endswith(" > slot") for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class _Member:
    """A choice, its place, and its conditions on choices of the same block and on others."""

    choice: Choice
    blocks: str
    slot: int
    own: str
    inside: tuple[Condition, ...]
    outside: tuple[Condition, ...]

    @property
    def place(self) -> tuple[str, str]:
        return self.blocks, self.own

    @property
    def content(self) -> tuple[object, ...]:
        choice = self.choice
        return choice.options, choice.otherwise, choice.weights, self.inside


def group_choices(choices: Sequence[Choice]) -> list[ChoiceGroup]:
    """Groups in the order of their first choices; every choice is in exactly one."""
    shown = {choice.name: _values(choice) for choice in choices}
    members = [_member(choice, shown) for choice in choices]
    places = _collect((member.place, member) for member in members)
    groups = []
    for same_place in places:
        same_place.sort(key=lambda member: member.slot)
        for alike in _collect((member.content, member) for member in same_place):
            groups += _by_condition(alike, shown)
    return groups


def slot_ranges(slots: Iterable[int]) -> str:
    """Ascending numbers as ranges: `0-3,5`."""
    runs: list[list[int]] = []
    for slot in slots:
        if runs and slot == runs[-1][1] + 1:
            runs[-1][1] = slot
        else:
            runs.append([slot, slot])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _values(choice: Choice) -> Values:
    """What other choices can find in the place of this one."""
    return choice.options if not choice.active_when else (*choice.options, choice.otherwise)


def _collect(pairs: Iterable[tuple[object, _Member]]) -> list[list[_Member]]:
    found: dict[object, list[_Member]] = {}
    for key, member in pairs:
        found.setdefault(key, []).append(member)
    return list(found.values())


def _member(choice: Choice, shown: Mapping[str, Values]) -> _Member:
    binding = [condition for condition in choice.active_when if condition.name in shown]
    found = _IN_A_SLOT.fullmatch(choice.name)
    if found is None:
        return _Member(choice, choice.name, 0, "", (), tuple(binding))
    prefix = choice.name[: found.start("own")]
    inside = tuple(
        Condition(condition.name.removeprefix(prefix), condition.values)
        for condition in binding
        if condition.name.startswith(prefix)
    )
    outside = tuple(c for c in binding if not c.name.startswith(prefix))
    return _Member(choice, found["blocks"], int(found["slot"]), found["own"], inside, outside)


def _by_condition(alike: list[_Member], shown: Mapping[str, Values]) -> list[ChoiceGroup]:
    """One group where one wording holds for all slots, else one for each distinct condition."""
    generic = _generic(alike, shown)
    if generic is not None:
        return [_group(alike, generic)]
    return [
        _group(same, tuple(map(str, same[0].outside)))
        for same in _collect((member.outside, member) for member in alike)
    ]


def _generic(alike: list[_Member], shown: Mapping[str, Values]) -> tuple[str, ...] | None:
    """The conditions on other blocks and stages in words that are exact in every slot."""
    words: list[str] = []
    for name in dict.fromkeys(c.name for member in alike for c in member.outside):
        named = {tuple(c for c in member.outside if c.name == name) for member in alike}
        if len(named) == 1:
            words += map(str, named.pop())
        elif all(_says_more_than_slot(member, name, shown[name]) for member in alike):
            words.append(f"{name} > slot")
        else:
            return None
    return tuple(words)


def _says_more_than_slot(member: _Member, name: str, values: Values) -> bool:
    """Whether the conditions on `name` hold for exactly the values above the slot's number."""
    allowed = [c.values for c in member.outside if c.name == name]
    return all(
        isinstance(value, int | float)
        and all(value in legal for legal in allowed) == (value > member.slot)
        for value in values
    )


def _group(members: list[_Member], outside: tuple[str, ...]) -> ChoiceGroup:
    first = members[0]
    label = first.choice.name
    if first.own:
        label = f"{first.blocks}.{slot_ranges(member.slot for member in members)}.{first.own}"
    return ChoiceGroup(
        label=label,
        choices=tuple(member.choice for member in members),
        conditions=(*outside, *map(str, first.inside)),
    )
