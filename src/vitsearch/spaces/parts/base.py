"""What a part of a space is: it declares its choices, turns values into sizes, and costs itself.

A new part is one class here (pure Python) and one elastic module registered for its plan; see
`vitsearch.supernet.build`. Another package names the module that registers its part by an entry
point of the group `vitsearch.parts`, under the part's kind, and it is imported when a space asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice, Value
from vitsearch.spaces.plan import PiecePlan
from vitsearch.spaces.settings import Settings

ENTRY_POINT_GROUP = "vitsearch.parts"
Values = Mapping[str, Value | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenContext:
    """The tokens that a block's parts see.

    Attributes:
        embed_dim: C, for the architecture at hand.
        grid: Rows and columns of patch tokens.
        num_prefix_tokens: Tokens in front of the patches.
    """

    embed_dim: int
    grid: tuple[int, int]
    num_prefix_tokens: int

    @property
    def num_tokens(self) -> int:
        """N, prefix tokens included."""
        return self.grid[0] * self.grid[1] + self.num_prefix_tokens


class StemPart(Protocol):
    """Turns an image into tokens."""

    def choices(self) -> tuple[Choice, ...]:
        """Choices, named relative to `stem`."""

    def grid(self, values: Values, image_size: int) -> tuple[int, int]:
        """Rows and columns of patch tokens."""

    def plan(
        self,
        values: Values,
        *,
        image_size: int,
        in_chans: int,
        embed_dim: int,
        num_prefix_tokens: int,
    ) -> PiecePlan:
        """The sizes for one architecture."""


class BlockPart(Protocol):
    """A mixer or an MLP: half of a block."""

    def choices(self) -> tuple[Choice, ...]:
        """Choices, named relative to the block."""

    def plan(self, values: Values, tokens: TokenContext) -> PiecePlan:
        """The sizes for one architecture."""


class TransitionPart(Protocol):
    """Leads from one stage to the next: another width, another grid."""

    def choices(self) -> tuple[Choice, ...]:
        """Choices, named relative to `stages.S.transition`."""

    def grid(self, values: Values, grid: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patch tokens after it."""

    def plan(self, values: Values, before: TokenContext, after: TokenContext) -> PiecePlan:
        """The sizes for one architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a part may know of its stage when it is built.

    Attributes:
        index: Which stage, from 0.
        num_stages: How many there are.
        embed_dims: Every width that the stage can take.
        patch_sizes: The space's patch sizes, which its stem offers; empty if it names none.
    """

    index: int
    num_stages: int
    embed_dims: tuple[int, ...]
    patch_sizes: tuple[int, ...] = ()


P = TypeVar("P")
Factory = Callable[[Settings, StageContext], Any]


class PartRegistry:
    """The kinds of one role (`stem`, `mixer`, `mlp`, ...): `kind` in the configuration -> part."""

    def __init__(self, role: str) -> None:
        self.role = role
        self._factories: dict[str, Factory] = {}

    def register(self, kind: str) -> Callable[[Callable[[Settings, StageContext], P]], Any]:
        """Decorator: make `kind` known.

        Raises:
            SpaceError: The kind is taken.
        """

        def add(factory: Callable[[Settings, StageContext], P]) -> Any:
            if kind in self._factories:
                raise SpaceError(f"{self.role} kind {kind} is registered already")
            self._factories[kind] = factory
            return factory

        return add

    def build(self, section: Any, context: StageContext) -> Any:
        """The part that a section of the configuration describes, for one stage.

        Raises:
            SpaceError: An unknown kind or setting, or a value out of range.
        """
        if not isinstance(section, Mapping):
            raise SpaceError(
                f"space.{self.role} must be a section with a kind ({', '.join(self._factories)}), "
                f"not {section!r}"
            )
        kind = section.get("kind")
        if isinstance(kind, str) and kind not in self._factories:
            _import_offered(kind)
        if not isinstance(kind, str) or kind not in self._factories:
            raise SpaceError(
                f"space.{self.role}.kind={kind} is unknown; legal: {', '.join(self._factories)}"
            )
        settings = Settings(
            section, f"space.{self.role}", stage=context.index, num_stages=context.num_stages
        )
        part = self._factories[kind](settings, context)
        settings.finish()
        return part


def _import_offered(kind: str) -> None:
    """Import what other packages offer under this name; that registers it.

    Raises:
        SpaceError: It cannot be imported.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP, name=kind):
        try:
            point.load()
        except Exception as error:
            raise SpaceError(f"part {kind} ({point.value}) cannot be loaded: {error}") from error


STEMS = PartRegistry("stem")
TRANSITIONS = PartRegistry("transition")
MIXERS = PartRegistry("mixer")
MLPS = PartRegistry("mlp")
