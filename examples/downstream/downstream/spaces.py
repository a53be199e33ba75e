"""A space offered by entry point: `+space=wide_glit`, `vitsearch.build_space("wide_glit")`."""

from __future__ import annotations

from typing import Any

import vitsearch


def wide_glit() -> dict[str, Any]:
    """GLiT, but wide and shallow, with option lists of its own: the keys of `conf/space/*.yaml`."""
    config = vitsearch.build_space("glit", head="avg").config
    config["mixer"] |= {"global_heads": [1, 2, 3], "local": "grid", "grid_kernel_sizes": [3, 5]}
    config["mlp"] |= {"ratios": [1, 2, 3]}
    return {**config, "name": "wide_glit", "num_blocks": 3, "embed_dims": [96]}
