"""Layers whose sizes are arguments of the call; one function cuts out the active weights."""

from vitsearch.elastic.axis import Alignment, Axis
from vitsearch.elastic.base import Context, ElasticModule, TiedAxis, active_state, take_together
from vitsearch.elastic.layers.attention import AttentionSizes, ElasticAttention
from vitsearch.elastic.layers.block import ElasticBlock
from vitsearch.elastic.layers.conv import ConvSizes, ElasticConv2d
from vitsearch.elastic.layers.conv_stem import ElasticConvStem
from vitsearch.elastic.layers.glit import ElasticGlitMixer
from vitsearch.elastic.layers.linear import ElasticLinear, LinearSizes
from vitsearch.elastic.layers.local import ElasticDepthwise, ElasticLocal
from vitsearch.elastic.layers.mlp import ElasticMlp
from vitsearch.elastic.layers.norm import ElasticBatchNorm, ElasticFinalNorm, ElasticLayerNorm
from vitsearch.elastic.layers.private_attention import ElasticPrivateAttention
from vitsearch.elastic.layers.reduction import ElasticReduction
from vitsearch.elastic.layers.relative_attention import ElasticRelativeAttention
from vitsearch.elastic.layers.residual import ElasticResidual, ElasticResNetStem
from vitsearch.elastic.layers.stem import ElasticPatchEmbed, ElasticPatchStem
from vitsearch.elastic.layers.vit.grid_tables import GridTables
from vitsearch.elastic.rewiring import Reordering, rewire
from vitsearch.elastic.statistics import NormEstimator, NormStatistics

__all__ = [
    "Alignment",
    "AttentionSizes",
    "Axis",
    "Context",
    "ConvSizes",
    "ElasticAttention",
    "ElasticBatchNorm",
    "ElasticBlock",
    "ElasticConv2d",
    "ElasticConvStem",
    "ElasticDepthwise",
    "ElasticFinalNorm",
    "ElasticGlitMixer",
    "ElasticLayerNorm",
    "ElasticLinear",
    "ElasticLocal",
    "ElasticMlp",
    "ElasticModule",
    "ElasticPatchEmbed",
    "ElasticPatchStem",
    "ElasticPrivateAttention",
    "ElasticReduction",
    "ElasticRelativeAttention",
    "ElasticResNetStem",
    "ElasticResidual",
    "GridTables",
    "LinearSizes",
    "NormEstimator",
    "NormStatistics",
    "Reordering",
    "TiedAxis",
    "active_state",
    "rewire",
    "take_together",
]
