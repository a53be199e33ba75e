"""The errors that a user can cause: one line each, with the name, the value and what is legal.

Commands print that line and exit with status 2; internal invariants are plain `assert`s.
"""

from __future__ import annotations


class VitSearchError(ValueError):
    """Base class of every mistake that a user can make; the message is one line."""


class SpaceError(VitSearchError):
    """A search space, a choice or an architecture that is not legal."""


class UnknownPartError(SpaceError):
    """A kind of part that is not installed here."""


class ConstraintError(VitSearchError):
    """A budget that is malformed, or that no architecture of the space meets."""


class DataError(VitSearchError):
    """Images that are missing, unreadable, or too few for the splits asked for."""


class CheckpointError(VitSearchError):
    """A checkpoint or model folder that is missing, damaged, or of another space."""


class FormatError(VitSearchError):
    """A file in a format that only a newer version reads."""


class HubError(VitSearchError):
    """A repository on the Hugging Face Hub that is not there, or cannot be reached."""


class ConfigError(VitSearchError):
    """A setting of a run that is out of range or contradicts another."""


class NonFiniteLossError(VitSearchError):
    """A loss that became NaN or infinite during training."""


class HistoryError(VitSearchError):
    """A search history that is damaged, or of another search than the one that would go on."""


class ExportError(VitSearchError):
    """A network that cannot be written in a format, or whose file does not say what it says."""


class MissingExtraError(VitSearchError):
    """A feature whose optional dependencies are not installed."""
