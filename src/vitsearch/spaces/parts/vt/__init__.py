"""Parts of Visual Transformers: the kind of block `vt`."""

from vitsearch.spaces.parts.vt.fpn import Fpn, FpnPlan
from vitsearch.spaces.parts.vt.kind import VtKind
from vitsearch.spaces.parts.vt.plan import VtPlan, VtSizes

__all__ = ["Fpn", "FpnPlan", "VtKind", "VtPlan", "VtSizes"]
