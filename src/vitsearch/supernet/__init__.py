"""The weight-sharing network of a space, and single architectures taken out of it."""

from vitsearch.supernet.build import layer_for, make_layer
from vitsearch.supernet.checkpoint import load_supernet
from vitsearch.supernet.importing import load_published_checkpoint, resample_positions
from vitsearch.supernet.published import create_model
from vitsearch.supernet.saving import find_model, load_model, save_model
from vitsearch.supernet.super_transformer import SuperTransformer
from vitsearch.supernet.vision_transformer import VisionTransformer

__all__ = [
    "SuperTransformer",
    "VisionTransformer",
    "create_model",
    "find_model",
    "layer_for",
    "load_model",
    "load_published_checkpoint",
    "load_supernet",
    "make_layer",
    "resample_positions",
    "save_model",
]
