"""What a network costs in closed form, as a small vector: MACs, parameters, whatever is registered.

Every piece of a plan says its own MACs and parameters. A further closed form is a function of such
a piece, so it needs no change to any part; `vitsearch.costs.register_metric` adds one. The cost of
a network is that of its pieces, joined: most numbers add up, a peak is the largest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import index
from typing import Any, Literal, Protocol

from vitsearch.errors import ConfigError

Joining = Literal["sum", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedForm:
    """A cost that follows from the sizes of a network's pieces, besides MACs and parameters.

    Attributes:
        name: Of the metric.
        of: From the plan of a piece, and the number of classes if it is the head (else 0), to a
            whole number.
        joining: How the numbers of pieces become that of a network.
    """

    name: str
    of: Callable[[Any, int], int]
    joining: Joining = "sum"


FURTHER: dict[str, ClosedForm] = {}
"""The closed forms that are registered, by name."""


@dataclass(frozen=True, slots=True, order=True)
class Cost:
    """Costs in closed form; add them up, compare them (by MACs first).

    Attributes:
        macs: Multiply-accumulates of convolutions and matrix products for one image; attention
            scores, weighted sums and the classifier included; nothing for norms, biases and
            activations. `torch.utils.flop_counter.FlopCounterMode` reports twice this number.
        params: Learned numbers; BatchNorm statistics are not learned.
        further: Registered closed forms, as (name, number).
    """

    macs: int = 0
    params: int = 0
    further: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: Cost) -> Cost:
        macs, params = self.macs + other.macs, self.params + other.params
        if not self.further and not other.further:
            return Cost(macs, params)
        joined = dict(self.further)
        for name, number in other.further:
            joined[name] = joining(name)((joined.get(name, 0), number))
        return Cost(macs, params, tuple(joined.items()))

    def __getitem__(self, name: str) -> int:
        if name == "macs":
            return self.macs
        return self.params if name == "params" else dict(self.further)[name]

    def __repr__(self) -> str:
        return f"Cost({', '.join(f'{name}={n}' for name, n in self.to_dict().items())})"

    @property
    def numbers(self) -> tuple[int, ...]:
        """All numbers, in the order of `closed_forms`."""
        return (self.macs, self.params, *[number for _, number in self.further])

    def to_dict(self) -> dict[str, int]:
        """All numbers by name."""
        return {"macs": self.macs, "params": self.params, **dict(self.further)}


def no_cost() -> Cost:
    """What a piece costs that is not there: 0 of everything."""
    return Cost(0, 0, tuple([(name, 0) for name in FURTHER]))


def closed_forms() -> tuple[str, ...]:
    """The names of all costs in closed form."""
    return ("macs", "params", *FURTHER)


def further_forms() -> tuple[ClosedForm, ...]:
    """The closed forms that are registered: what tables of costs depend on."""
    return tuple(FURTHER.values())


def is_peak(name: str) -> bool:
    """Whether a closed form of a network is the largest of its pieces' numbers, not their sum."""
    return name in FURTHER and FURTHER[name].joining == "max"


def joining(name: str) -> Callable[[Iterable[int]], int]:
    """What makes the number of a network of those of its pieces."""
    return max if is_peak(name) else sum


class Costed(Protocol):
    """Sizes that say what they cost.

    A plan that is made of pieces of its own (a block) has them as `pieces()`, too: a registered
    closed form looks at these, not at the whole.
    """

    def cost(self) -> Cost:
        """MACs of one image, and parameters."""


def cost_of(plan: Costed) -> Cost:
    """All costs of a plan, or of a part of it.

    Raises:
        ConfigError: A registered closed form gives no whole number.
    """
    if not FURTHER:
        return plan.cost()
    pieces = getattr(plan, "pieces", None)
    if pieces is not None:
        return sum((cost_of(piece) for piece in pieces()), no_cost())
    return with_further(plan.cost(), plan)


def with_further(own: Cost, piece: object, num_classes: int = 0) -> Cost:
    """The MACs and parameters of a piece together with all that is registered.

    Raises:
        ConfigError: A registered closed form gives no whole number.
    """
    if not FURTHER:
        return own
    further = tuple([(f.name, _number(f, piece, num_classes)) for f in FURTHER.values()])
    return Cost(own.macs, own.params, further)


def _number(form: ClosedForm, piece: object, num_classes: int) -> int:
    found = form.of(piece, num_classes)
    try:
        number = index(found)
    except TypeError:
        number = -1
    if number < 0:
        raise ConfigError(
            f"metric {form.name}: {found!r} of {type(piece).__name__} must be a whole number, "
            f"0 or more"
        )
    return number


def linear_cost(in_features: int, out_features: int, *, num_tokens: int = 1) -> Cost:
    """A linear layer (or a 1x1 convolution) with bias, applied to `num_tokens` positions."""
    weights = in_features * out_features
    return Cost(num_tokens * weights, weights + out_features)


def attention_cost(num_tokens: int, inner_dim: int) -> int:
    """MACs of q k^T and of the weighted sum of v, over all heads together."""
    return 2 * num_tokens * num_tokens * inner_dim
