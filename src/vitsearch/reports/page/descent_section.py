"""How a network got smaller while it was trained, as a section of the report."""

from __future__ import annotations

from vitsearch.costs import human
from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.page.page import Section, Table


def descent_lead(record: RunRecord) -> str:
    """What is left, in a sentence or two."""
    best, figure = record.best, record.figure
    assert best is not None
    assert record.shrinks is not None
    times = "once" if len(record.shrinks) == 1 else f"{len(record.shrinks)} times"
    return (
        f"The network was made smaller {times} while it was trained. What is left has "
        f"{human(best.costs['macs'])} MACs and {figure.label} {figure.text(best.score)} on "
        f"{record.num_images:,} images that training did not see, with the weights that it had "
        f"there."
    )


def descent_section(record: RunRecord) -> Section:
    """Each shrink: behind which update, and what it left."""
    rows = [
        (f"{one['step']:,}", human(one["macs"]), human(one["params"]), str(one.get("digest", "")))
        for one in record.shrinks or ()
    ]
    caption = "Architectures are in search/shrinks.json."
    headings = ("behind update", "MACs", "params", "architecture")
    return Section(
        title="The shrinks", parts=[Table(headings=headings, rows=rows, caption=caption)]
    )
