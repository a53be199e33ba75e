"""One decision of a search space: its name, its ordered options, and when it takes part at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vitsearch.errors import SpaceError

Value = int | float | str | bool


def normalise(value: Value) -> Value:
    """Write whole numbers as `int`, so that ratio 4 and ratio 4.0 are one value with one digest."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@dataclass(frozen=True, slots=True)
class Condition:
    """`name` holds one of `values`."""

    name: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.name} in {', '.join(map(str, self.values))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A named list of options, small to large.

    Attributes:
        name: Dotted path, for example `stages.0.blocks.3.mlp_ratio`.
        options: The legal values in ascending order of size, without repetition.
        active_when: All of these must hold for the choice to take part. They name choices that come
            earlier in the space. A condition on a name that the space does not have never binds.
        otherwise: The value that stands where the choice is inactive; `None` for none.
        weights: Relative sampling frequency of each option; uniform if `None`.
    """

    name: str
    options: tuple[Value, ...]
    active_when: tuple[Condition, ...] = ()
    otherwise: Value | None = None
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        options = tuple(normalise(option) for option in self.options)
        object.__setattr__(self, "options", options)
        if not options:
            raise SpaceError(f"{self.name} has no options; give at least one")
        if len(set(options)) != len(options):
            raise SpaceError(f"{self.name} lists an option twice: {', '.join(map(str, options))}")
        if self.weights is not None:
            assert len(self.weights) == len(options), self.name

    def is_active(self, values: Mapping[str, Value | None]) -> bool:
        """Whether the choice takes part, given the values (or `otherwise`) of earlier choices."""
        for condition in self.active_when:
            if condition.name in values and values[condition.name] not in condition.values:
                return False
        return True

    def under(self, prefix: str, *, also: Sequence[Condition] = ()) -> Choice:
        """The same choice below `prefix`, its own conditions too, with `also` added unchanged."""
        moved = tuple(Condition(f"{prefix}.{c.name}", c.values) for c in self.active_when)
        return replace(self, name=f"{prefix}.{self.name}", active_when=(*also, *moved))

    def limited_to(self, options: Sequence[Value]) -> Choice:
        """The same choice with some of its options, in its own order."""
        wanted = [normalise(option) for option in options]
        unknown = [option for option in wanted if option not in self.options]
        if unknown or not wanted:
            named = ", ".join(map(str, unknown)) if unknown else "nothing"
            legal = ", ".join(map(str, self.options))
            raise SpaceError(f"cannot restrict {self.name} to {named}; options: {legal}")
        keep = [i for i, option in enumerate(self.options) if option in wanted]
        weights = None if self.weights is None else tuple(self.weights[i] for i in keep)
        return replace(self, options=tuple(self.options[i] for i in keep), weights=weights)


def assignments(
    choices: Sequence[Choice], given: Mapping[str, Value | None] | None = None
) -> Iterator[dict[str, Value | None]]:
    """Every legal assignment of `choices` after `given`, in order of the options.

    Yields the effective values: inactive choices hold their `otherwise`. The values of `given` are
    not repeated.
    """
    known = dict(given or {})
    own: dict[str, Value | None] = {}

    def descend(index: int) -> Iterator[dict[str, Value | None]]:
        if index == len(choices):
            yield dict(own)
            return
        choice = choices[index]
        active = choice.is_active(known)
        for value in choice.options if active else (choice.otherwise,):
            known[choice.name] = own[choice.name] = value
            yield from descend(index + 1)
        del known[choice.name], own[choice.name]

    return descend(0)
