"""What makes up for the units that a sub-network lacks, from one look at unlabelled images."""

from vitsearch.supernet.repairing.calibration import Calibration, LayerRecord

__all__ = ["Calibration", "LayerRecord"]
