"""The weight-sharing network of a space, and single architectures taken out of it.

Importing it makes our networks known to timm: `timm.create_model("vitsearch_glit_tiny")`.
"""

from vitsearch.supernet import (  # noqa: F401  (they register layers)
    build_dense,
    build_hr,
    build_resnet,
    build_vit,
    build_vt,
)
from vitsearch.supernet.build import layer_for, make_layer
from vitsearch.supernet.converting.from_timm import from_timm
from vitsearch.supernet.converting.timm_entry import save_timm
from vitsearch.supernet.create import create_model
from vitsearch.supernet.heads import head_for
from vitsearch.supernet.storage.checkpoint import load_supernet
from vitsearch.supernet.storage.hub import from_pretrained, push_to_hub, save_pretrained
from vitsearch.supernet.storage.importing import load_published_checkpoint
from vitsearch.supernet.storage.model_folder import find_model, load_model, save_model
from vitsearch.supernet.super_transformer import SuperTransformer
from vitsearch.supernet.timm import timm_models
from vitsearch.supernet.timm.resample import resample_positions
from vitsearch.supernet.vision_transformer import VisionTransformer

__all__ = [
    "SuperTransformer",
    "VisionTransformer",
    "create_model",
    "find_model",
    "from_pretrained",
    "from_timm",
    "head_for",
    "layer_for",
    "load_model",
    "load_published_checkpoint",
    "load_supernet",
    "make_layer",
    "push_to_hub",
    "resample_positions",
    "save_model",
    "save_pretrained",
    "save_timm",
    "timm_models",
]
