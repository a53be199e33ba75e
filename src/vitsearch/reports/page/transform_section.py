"""What given architectures became, as sections of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vitsearch.costs import human
from vitsearch.costs.metrics import percent
from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.facts.transformed import Transformed, transitions_by_kind
from vitsearch.reports.page.page import Section, Table
from vitsearch.reports.pictures.transforming import transforming_picture
from vitsearch.reports.words.figure import Figure

_MOST = 20  # rows of a table


def transform_lead(record: RunRecord, found: Sequence[Transformed]) -> str:
    """The transformation in a sentence or two."""
    figure = record.figure
    if len(found) > 1:
        better = sum(one.gain > 0 for one in found)
        return (
            f"{better} of {len(found)} given architectures became better ones that cost no more, "
            f"after {len(record.trials):,} candidates, with weights that all architectures share."
        )
    (one,) = found
    if one.gain <= 0:
        return (
            f"Nothing better than the given architecture was found among {len(record.trials):,} "
            f"candidates: it has {figure.label} {figure.text(one.before.search)}."
        )
    share = percent(one.after.costs["macs"] / one.before.costs["macs"])
    return (
        f"The given architecture has {figure.label} {figure.text(one.before.search)}, what it "
        f"became {figure.text(one.after.search)} with {share} of its MACs, on "
        f"{record.num_images:,} images that training did not see, with weights that all "
        f"architectures share."
    )


def transform_sections(record: RunRecord, found: Sequence[Transformed]) -> Iterator[Section]:
    """The picture, before and after, and what was replaced."""
    picture = transforming_picture(record, found)
    yield Section(title=picture.title, parts=[picture, _ends(record.figure, found)])
    counts = transitions_by_kind(found)
    if counts:
        rows = [(level, what, str(n)) for (level, what), n in counts.most_common(_MOST)]
        caption = (
            "A type decides which other choices there are: the kind of a mixer, whether there is a "
            "block, the depth. All others are sizes. Every change is in search/transformed.json."
        )
        headings = ("level", "replaced", "times")
        yield Section(
            title="What was replaced",
            parts=[Table(headings=headings, rows=rows, caption=caption)],
        )


def _ends(figure: Figure, found: Sequence[Transformed]) -> Table:
    rows = []
    for one in found[:_MOST]:
        tests = [
            "-" if end.test is None else figure.text(end.test) for end in (one.before, one.after)
        ]
        rows.append(
            (
                one.before.digest,
                one.after.digest if one.gain > 0 else "stays",
                f"{human(one.before.costs['macs'])} to {human(one.after.costs['macs'])}",
                f"{figure.text(one.before.search)} to {figure.text(one.after.search)}",
                " to ".join(dict.fromkeys(tests)),
            )
        )
    more = f" The first {_MOST} of {len(found)}." if len(found) > _MOST else ""
    caption = f"The test split is read once, for given and found networks alike.{more}"
    headings = ("given", "became", "MACs", "search", "test")
    return Table(headings=headings, rows=rows, caption=caption)
