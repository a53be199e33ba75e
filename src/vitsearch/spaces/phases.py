"""Hierarchical search: phases, in each of which some choices are free and the others held.

Source: GLiT (ICCV 2021), section 3.3: the distribution of global and local heads first, then what
each of them looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.choice import Choice, Value
from vitsearch.spaces.restriction import expand_patterns, is_named
from vitsearch.spaces.space import SearchSpace

SUPERNETS = ("new", "continue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of a hierarchical search.

    Attributes:
        name: Of its folder in the run.
        free: Patterns of the choices that it decides.
        hold: Values of others by pattern, where neither the phase before decided them nor the space
            says what stands where they are inactive.
        supernet: `new`: trained from scratch; `continue`: goes on with the phase before's.
        constraint: Windows in place of the search's; `None` for the search's own.
    """

    name: str
    free: tuple[str, ...]
    hold: Mapping[str, Value] = field(default_factory=dict)
    supernet: str = "new"
    constraint: Mapping[str, Any] | None = None


def read_phases(sections: Sequence[Mapping[str, Any]]) -> tuple[Phase, ...]:
    """The phases that a configuration lists, in order.

    Raises:
        SpaceError: A key is unknown, or a value malformed.
    """
    phases: list[Phase] = []
    for number, section in enumerate(sections):
        where = f"phases[{number}]"
        if not isinstance(section, Mapping):
            raise SpaceError(
                f"{where}={section!r} must be a section with name, free, hold, supernet"
            )
        legal = ("name", "free", "hold", "supernet", "constraint")
        for key in section:
            if key not in legal:
                raise SpaceError(f"{where}.{key} is unknown; legal: {', '.join(legal)}")
        free = section.get("free") or []
        free = [free] if isinstance(free, str) else list(free)
        supernet = section.get("supernet") or "new"
        if supernet not in SUPERNETS:
            raise SpaceError(f"{where}.supernet={supernet} is unknown; legal: new, continue")
        if supernet == "continue" and not phases:
            raise SpaceError(f"{where}.supernet=continue: there is no phase before the first")
        if not free:
            raise SpaceError(f"{where}.free is missing: patterns of choices, such as *.mlp_ratio")
        name = str(section.get("name") or f"phase{number + 1}")
        if name in {phase.name for phase in phases}:
            raise SpaceError(f"{where}.name={name} is the name of two phases")
        phases.append(
            Phase(
                name=name,
                free=tuple(map(str, free)),
                hold=dict(section.get("hold") or {}),
                supernet=supernet,
                constraint=section.get("constraint"),
            )
        )
    return tuple(phases)


def check_phases(space: SearchSpace, phases: Sequence[Phase]) -> None:
    """Refuse phases that could not run to the end, as far as that is known before the first.

    Raises:
        SpaceError: A pattern matches no choice, a value is no option, or nothing says the value of
            a choice that is held.
    """
    decided: Architecture | None = None
    for phase in phases:
        decided = phase_space(space, phase, decided).smallest()


def phase_space(
    space: SearchSpace, phase: Phase, decided: Architecture | None = None
) -> SearchSpace:
    """The part of a space that a phase searches.

    Args:
        space: The whole.
        phase: What is free in it.
        decided: What the phase before found.

    Raises:
        SpaceError: A pattern matches no choice, or nothing says the value of a held choice.
    """
    names = [choice.name for choice in space.choices]
    expand_patterns(dict.fromkeys(phase.free, 0), names, space.name)  # refuses unknown patterns
    hold = expand_patterns(phase.hold, names, space.name)
    held: dict[str, list[Value]] = {}
    for choice in space.choices:
        if not is_named(choice.name, phase.free):
            held[choice.name] = [_held(choice, phase, hold, decided)]
    return space.restrict(held)


def shared_space(
    space: SearchSpace, phases: Sequence[Phase], decided: Architecture | None = None
) -> SearchSpace:
    """The space of a supernet that serves several phases: whatever one of them frees is free.

    Raises:
        SpaceError: As `phase_space`.
    """
    first = phases[0]
    free = tuple(pattern for phase in phases for pattern in phase.free)
    together = Phase(name=first.name, free=free, hold=first.hold)
    return phase_space(space, together, decided)


def _held(
    choice: Choice,
    phase: Phase,
    hold: Mapping[str, Sequence[Value]],
    decided: Architecture | None,
) -> Value:
    if len(choice.options) == 1:
        return choice.options[0]
    if decided is not None and choice.name in decided:
        return decided[choice.name]
    if choice.name in hold:
        return choice.limited_to(hold[choice.name]).options[0]
    if choice.otherwise is not None and choice.otherwise in choice.options:
        return choice.otherwise
    raise SpaceError(
        f"phase {phase.name} neither frees nor holds {choice.name}; add it to free, or a value to "
        f"hold; options: {', '.join(map(str, choice.options))}"
    )
