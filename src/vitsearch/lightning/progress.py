"""Where the progress bar used to be: run folders and configurations of 0.1 name this path."""

from vitsearch.lightning.training.progress_bar import training_progress

__all__ = ["training_progress"]
