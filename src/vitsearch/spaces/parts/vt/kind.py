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
from typing import ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice, Condition, Value
from vitsearch.spaces.flow import Map, MapAndTokens, Shape, StageFlow, Tokens
from vitsearch.spaces.parts.base import BLOCKS, BlockKind, StageContext, Values
from vitsearch.spaces.parts.vt.plan import (
    FILTER,
    NONE,
    NORMS,
    POOL,
    RECURRENT,
    RELATIONS,
    TRANSFORMER,
    VtPlan,
    VtSizes,
    pooled_grid,
)
from vitsearch.spaces.settings import Settings

RENEWALS = ("all", "half")
OUTPUTS = ("tokens", "map")


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
        for width in (before.embed_dim, after.embed_dim):
            if width % self.pixel_group:
                raise SpaceError(
                    f"space.embed_dims: {width} channels of a map are no whole groups of "
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
