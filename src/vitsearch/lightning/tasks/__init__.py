"""What a network is trained for: batches, loss, counted answers, figures."""

from vitsearch.lightning.tasks.base import Score, Tally, Task
from vitsearch.lightning.tasks.batch import Batch
from vitsearch.lightning.tasks.classification import Classification
from vitsearch.lightning.tasks.segmentation import Segmentation
from vitsearch.reports.words.figure import Figure

__all__ = ["Batch", "Classification", "Figure", "Score", "Segmentation", "Tally", "Task"]
