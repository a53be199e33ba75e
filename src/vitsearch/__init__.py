"""Searchable vision transformers for PyTorch Lightning.

Train one weight-sharing super-transformer, search it for the architecture that fits a budget, take
it out, retrain it, ship it. `python -m vitsearch.train +space=glit` does it from the command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vitsearch import costs, samplers, searchers, spaces, supernet
from vitsearch.costs import Cost, cost
from vitsearch.errors import VitSearchError
from vitsearch.spaces import Architecture, SearchSpace, build_space, list_spaces
from vitsearch.spaces.published import list_published, published
from vitsearch.supernet import (
    SuperTransformer,
    VisionTransformer,
    create_model,
    find_model,
    from_pretrained,
    from_timm,
    load_model,
    load_published_checkpoint,
    load_supernet,
    push_to_hub,
    save_model,
    save_pretrained,
    save_timm,
)

if TYPE_CHECKING:
    from vitsearch.shrinking import load_elastic, save_elastic, shrink
    from vitsearch.transforming import transform

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "Cost",
    "SearchSpace",
    "SuperTransformer",
    "VisionTransformer",
    "VitSearchError",
    "build_space",
    "cost",
    "costs",
    "create_model",
    "data",
    "find_model",
    "from_pretrained",
    "from_timm",
    "lightning",
    "list_published",
    "list_spaces",
    "load_elastic",
    "load_model",
    "load_published_checkpoint",
    "load_supernet",
    "published",
    "push_to_hub",
    "samplers",
    "save_elastic",
    "save_model",
    "save_pretrained",
    "save_timm",
    "searchers",
    "shrink",
    "spaces",
    "supernet",
    "transform",
]


_LAZY = {
    "load_elastic": "shrinking",
    "save_elastic": "shrinking",
    "shrink": "shrinking",
    "transform": "transforming",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `vitsearch.data` and `vitsearch.lightning` bring in Lightning.

    `vitsearch.shrink` and `vitsearch.transform` are functions; once the module of the same name is
    imported, each is that module, which is called in the same way.
    """
    if name in ("data", "lightning"):
        return import_module(f"vitsearch.{name}")
    if name in _LAZY:
        return getattr(import_module(f"vitsearch.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'vitsearch' has no attribute {name!r}")
