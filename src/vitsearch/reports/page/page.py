"""A report as one HTML page: sections of pictures, tables, facts and commands; no network needed.

`page.html` beside this file is the template, with the style of the page in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from vitsearch.reports.pictures import Picture

_TEMPLATE = "page.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        headings: Of the columns.
        rows: Cells as text.
        words: How many of the first columns hold words; the others hold numbers.
        caption: What to know about it.
        folded: If given, the table is hidden behind these words.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    caption: str = ""
    folded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and values; `prominent` ones are shown large."""

    pairs: Sequence[tuple[str, str]]
    prominent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A paragraph; `alarming` ones stand out."""

    text: str
    alarming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Commands or a file, to be copied as they are; `folded` until they are wanted."""

    text: str
    title: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A way to a file beside the page."""

    text: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture that is there already, as a data URI."""

    uri: str
    label: str

    @staticmethod
    def of(file: Path, label: str) -> Image:
        """A PNG file, put into the page."""
        content = base64.b64encode(file.read_bytes()).decode()
        return Image(uri=f"data:image/png;base64,{content}", label=label)


Part = Picture | Table | Facts | Text | Code | Link | Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page under one heading; `wide` ones take its whole width."""

    title: str
    parts: Sequence[Part]
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that the page shows."""

    title: str
    lead: str
    sections: Sequence[Section]

    @property
    def pictures(self) -> list[Picture]:
        """In the order of the page."""
        parts = [part for section in self.sections for part in section.parts]
        return [part for part in parts if isinstance(part, Picture)]


def render(page: Page, drawings: dict[str, str], version: str) -> str:
    """The page as HTML.

    Args:
        page: What it shows.
        drawings: The `<svg>` of every picture, by its name.
        version: Of the library, for the foot.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.tests["of_kind"] = _is_of_kind
    environment.filters["unbroken"] = _unbroken
    template = environment.from_string(
        files("vitsearch.reports.page").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    )
    drawn = {name: Markup(svg) for name, svg in drawings.items()}
    return template.render(page=page, drawings=drawn, version=version)


def _is_of_kind(part: Any, kind: str) -> bool:
    return type(part).__name__ == kind


def _unbroken(text: str) -> str:
    """The same with numbers kept together with their units."""
    return re.sub(r"(?<=\d) (?=(%|[KMG]|MACs|points|s|min|h)\b|%)", "\u00a0", text)
