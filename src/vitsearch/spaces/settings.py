"""Reads a space's configuration, a part's section each, with errors that name the key and value.

A setting given once holds for every stage; a list of settings (for option lists: a list of lists)
gives one for each stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.errors.checks import check_flag, check_one_of, check_size, check_whole, is_number
from vitsearch.spaces.choice import Value
from vitsearch.spaces.flow import ImageSize, sides

SECTIONS = ("body", "stem", "transition", "block", "mixer", "mlp", "tokens", "head")
TOP_LEVEL = (
    "name",
    "image_size",
    "in_chans",
    "patch_sizes",
    "num_stages",
    "num_blocks",
    "depths",
    "identity_probability",
    "min_depth",
    "skippable",
    "embed_dims",
    "norm_eps",
    "restrict",
    *SECTIONS,
)
_REQUIRED: Any = object()
LARGEST = 2**20
"""No size of a network is larger, so that a damaged file is refused before anything is built."""
MOST_STAGES = 64
MOST_BLOCKS = 1024
"""Of a stage."""


class Settings:
    """The settings of one part, as seen by one stage. Every key must be read before `finish`.

    Attributes:
        path: What its keys are named below in messages.
    """

    def __init__(
        self, section: Mapping[str, Any], path: str, *, stage: int = 0, num_stages: int = 1
    ) -> None:
        if not isinstance(section, Mapping):
            raise SpaceError(f"{path} must be a section of settings, not {section!r}")
        self._section = section
        self.path = path
        self._stage = stage
        self._num_stages = num_stages
        self._read: set[str] = set()

    def _value(self, key: str, default: Any) -> Any:
        self._read.add(key)
        value = self._section.get(key, default)
        if value is _REQUIRED:
            raise SpaceError(f"{self.path}.{key} is missing")
        return value

    def _of_stage(self, key: str, values: Sequence[Any]) -> Any:
        if len(values) != self._num_stages:
            raise SpaceError(
                f"{self.path}.{key} lists {len(values)} values for {self._num_stages} stages: "
                f"{list(values)}"
            )
        return values[self._stage]

    def _scalar(self, key: str, default: Any) -> Any:
        value = self._value(key, default)
        return self._of_stage(key, value) if isinstance(value, list | tuple) else value

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """A number above 0."""
        value = self._scalar(key, default)
        if not is_number(value) or value <= 0:
            raise SpaceError(f"{self.path}.{key}={value} must be a number above 0")
        if value > LARGEST:
            raise SpaceError(f"{self.path}.{key}={value} must be at most {LARGEST}")
        return value

    def integer(
        self, key: str, default: Any = _REQUIRED, *, minimum: int = 1, maximum: int = LARGEST
    ) -> int:
        """A whole number from `minimum` to `maximum`."""
        name, value = f"{self.path}.{key}", self._scalar(key, default)
        found = check_whole(name, value, minimum, error=SpaceError)
        if found > maximum:
            raise SpaceError(f"{name}={found} must be at most {maximum}")
        return found

    def image_size(self, key: str) -> ImageSize:
        """Pixels: a whole number for a square, or a list of height and width."""
        name, value = f"{self.path}.{key}", self._value(key, _REQUIRED)
        size = check_size(name, value, any_shape=True, error=SpaceError)
        if max(sides(size)) > LARGEST:
            raise SpaceError(f"{name}={value} must be at most {LARGEST}")
        return size

    def optional_integer(self, key: str) -> int | None:
        """A whole number, 1 or more, or `None` where the key is absent or null."""
        if self._scalar(key, None) is None:
            return None
        return self.integer(key)

    def word(self, key: str, legal: Sequence[str], default: Any = _REQUIRED) -> str:
        """One of a few words."""
        value = self._scalar(key, default)
        return check_one_of(f"{self.path}.{key}", value, legal, error=SpaceError)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._scalar(key, default)
        return check_flag(f"{self.path}.{key}", value, error=SpaceError)

    def flags(self, key: str, default: Sequence[bool]) -> tuple[bool, ...]:
        """An option list of false and true; one of them stands for a list of one."""
        value = self._value(key, list(default))
        options = value if isinstance(value, list | tuple) else [value]
        name = f"{self.path}.{key}"
        if not options:
            raise SpaceError(f"{name} is an empty list; give at least one option")
        return tuple(sorted({check_flag(name, option, error=SpaceError) for option in options}))

    def words(self, key: str, legal: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
        """Some of a few words, in the order in which `legal` has them."""
        value = self._value(key, default)
        given = [value] if isinstance(value, str) else value
        for word in [given] if not isinstance(given, list | tuple) else given:
            check_one_of(f"{self.path}.{key}", word, legal, error=SpaceError)
        return tuple(word for word in legal if word in given)

    def section(self, key: str) -> Any:
        """What stands under a key that is a section of its own; `None` where it is absent."""
        return self._value(key, None)

    def has(self, key: str) -> bool:
        """Whether the key is given and not null."""
        self._read.add(key)
        return self._section.get(key) is not None

    def integers(self, key: str, default: Any = _REQUIRED, *, minimum: int = 1) -> tuple[int, ...]:
        """An ascending list of whole numbers; one number stands for a list of one."""
        options = self.numbers(key, default, above=minimum - 1)
        if any(isinstance(option, float) for option in options):
            raise SpaceError(f"{self.path}.{key}={list(options)} must be whole numbers")
        return tuple(int(option) for option in options)

    def numbers(self, key: str, default: Any = _REQUIRED, *, above: float = 0) -> tuple[Value, ...]:
        """An option list of numbers above a bound, sorted; one number stands for a list of one."""
        value = self._value(key, default)
        if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
            value = self._of_stage(key, value)
        options = list(value) if isinstance(value, list | tuple) else [value]
        if not options:
            raise SpaceError(f"{self.path}.{key} is an empty list; give at least one option")
        for option in options:
            if not is_number(option) or option <= above:
                raise SpaceError(
                    f"{self.path}.{key}={options}: {option!r} must be a number above {above:g}"
                )
            if option > LARGEST:
                raise SpaceError(
                    f"{self.path}.{key}={options}: {option!r} must be at most {LARGEST}"
                )
        if len(set(options)) != len(options):
            raise SpaceError(f"{self.path}.{key}={options} lists an option twice")
        return tuple(sorted(options))

    def positions(self, key: str, count: int) -> tuple[int, ...]:
        """An ascending list of places from 0 to `count` - 1, or none."""
        value = self._value(key, None)
        if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
            value = self._of_stage(key, value)
        if value is None or value == [] or value == ():
            return ()
        places = self.integers(key, minimum=0)
        if places[-1] >= count:
            raise SpaceError(
                f"{self.path}.{key}={list(places)}: there are {count} slots, counted from 0"
            )
        return places

    def finish(self) -> None:
        """Refuse keys that nothing read.

        Raises:
            SpaceError: Names the unknown key and the legal ones.
        """
        unknown = [key for key in self._section if key not in self._read and key != "kind"]
        if unknown:
            raise SpaceError(
                f"{self.path}.{unknown[0]} is no setting of this part; legal: "
                f"{', '.join(sorted(self._read)) or 'none'}"
            )


def refuse_unknown_sections(config: Mapping[str, Any]) -> None:
    """Refuse what is no setting or section of a space.

    Raises:
        SpaceError: Names the nearest one, and all.
    """
    if not isinstance(config, Mapping):
        raise SpaceError(f"space={str(config)[:40]} must be settings by name")
    unknown = [key for key in config if key not in TOP_LEVEL]
    if unknown:
        close = get_close_matches(str(unknown[0]), TOP_LEVEL, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise SpaceError(
            f"space.{unknown[0]} is no setting of a space{hint}; legal: {', '.join(TOP_LEVEL)}"
        )
