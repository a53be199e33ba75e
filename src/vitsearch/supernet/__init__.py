"""The weight-sharing network of a space, and single architectures taken out of it."""

from vitsearch.supernet.build import layer_for, make_layer
from vitsearch.supernet.super_transformer import SuperTransformer
from vitsearch.supernet.vision_transformer import VisionTransformer

__all__ = ["SuperTransformer", "VisionTransformer", "layer_for", "make_layer"]
