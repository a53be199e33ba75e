"""Checkpoints of the papers' authors as networks of this library.

source -> flat state dict -> checked in the authors' names -> our names -> VisionTransformer
  read.py                  load.py                     glit.py, vitas.py, ...
"""

from vitsearch.supernet.storage.importing.load import load_published_checkpoint

__all__ = ["load_published_checkpoint"]
