"""Where checkpoints used to be: scripts written for 0.1 import from here."""

from vitsearch.supernet.storage.checkpoint import load_supernet, supernet_entry

__all__ = ["load_supernet", "supernet_entry"]
