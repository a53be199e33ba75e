"""The layers of Visual Transformers' modules."""
