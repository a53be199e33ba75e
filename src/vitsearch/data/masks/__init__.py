"""Images with masks: a class for every pixel."""
