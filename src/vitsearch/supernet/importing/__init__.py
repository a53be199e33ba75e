"""Checkpoints of the papers' authors as networks of this library.

source -> flat state dict -> checked in the authors' names -> our names -> VisionTransformer
  read.py                  load.py                     glit.py, vitas.py, ...
"""

from vitsearch.supernet.importing.load import load_published_checkpoint
from vitsearch.supernet.importing.resample import resample_positions

__all__ = ["load_published_checkpoint", "resample_positions"]
