"""Finished networks as files for other programs; every file is run before it counts as written."""

from vitsearch.exporting.base import TOLERANCE, Exported, Run
from vitsearch.exporting.export import FORMATS, export_model
from vitsearch.exporting.int8_export import Accuracy, Int8Exported, export_int8
from vitsearch.exporting.quantiser import QUANTISATIONS, check_quantise

__all__ = [
    "FORMATS",
    "QUANTISATIONS",
    "TOLERANCE",
    "Accuracy",
    "Exported",
    "Int8Exported",
    "Run",
    "check_quantise",
    "export_int8",
    "export_model",
]
