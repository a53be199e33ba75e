"""An architecture: an immutable, hashable, canonical value that names the option of each choice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Value, normalise


class Architecture(Mapping[str, Value]):
    """The options taken, by choice name. Inactive choices are absent, so equal networks are equal.

    It reads like a mapping: `architecture["stages.0.blocks.3.mlp_ratio"]`. Make one with
    `space.sample`, `space.canonical` or `Architecture.from_json`.
    """

    __slots__ = ("_digest", "_hash", "_values")

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values: dict[str, Value] = {name: normalise(value) for name, value in values.items()}
        self._hash: int | None = None
        self._digest: str | None = None

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return self._values == other._values if isinstance(other, Architecture) else NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._values.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"Architecture({self.digest}, {len(self)} choices)"

    def __reduce__(self) -> tuple[type[Architecture], tuple[dict[str, Value]]]:
        return Architecture, (self._values,)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits, the same on every machine and in every process."""
        if self._digest is None:
            # True equals 1, so both are written as 1: equal architectures have one digest.
            values = {n: int(v) if isinstance(v, bool) else v for n, v in self._values.items()}
            text = json.dumps(values, sort_keys=True, separators=(",", ":"))
            self._digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return self._digest

    def to_dict(self) -> dict[str, Value]:
        """A plain dictionary from choice name to value."""
        return dict(self._values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Value]) -> Architecture:
        """The inverse of `to_dict`.

        Raises:
            SpaceError: A name is not a string, or a value not a number, string or boolean.
        """
        if not isinstance(values, Mapping):
            raise SpaceError(f"an architecture maps choice names to values, not {values!r}")
        for name, value in values.items():
            if not isinstance(name, str) or not isinstance(value, int | float | str):
                raise SpaceError(
                    f"an architecture maps choice names to numbers or strings, not {name!r} to "
                    f"{value!r}"
                )
        return cls(values)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self._values)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """The inverse of `to_json`.

        Raises:
            SpaceError: The text is not a JSON object of names and values.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise SpaceError(f"an architecture is one JSON object; {error}") from None
        if not isinstance(values, dict):
            raise SpaceError(f"an architecture is one JSON object, not {text[:40]!r}")
        return cls.from_dict(values)
