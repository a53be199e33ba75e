"""Searchable vision transformers for PyTorch Lightning.

Train one weight-sharing super-transformer, search it for the architecture that fits a budget, take
it out, retrain it, ship it. `python -m vitsearch.train +space=glit` does it from the command line.
"""

from importlib import import_module
from types import ModuleType

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
    "load_model",
    "load_published_checkpoint",
    "load_supernet",
    "published",
    "push_to_hub",
    "samplers",
    "save_model",
    "save_pretrained",
    "save_timm",
    "searchers",
    "spaces",
    "supernet",
]


def __getattr__(name: str) -> ModuleType:
    """Import `vitsearch.data` and `vitsearch.lightning` on first use: they bring in Lightning."""
    if name in ("data", "lightning"):
        return import_module(f"vitsearch.{name}")
    raise AttributeError(f"module 'vitsearch' has no attribute {name!r}")
