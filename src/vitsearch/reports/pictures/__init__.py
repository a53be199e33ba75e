"""The pictures of a report, one idea a file; each knows its title and what to say about it."""

from vitsearch.reports.pictures.base import Picture

__all__ = ["Picture"]
