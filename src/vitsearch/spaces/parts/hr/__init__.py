"""The parts of high-resolution networks: searching blocks and what stands between them."""

from vitsearch.spaces.parts.hr.block import (
    MapLayers,
    SearchingBlocks,
    SearchingKind,
    SearchingPlan,
)
from vitsearch.spaces.parts.hr.light_transformer import LightTransformerPlan
from vitsearch.spaces.parts.hr.maps import (
    ConvsStem,
    ConvsStemPlan,
    ConvUnitPlan,
    MapConcatPlan,
    MapSumPlan,
)
from vitsearch.spaces.parts.hr.mixconv import MixBranchPlan
from vitsearch.spaces.parts.hr.step import MapStep

__all__ = [
    "ConvUnitPlan",
    "ConvsStem",
    "ConvsStemPlan",
    "LightTransformerPlan",
    "MapConcatPlan",
    "MapLayers",
    "MapStep",
    "MapSumPlan",
    "MixBranchPlan",
    "SearchingBlocks",
    "SearchingKind",
    "SearchingPlan",
]
