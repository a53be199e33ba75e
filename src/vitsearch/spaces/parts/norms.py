"""Norms over channels: LayerNorm and RMSNorm, each with its epsilon, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitsearch.errors import SpaceError
from vitsearch.spaces.cost import Cost
from vitsearch.spaces.settings import Settings

NORMS = ("layer", "rms")


@dataclass(frozen=True, slots=True)
class NormKind:
    """A norm without its width.

    Attributes:
        kind: `layer` (LayerNorm: scale and shift) or `rms` (RMSNorm: scale alone).
        eps: Added to the variance.
    """

    kind: str = "layer"
    eps: float = 1e-6

    def cost(self, width: int) -> Cost:
        """Scales, and shifts where it has them."""
        return Cost(0, (2 if self.kind == "layer" else 1) * width)

    @property
    def config(self) -> dict[str, Any]:
        """As a section of settings."""
        return {"kind": self.kind, "eps": self.eps}


def read_norm(settings: Settings, key: str, default: NormKind | None) -> NormKind | None:
    """The norm that a key of a part's section describes: `{kind: layer, eps: 1e-6}`.

    Args:
        settings: Of the part.
        key: Where its section stands.
        default: Where the key is absent or null.

    Raises:
        SpaceError: It is no section, or a value in it is not legal.
    """
    section = settings.section(key)
    if section is None:
        return default
    if not isinstance(section, Mapping):
        raise SpaceError(
            f"{settings.path}.{key}={section!r} must be a section with kind ({', '.join(NORMS)}) "
            f"and eps"
        )
    own = Settings(section, f"{settings.path}.{key}")
    found = NormKind(own.word("kind", NORMS, "layer"), own.number("eps", 1e-6))
    own.finish()
    return found
