"""What a part of a space is: it declares its choices, turns values into sizes, and costs itself.

A new part is one class here (pure Python) and one elastic module registered for its plan; see
`vitsearch.supernet.build`. Another package names the module that registers its part by an entry
point of the group `vitsearch.parts`, under the part's kind, and it is imported when a space asks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, TypeVar

from vitsearch.errors import SpaceError, UnknownPartError
from vitsearch.spaces.choice import Choice, Value
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Opening, Shape, StageFlow, Tokens
from vitsearch.spaces.plan import HeadPlan, Node, PiecePlan
from vitsearch.spaces.settings import Settings

ENTRY_POINT_GROUP = "vitsearch.parts"
Values = Mapping[str, Value | None]


TokenContext = Tokens
"""What a block's parts see, under the name that parts outside of this package know."""


STEM_WIDTH = "width"
"""The name of a stem's choice of its own width, where it has one; else it is the first stage's."""


class StemPart(Protocol):
    """Turns an image into tokens, or into a map if it says `gives = Map`."""

    def choices(self) -> tuple[Choice, ...]:
        """Choices, named relative to `stem`."""

    def grid(self, values: Values, image_size: int) -> tuple[int, int]:
        """Rows and columns of patch tokens, or of the map."""

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
    """A piece of a block, such as a mixer or an MLP; its cost depends on its own choices alone."""

    def choices(self) -> tuple[Choice, ...]:
        """Choices, named relative to the block."""

    def plan(self, values: Values, tokens: Any) -> PiecePlan:
        """The sizes for one architecture; `tokens` is what the block sees, `Tokens` or a `Map`."""


THERE = "there"
"""The one value that a follower sees: whether it is there."""


class Follower(ABC):
    """A piece without choices that is there where others are, such as the norm behind a sum.

    Attributes:
        follows: Choices of its block; it is there where one of them is above 0.
    """

    follows: tuple[str, ...]

    def choices(self) -> tuple[Choice, ...]:
        """None."""
        return ()

    @abstractmethod
    def plan(self, values: Values, tokens: Any) -> PiecePlan:
        """The sizes; `values` says whether it is there (`THERE`)."""


class TransitionPart(Protocol):
    """Leads from one stage to the next: another width, another grid, tokens out of a map.

    It takes and gives tokens, unless it says `takes = Map` or `gives = Map`.
    """

    def choices(self) -> tuple[Choice, ...]:
        """Choices, named relative to `stages.S.transition`."""

    def grid(self, values: Values, grid: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patch tokens after it."""

    def plan(self, values: Values, before: Any, after: Any) -> PiecePlan:
        """The sizes for one architecture, between two shapes: `Tokens` or a `Map`."""


class BlockKind:
    """A kind of block. A plain one is one piece: it declares `choices` and makes the `plan`.

    Attributes:
        flow: What goes in and comes out, alike: `Tokens` or `Map`; see `takes` and `gives`.
        opens: Whether the first block of a stage leads there itself, from another width and grid,
            as in a ResNet; it then sees an `Opening`, and there is no transition.
    """

    flow: ClassVar[type[Shape]] = Tokens
    opens: ClassVar[bool] = False

    @property
    def plain(self) -> BlockKind:
        """The kind itself, without what another one puts around it."""
        return self

    @property
    def takes(self) -> tuple[type[Shape], ...]:
        """What may come into a stage of such blocks."""
        return (self.flow,)

    @property
    def gives(self) -> type[Shape]:
        """What comes out of the stage."""
        return self.flow

    def stage_choices(self, num_blocks: int, depths: tuple[int, ...]) -> tuple[Choice, ...]:
        """Choices that fix what flows in the stage, named relative to it; besides its width.

        Args:
            num_blocks: Slots.
            depths: Options of the stage's choice `depth`; empty where it has none.
        """
        return ()

    def stage_flow(self, before: Shape, after: Shape, values: Values, num_blocks: int) -> StageFlow:
        """What flows in the stage.

        Args:
            before: What comes in.
            after: What would come out of plain blocks: of the kind `flow`, at the stage's width.
            values: Of the stage's shared choices, by their names relative to it.
            num_blocks: Slots.

        Raises:
            SpaceError: Sizes do not fit.
        """
        first = Opening(before=before, after=after) if self.opens else after
        return StageFlow(shape=after, first=first)

    def alike(self, slot: int) -> int:
        """A number that is equal for slots which see the same wherever their stage is the same."""
        return min(slot, 1) if self.opens else 0

    def grid(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns after the first block, from those before it."""
        return grid

    def choices(self) -> tuple[Choice, ...]:
        """Choices, named relative to the block."""
        return tuple(choice for part in self.pieces().values() for choice in part.choices())

    def plan(self, values: Values, tokens: Any) -> PiecePlan:
        """The sizes for one architecture."""
        pieces = {}
        for role, part in self.pieces().items():
            own = {choice.name: values[choice.name] for choice in part.choices()}
            if isinstance(part, Follower):
                own = {THERE: any(values[name] for name in part.follows)}
            pieces[role] = part.plan(own, tokens)
        return self.assemble(pieces, tokens)

    def pieces(self) -> Mapping[str, BlockPart]:
        """What the block is made of, by role: parts that choose, and cost, apart from each other.

        Costs of all architectures are looked up by piece, so that combinations are not enumerated.
        A `Follower` is a piece that depends on whether others are there.
        The plan of such a block has `pieces()`, too: all plans in it that cost something.
        """
        return {"block": self}

    def assemble(self, pieces: Mapping[str, PiecePlan], tokens: Any) -> PiecePlan:
        """The block's plan from those of its pieces."""
        return pieces["block"]

    def own_cost(self, tokens: Any) -> Cost:
        """What the block costs beside its pieces."""
        return Cost()


class HeadPart:
    """Features to answers. It sees the last stage's output unless `nodes` and `reads` say more.

    Attributes:
        dense: Whether it answers with a map, (B, classes, h, w), not with one answer an image.
    """

    __slots__ = ()

    dense: ClassVar[bool] = False

    @property
    def sees_all(self) -> bool:
        """Whether it depends on what comes out of other stages than the last."""
        return False

    @property
    def takes(self) -> tuple[type[Shape], ...]:
        """What may flow in: `Tokens`, `Map`."""
        return (Tokens,)

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens that the stem has to put in front of the patches."""
        return 1

    @property
    def distillation(self) -> bool:
        """Whether one of them learns from a teacher alone (DeiT, section 4)."""
        return False

    @property
    def patch_head(self) -> bool:
        """Whether the supernet has a classifier of patch tokens, for training."""
        return False

    def choices(self) -> tuple[Choice, ...]:
        """Choices, named relative to `head`."""
        return ()

    @property
    def node_names(self) -> tuple[str, ...]:
        """The names of what `nodes` makes."""
        return ()

    def nodes(self, ends: Sequence[Node]) -> tuple[Node, ...]:
        """Nodes between the body and the head, such as a final norm.

        Args:
            ends: The last node of each stage, in order.
        """
        return ()

    def reads(self, nodes: Sequence[Node]) -> tuple[str, ...]:
        """The names of the nodes whose outputs the head takes.

        Args:
            nodes: The last node of each stage, then the head's own.
        """
        return (nodes[-1].name,)

    def plan(self, values: Values, nodes: Sequence[Node]) -> HeadPlan:
        """The sizes for one architecture; `nodes` as in `reads`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a part may know of its stage when it is built.

    Attributes:
        index: Which stage, from 0.
        num_stages: How many there are.
        embed_dims: Every width that the stage can take.
        patch_sizes: The space's patch sizes, which its stem offers; empty if it names none.
        config: The whole configuration of the space, for parts that are made of others.
    """

    index: int
    num_stages: int
    embed_dims: tuple[int, ...]
    patch_sizes: tuple[int, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)


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

        A list has a section for each stage.

        Raises:
            SpaceError: An unknown kind or setting, or a value out of range.
        """
        if isinstance(section, list | tuple):
            if len(section) != context.num_stages:
                raise SpaceError(
                    f"space.{self.role} lists {len(section)} sections for {context.num_stages} "
                    f"stages"
                )
            section = section[context.index]
        if not isinstance(section, Mapping):
            raise SpaceError(
                f"space.{self.role} must be a section with a kind ({', '.join(self._factories)}), "
                f"not {section!r}"
            )
        kind = section.get("kind")
        if isinstance(kind, str) and kind not in self._factories:
            _import_offered(kind)
        if not isinstance(kind, str) or kind not in self._factories:
            raise UnknownPartError(
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


BODIES = PartRegistry("body")
STEMS = PartRegistry("stem")
TRANSITIONS = PartRegistry("transition")
BLOCKS = PartRegistry("block")
HEADS = PartRegistry("head")
MIXERS = PartRegistry("mixer")
MLPS = PartRegistry("mlp")
TOKENS = PartRegistry("tokens")
