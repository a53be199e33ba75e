"""Kind of block `vt`, of Visual Transformers: a map becomes tokens, they talk, and go back.

A module is a tokenizer (pixels to L tokens), a transformer on the tokens, and a projector that adds
them to the map again. The first module makes its tokens with filters or by pooling; later ones are
guided by the tokens of the module before, where that one has changed the map.

Source: Visual Transformers (Wu et al., ICCV 2021), equations 1 to 5 and tables 2 to 7. Widths and
groups that the paper does not print are those under which all its counts come out
(docs/spaces/vt.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice, Condition, Value
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.flow import Map, MapAndTokens, Shape, StageFlow, Tokens
from vitsearch.spaces.parts.base import BLOCKS, BlockKind, StageContext, Values
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import Segment, heads_in_words

FILTER, POOL, RECURRENT, NONE = "filter", "pool", "recurrent", "none"
TRANSFORMER = "transformer"
RELATIONS = (TRANSFORMER, "pointwise", "graph")
RENEWALS = ("all", "half")
NORMS = ("layer", "none")
OUTPUTS = ("tokens", "map")


@dataclass(frozen=True, slots=True, kw_only=True)
class VtSizes:
    """What a stage fixes of one of its modules.

    Attributes:
        in_dim: c, channels of the map that comes in.
        grid: Its rows and columns.
        out_dim: C, channels of the map that the projector makes; 0 without a projector.
        token_dim: D, channels of the tokens.
        num_tokens: L.
        tokenizer: `filter`, `pool`, `recurrent`, or `none`: the tokens that come in go on.
        first: Whether only a map comes in.
        gives_map: Whether the map goes on.
        gives_tokens: Whether the tokens go on.
        num_prefix_tokens: In front of the patches, where tokens of patches come in as a map.
    """

    in_dim: int
    grid: tuple[int, int]
    out_dim: int
    token_dim: int
    num_tokens: int
    tokenizer: str
    first: bool
    gives_map: bool
    gives_tokens: bool
    num_prefix_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VtPlan:
    """Sizes of a module.

    Attributes:
        sizes: What its stage fixes.
        num_heads: Of tokenizer, transformer and projector.
        num_layers: Transformers in a row.
        hidden_dim: Between the two layers of a transformer's MLP; 0 without one.
        relation: `transformer`; `pointwise`, one layer of D x D; `graph`, the same and a mix of
            tokens (table 5).
        renewed: Tokens that a recurrent tokenizer asks for; the others stay.
        pixel_group: Channels of a group of the layers on pixels.
        token_group: Channels of a group of queries, keys and values of tokens.
        norm: `layer` or `none`: BatchNorm behind layers on pixels and LayerNorm in front of those
            on tokens, or neither.
        scaled: Whether scores are divided by the root of a head's channels.
    """

    sizes: VtSizes
    num_heads: int
    num_layers: int
    hidden_dim: int
    relation: str
    renewed: int
    pixel_group: int
    token_group: int
    norm: str
    scaled: bool

    @property
    def embed_dim(self) -> int:
        """Channels of what goes on: of tokens, else of the map."""
        own = self.sizes
        return own.token_dim if own.gives_tokens else own.out_dim or own.in_dim

    @property
    def pixels(self) -> int:
        """Of the map."""
        return self.sizes.grid[0] * self.sizes.grid[1]

    @property
    def query_columns(self) -> int:
        """Channels that a group of the projector's query layer sees."""
        own = self.sizes
        return own.in_dim * self.pixel_group // own.out_dim if own.out_dim else 0

    @property
    def pooled_grid(self) -> tuple[int, int]:
        """Rows and columns of pooled tokens."""
        return pooled_grid(self.sizes.num_tokens) or (1, self.sizes.num_tokens)

    @property
    def has_shortcut(self) -> bool:
        """Whether the map goes through a layer on its way around the projector."""
        return bool(self.sizes.out_dim) and self.sizes.in_dim != self.sizes.out_dim

    @property
    def _batch_norms(self) -> int:
        return 2 if self.norm != "none" else 0

    def cost(self) -> Cost:
        """Tokenizer, transformers and projector."""
        return self.tokenizer_cost() + self.relation_cost() + self.projector_cost()

    def tokenizer_cost(self) -> Cost:
        """Pixels to tokens."""
        own, n = self.sizes, self.pixels
        c, dim = own.in_dim, own.token_dim
        if own.tokenizer == NONE:
            return Cost()
        if own.tokenizer == POOL:
            return Cost(own.num_tokens * c * dim, c * dim)
        pixel = c * self.pixel_group
        normed = self._batch_norms * c
        if own.tokenizer == FILTER:
            tokens = own.num_tokens
            macs, params = n * c * tokens, c * tokens
        else:
            tokens = self.renewed
            macs = tokens * dim * c + n * pixel + n * tokens * c
            params = dim * c + pixel + normed
        macs += n * pixel + n * tokens * c + tokens * c * dim
        return Cost(macs, params + pixel + normed + c * dim)

    def relation_cost(self) -> Cost:
        """Tokens to tokens."""
        tokens, dim = self.sizes.num_tokens, self.sizes.token_dim
        if self.relation != TRANSFORMER:
            mix = tokens * tokens if self.relation == "graph" else 0
            return Cost(tokens * dim * dim + mix * dim, dim * dim + mix)
        weights = 2 * dim * self.token_group + 2 * dim * self.hidden_dim
        attention = tokens * tokens * (dim // 2 + dim)
        norms = 4 * dim if self.norm != "none" else 0
        return Cost(
            self.num_layers * (tokens * weights + attention), self.num_layers * (weights + norms)
        )

    def projector_cost(self) -> Cost:
        """Tokens to pixels."""
        own, n = self.sizes, self.pixels
        if not own.out_dim:
            return Cost()
        on_tokens = 2 * own.token_dim * own.out_dim
        query = own.out_dim * self.query_columns
        shortcut = own.in_dim * own.out_dim if self.has_shortcut else 0
        norms = self._batch_norms * own.out_dim * (2 + self.has_shortcut)
        macs = own.num_tokens * on_tokens + n * (query + shortcut)
        macs += 2 * n * own.num_tokens * own.out_dim
        return Cost(macs, on_tokens + query + shortcut + norms)

    def words(self, *, short: bool = False) -> str:
        """Where the tokens come from, how they talk, and whether they go back to the map."""
        own = self.sizes
        heads = heads_in_words(self.num_heads, own.token_dim // self.num_heads)
        made = {
            FILTER: f"{own.num_tokens} tokens by filters",
            POOL: f"{own.num_tokens} pooled tokens",
            RECURRENT: f"{own.num_tokens} recurrent tokens",
            NONE: f"{own.num_tokens} tokens",
        }[own.tokenizer]
        if short:
            return made
        mlp = f", MLP x{self.hidden_dim / own.token_dim:.3g}" if self.hidden_dim else ""
        return f"{made}, {heads}{mlp}{', projector' if own.out_dim else ''}"

    def segments(self) -> tuple[Segment, ...]:
        """The channels of the tokens, head by head."""
        each = self.sizes.token_dim // self.num_heads
        return tuple(Segment(kind="head", channels=each) for _ in range(self.num_heads))


@dataclass(frozen=True, slots=True, kw_only=True)
class VtKind(BlockKind):
    """A stage of modules.

    Attributes:
        num_tokens: Options for L.
        token_dims: Options for D.
        tokenizers: Options for how the first module makes its tokens.
        projectors: Options for whether a module that is not the last has a projector.
        recurrent: Options for whether the tokens before guide a tokenizer.
        num_heads: Options.
        num_layers: Options.
        ff_ratios: Options for the hidden width, as shares of D.
        relation: See `VtPlan`.
        renew: Whether a recurrent tokenizer asks for `all` tokens or `half` of them.
        pixel_group: See `VtPlan`.
        token_group: See `VtPlan`.
        norm: See `VtPlan`.
        scaled: See `VtPlan`.
        output: What the last module gives: `tokens`, without a projector, or the `map`.
    """

    num_tokens: tuple[int, ...]
    token_dims: tuple[int, ...]
    tokenizers: tuple[str, ...]
    projectors: tuple[bool, ...]
    recurrent: tuple[bool, ...]
    num_heads: tuple[int, ...]
    num_layers: tuple[int, ...]
    ff_ratios: tuple[Value, ...]
    relation: str
    renew: str
    pixel_group: int
    token_group: int
    norm: str
    scaled: bool
    output: str

    flow: ClassVar[type[Shape]] = Map
    opens: ClassVar[bool] = True

    @property
    def takes(self) -> tuple[type[Shape], ...]:
        """A map; patch tokens are one, row by row."""
        return (Map, Tokens)

    @property
    def gives(self) -> type[Shape]:
        """Tokens, or a map where the last module projects."""
        return Tokens if self.output == "tokens" else Map

    def alike(self, slot: int) -> int:
        """Every module sees something else."""
        return slot

    def grid(self, grid: tuple[int, int]) -> tuple[int, int]:
        """The map keeps its size."""
        return grid

    def stage_choices(self, num_blocks: int, depths: tuple[int, ...]) -> tuple[Choice, ...]:
        """Tokens; for each module whether it projects, and what guides its tokenizer."""
        found = [
            Choice(name="num_tokens", options=self.num_tokens),
            Choice(name="token_dim", options=self.token_dims),
            Choice(name="tokenizer", options=self.tokenizers),
        ]

        def deeper(than: int) -> tuple[Condition, ...]:
            return (Condition("depth", tuple(d for d in depths if d > than)),) if depths else ()

        for slot in range(num_blocks):
            if slot:
                changed = Condition(f"blocks.{slot - 1}.projector", (True,))
                filtered = Condition("tokenizer", (FILTER,))
                if FILTER in self.tokenizers:
                    found.append(
                        Choice(
                            name=f"blocks.{slot}.recurrent",
                            options=self.recurrent,
                            active_when=(*deeper(slot), changed, filtered),
                        )
                    )
            if slot < num_blocks - 1:
                found.append(
                    Choice(
                        name=f"blocks.{slot}.projector",
                        options=self.projectors,
                        active_when=deeper(slot + 1),
                        otherwise=False,
                    )
                )
        return tuple(found)

    def stage_flow(self, before: Shape, after: Shape, values: Values, num_blocks: int) -> StageFlow:
        """Module by module: what comes in, and what goes on."""
        depth = int(values.get("depth") or num_blocks)
        tokens, dim = int(values["num_tokens"] or 0), int(values["token_dim"] or 0)
        self._check(before, after, tokens, dim, str(values["tokenizer"]))
        width, changed = before.embed_dim, True
        slots: list[tuple[VtSizes, Shape]] = []
        for slot in range(depth):
            last = slot == depth - 1
            projects = self.output == "map" if last else bool(values[f"blocks.{slot}.projector"])
            tokenizer = str(values["tokenizer"]) if changed else NONE
            if changed and slot and values.get(f"blocks.{slot}.recurrent"):
                tokenizer = RECURRENT
            sizes = VtSizes(
                in_dim=width,
                grid=before.grid,
                out_dim=after.embed_dim if projects else 0,
                token_dim=dim,
                num_tokens=tokens,
                tokenizer=tokenizer,
                first=slot == 0,
                gives_map=not last or self.output == "map",
                gives_tokens=not last or self.output == "tokens",
                num_prefix_tokens=0 if slot else before.num_prefix_tokens,
            )
            width, changed = sizes.out_dim or width, projects
            slots.append((sizes, self._given(sizes, width)))
        slots += slots[-1:] * (num_blocks - depth)
        return StageFlow(shape=slots[-1][1], first=slots[0][0], slots=tuple(slots))

    def _given(self, sizes: VtSizes, width: int) -> Shape:
        if not sizes.gives_tokens:
            return Map(embed_dim=width, grid=sizes.grid)
        if not sizes.gives_map:
            return Tokens(
                embed_dim=sizes.token_dim,
                grid=(1, sizes.num_tokens),
                num_prefix_tokens=0,
                placed=False,
            )
        return MapAndTokens(
            embed_dim=width,
            grid=sizes.grid,
            token_dim=sizes.token_dim,
            num_tokens=sizes.num_tokens,
        )

    def _check(self, before: Shape, after: Shape, tokens: int, dim: int, tokenizer: str) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            SpaceError: Which, and what would fit.
        """
        rows, columns = before.grid
        if not getattr(before, "placed", True):
            raise SpaceError(
                "space.block.kind=vt needs a map, or patch tokens in their places; the stage "
                "before gives tokens without places"
            )
        if tokens > rows * columns:
            raise SpaceError(
                f"space.block.num_tokens={tokens} is more than the {rows} x {columns} pixels of "
                f"the map"
            )
        if self.renew == "half" and tokens % 2:
            raise SpaceError(f"space.block.num_tokens={tokens} must be even to renew half of them")
        if tokenizer == POOL and pooled_grid(tokens) is None:
            raise SpaceError(
                f"space.block.num_tokens={tokens} cannot be pooled: it is no rows times columns "
                f"but 1 x {tokens}; legal are such as 4, 6, 8, 9, 12, 16"
            )
        for name, width in (("embed_dims", before.embed_dim), ("embed_dims", after.embed_dim)):
            if width % self.pixel_group:
                raise SpaceError(
                    f"space.{name}: {width} channels of a map are no whole groups of "
                    f"space.block.pixel_group_size={self.pixel_group}"
                )
        if before.embed_dim % (after.embed_dim // self.pixel_group):
            raise SpaceError(
                f"space.embed_dims: {before.embed_dim} channels cannot be divided into the "
                f"{after.embed_dim // self.pixel_group} groups of {after.embed_dim}"
            )
        if dim % self.token_group or self.token_group % 2:
            raise SpaceError(
                f"space.block.token_dims={dim} is no whole number of groups of "
                f"space.block.kqv_group_size={self.token_group}, which must be even"
            )
        for heads in self.num_heads:
            for what, width in (
                ("map", before.embed_dim),
                ("map", after.embed_dim),
                ("tokens", dim // 2),
            ):
                if width % heads:
                    raise SpaceError(
                        f"space.block.num_heads={heads} does not divide the {width} channels of "
                        f"the {what}"
                    )

    def choices(self) -> tuple[Choice, ...]:
        """`num_heads`; of transformers `num_layers` and `ff_ratio`, too."""
        heads = Choice(name="num_heads", options=self.num_heads)
        if self.relation != TRANSFORMER:
            return (heads,)
        return (
            heads,
            Choice(name="num_layers", options=self.num_layers),
            Choice(name="ff_ratio", options=self.ff_ratios),
        )

    def plan(self, values: Values, tokens: VtSizes) -> VtPlan:
        """The sizes for one architecture."""
        share = 2 if self.renew == "half" else 1
        return VtPlan(
            sizes=tokens,
            num_heads=int(values["num_heads"] or 0),
            num_layers=int(values.get("num_layers") or 1),
            hidden_dim=round(float(values.get("ff_ratio") or 0) * tokens.token_dim),
            relation=self.relation,
            renewed=tokens.num_tokens // share if tokens.tokenizer == RECURRENT else 0,
            pixel_group=self.pixel_group,
            token_group=self.token_group,
            norm=self.norm,
            scaled=self.scaled,
        )


def pooled_grid(count: int) -> tuple[int, int] | None:
    """The most even rows and columns of so many tokens; `None` for a prime."""
    rows = next(rows for rows in range(isqrt(count), 0, -1) if count % rows == 0)
    return None if rows == 1 and count > 3 else (rows, count // rows)


@BLOCKS.register("vt")
def _vt(settings: Settings, context: StageContext) -> VtKind:
    output = settings.word("output", OUTPUTS, "tokens")
    if output == "tokens" and context.index < context.num_stages - 1:
        raise SpaceError(
            f"space.block.output=tokens: stage {context.index} gives tokens without places, behind "
            f"which there is only a head; set space.block.output=map"
        )
    return VtKind(
        num_tokens=settings.integers("num_tokens", (16,)),
        token_dims=settings.integers("token_dims", (1024,)),
        tokenizers=settings.words("tokenizers", (FILTER, POOL), (FILTER,)),
        projectors=settings.flags("projectors", (True,)),
        recurrent=settings.flags("recurrent", (True,)),
        num_heads=settings.integers("num_heads", (16,)),
        num_layers=settings.integers("num_layers", (1,)),
        ff_ratios=settings.numbers("ff_ratios", (1,)),
        relation=settings.word("relation", RELATIONS, TRANSFORMER),
        renew=settings.word("renew", RENEWALS, "all"),
        pixel_group=settings.integer("pixel_group_size", 64),
        token_group=settings.integer("kqv_group_size", 256),
        norm=settings.word("norm", NORMS, "layer"),
        scaled=settings.flag("scaled", True),
        output=output,
    )
