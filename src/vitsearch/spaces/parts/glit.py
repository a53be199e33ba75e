"""GLiT's mixer: some channels go through self-attention, the others through a local convolution.

Source: GLiT: Neural Architecture Search for Global and Local Image Transformer (ICCV 2021),
sections 3.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from vitsearch.errors import SpaceError
from vitsearch.spaces.choice import Choice, Condition, Value
from vitsearch.spaces.cost import Cost, linear_cost
from vitsearch.spaces.flow import Tokens
from vitsearch.spaces.parts.attention import attention_cost_of
from vitsearch.spaces.parts.base import MIXERS, StageContext, Values
from vitsearch.spaces.parts.tokens.keys import Keys
from vitsearch.spaces.settings import Settings
from vitsearch.spaces.words import Segment, heads_in_words

THIRDS = 3
LOCAL_FORMS = ("sequence", "grid")


@dataclass(frozen=True, slots=True, kw_only=True)
class GlitMixerPlan:
    """Sizes of a global/local mixer on (B, N, C): the first channels are global, the rest local.

    Attributes:
        embed_dim: C.
        num_tokens: N.
        grid: Rows and columns of patch tokens.
        global_dim: Channels that go to self-attention; 0 for none.
        num_heads: Attention heads.
        head_dim: Channels of a head.
        local_dim: Channels that go to the local module; 0 for none.
        local_inner: Channels between its two pointwise layers.
        kernel_size: Of its depthwise convolution; 0 without a local part.
        local: `sequence` (1-D over all tokens, as published) or `grid` (2-D over the patches).
    """

    embed_dim: int
    num_tokens: int
    grid: tuple[int, int]
    global_dim: int
    num_heads: int
    head_dim: int
    local_dim: int
    local_inner: int
    kernel_size: int
    local: str

    @property
    def keys(self) -> Keys | None:
        """By which tokens are compared; of the global half."""
        return Keys(self.num_heads, self.head_dim, self.head_dim) if self.global_dim else None

    def cost(self) -> Cost:
        """Attention on `global_dim` channels and the local module on `local_dim`."""
        return self._global_cost() + self._local_cost()

    def _global_cost(self) -> Cost:
        if not self.global_dim:
            return Cost()
        return attention_cost_of(self.global_dim, self.num_heads * self.head_dim, self.num_tokens)

    def _local_cost(self) -> Cost:
        if not self.local_dim:
            return Cost()
        inner = self.local_inner
        expand = linear_cost(self.local_dim, 2 * inner, num_tokens=self.num_tokens)
        project = linear_cost(inner, self.local_dim, num_tokens=self.num_tokens)
        on_grid = self.local == "grid"
        taps = self.kernel_size**2 if on_grid else self.kernel_size
        positions = self.grid[0] * self.grid[1] if on_grid else self.num_tokens
        depthwise = Cost(positions * inner * taps, inner * taps + inner)
        batch_norm = Cost(0, 2 * inner)
        return expand + depthwise + batch_norm + project

    def words(self, *, short: bool = False) -> str:
        """Both halves."""
        halves = []
        if self.global_dim:
            kind = "" if short else "global "
            halves.append(heads_in_words(self.num_heads, self.head_dim, kind))
        if self.local_dim:
            inner = f"x{self.local_inner / self.local_dim:.3g}"
            long = f"local on {self.local_dim} channels (kernel {self.kernel_size}, {inner})"
            halves.append(f"local {inner}" if short else long)
        return " + ".join(halves)

    def segments(self) -> tuple[Segment, ...]:
        """A run for each head, one for the local half."""
        width = self.global_dim // self.num_heads if self.num_heads else 0
        heads = (Segment(kind="head", channels=width),) * self.num_heads
        if not self.local_dim:
            return heads
        local = Segment(kind="local", channels=self.local_dim, text=f"k {self.kernel_size}")
        return (*heads, local)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlitMixer:
    """The choices of GLiT's mixer (section 4.1 of the paper).

    Attributes:
        num_heads: Heads of a fully global block; counted in thirds.
        head_dim: Channels of a head at expansion 1.
        global_heads: Options for the thirds that are global, out of 3.
        kernel_sizes: Options of the depthwise convolution, odd.
        default_kernel_size: Where local and global channels are mixed.
        local_expansions: Options for the inner width of the local module.
        qkv_expansions: Options for the head dimension of a fully global block.
        local: `sequence` or `grid`.
    """

    num_heads: int
    head_dim: int
    global_heads: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    default_kernel_size: int
    local_expansions: tuple[Value, ...]
    qkv_expansions: tuple[Value, ...]
    local: str

    sees_neighbours: ClassVar[bool] = True

    @property
    def needs_places(self) -> bool:
        """On the grid; a sequence may be of any length."""
        return self.local == "grid"

    @property
    def always_attends(self) -> bool:
        """Whether no option is local alone."""
        return min(self.global_heads) > 0

    def choices(self) -> tuple[Choice, ...]:
        """`global_heads`, `kernel_size`, `local_expansion`, `qkv_expansion`."""
        return (
            Choice(name="global_heads", options=self.global_heads),
            Choice(
                name="kernel_size",
                options=self.kernel_sizes,
                active_when=(Condition("global_heads", (0,)),),
                otherwise=self.default_kernel_size,
            ),
            Choice(
                name="local_expansion",
                options=self.local_expansions,
                active_when=(Condition("global_heads", (0, 1, 2)),),
            ),
            Choice(
                name="qkv_expansion",
                options=self.qkv_expansions,
                active_when=(Condition("global_heads", (THIRDS,)),),
                otherwise=1,
            ),
        )

    def plan(self, values: Values, tokens: Tokens) -> GlitMixerPlan:
        """The sizes for one architecture."""
        thirds = int(values["global_heads"] or 0)
        global_dim = tokens.embed_dim * thirds // THIRDS
        local_dim = tokens.embed_dim - global_dim
        head_dim = self.head_dim * float(values["qkv_expansion"] or 0)
        return GlitMixerPlan(
            embed_dim=tokens.embed_dim,
            num_tokens=tokens.num_tokens,
            grid=tokens.grid,
            global_dim=global_dim,
            num_heads=self.num_heads * thirds // THIRDS,
            head_dim=round(head_dim) if global_dim else 0,
            local_dim=local_dim,
            local_inner=round(local_dim * float(values["local_expansion"] or 0)),
            kernel_size=int(values["kernel_size"] or 0) if local_dim else 0,
            local=self.local,
        )


def _default_head_dim(widest: int, expansions: Sequence[Value]) -> int:
    """The most channels of a head that every expansion brings to a whole number."""
    whole = (
        dim for dim in range(widest, 0, -1) if all(dim * float(e) % 1 == 0 for e in expansions)
    )
    return next(whole, max(widest, 1))


@MIXERS.register("glit")
def _glit(settings: Settings, context: StageContext) -> GlitMixer:
    num_heads = settings.integer("num_heads", 3, minimum=THIRDS)
    if num_heads % THIRDS:
        raise SpaceError(
            f"space.mixer.num_heads={num_heads} must be a multiple of 3 (thirds are global)"
        )
    global_heads = settings.integers("global_heads", [0, 1, 2, 3], minimum=0)
    if max(global_heads) > THIRDS:
        raise SpaceError(
            f"space.mixer.global_heads={list(global_heads)} counts thirds; legal: 0, 1, 2, 3"
        )
    local = settings.word("local", LOCAL_FORMS, "sequence")
    kernels = {
        form: (
            settings.integers(f"{prefix}kernel_sizes", options),
            settings.integer(f"{prefix}default_kernel_size", options[1]),
        )
        for form, prefix, options in (("sequence", "", [17, 31, 45]), ("grid", "grid_", [3, 5, 7]))
    }
    kernel_sizes, default_kernel_size = kernels[local]
    for kernel in (*kernel_sizes, default_kernel_size):
        if kernel % 2 == 0:
            raise SpaceError(f"space.mixer: kernel size {kernel} must be odd")
    expansions = settings.numbers("qkv_expansions", [0.5, 1, 2])
    head_dim = settings.optional_integer("head_dim")
    if head_dim is None:
        head_dim = _default_head_dim(max(context.embed_dims) // num_heads, expansions)
    for expansion in expansions:
        if head_dim * float(expansion) % 1 or head_dim * float(expansion) < 1:
            raise SpaceError(
                f"space.mixer.qkv_expansions={list(expansions)}: {expansion} x head_dim {head_dim} "
                f"is not a whole number of channels"
            )
    local_expansions = settings.numbers("local_expansions", [1, 2, 4])
    narrowest = min(context.embed_dims) // THIRDS
    if round(float(local_expansions[0]) * narrowest) < 1:
        raise SpaceError(
            f"space.mixer.local_expansions={list(local_expansions)}: {local_expansions[0]} x "
            f"a third of embed_dim {min(context.embed_dims)} leaves no channel"
        )
    return GlitMixer(
        num_heads=num_heads,
        head_dim=head_dim,
        global_heads=global_heads,
        kernel_sizes=kernel_sizes,
        default_kernel_size=default_kernel_size,
        local_expansions=local_expansions,
        qkv_expansions=expansions,
        local=local,
    )
