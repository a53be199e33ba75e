"""Finished networks as files for other programs; every file is run before it counts as written."""

from vitsearch.exporting.base import TOLERANCE, Exported
from vitsearch.exporting.export import FORMATS, export_model

__all__ = ["FORMATS", "TOLERANCE", "Exported", "export_model"]
