"""What a shrinking has found, as sections of its report."""

from __future__ import annotations

from collections.abc import Iterator

from vitsearch.costs import human
from vitsearch.costs.metrics import percent
from vitsearch.reports.facts.run_record import RunRecord
from vitsearch.reports.facts.shrunk import Shrunk
from vitsearch.reports.page.page import Facts, Section, Table, Text
from vitsearch.reports.page.time_section import duration, total_seconds
from vitsearch.reports.pictures.shrinking import shrinking_picture
from vitsearch.reports.terminal.shrink_table import rows, training_line
from vitsearch.reports.words.figure import capital

_HEADS = {
    "own": "Its own classifier was kept.",
    "fitted": "A linear classifier was fitted once to the full network's features, and kept.",
    "none": "",
}


def shrink_sections(record: RunRecord, found: Shrunk) -> Iterator[Section]:
    """Key figures, the picture, and a table of all networks."""
    title = f"{record.space.name if record.space else record.name}, smaller"
    yield Section(
        title=title, parts=[Facts(pairs=_figures(record, found), prominent=True)], wide=True
    )
    picture = shrinking_picture(record, found)
    yield Section(title=picture.title, parts=[picture])
    yield _networks(found)


def shrink_lead(found: Shrunk) -> str:
    """The shrinking in a sentence or two."""
    figure = found.figure
    text = (
        f"The {figure.noun} of the full network, {human(found.full.macs)} MACs, is "
        f"{figure.text(found.full.search)} on {found.num_images:,} images of the search split."
    )
    for one in {one.network.digest: one for one in found.networks}.values():
        share = percent(one.network.macs / found.full.macs)
        text += (
            f" With {share} of the MACs ({human(one.network.macs)}) it keeps "
            f"{figure.text(one.network.search)}."
        )
    return f"{text} Nothing was trained. {_HEADS.get(found.head, '')}".rstrip()


def _figures(record: RunRecord, found: Shrunk) -> list[tuple[str, str]]:
    figure = found.figure
    pairs = [(f"{figure.label}, full network", figure.text(found.full.search))]
    pairs += [
        (f"{figure.label} at {one.budget}", figure.text(one.network.search))
        for one in found.networks
    ]
    pairs.append(("candidates", f"{len(record.trials):,}"))
    seconds = total_seconds(record)
    if seconds:
        pairs.append(("time spent", duration(seconds)))
    return pairs


def _networks(found: Shrunk) -> Section:
    figure = found.figure
    cells = [
        (
            name,
            human(network.macs),
            figure.text(network.search),
            "-" if network.test is None else figure.text(network.test),
            percent(found.keeps(network.search)),
        )
        for name, network in rows(found)
    ]
    caption = (
        f"Before any training; the last column is the share of the full network's {figure.noun} "
        f"on the search split. The test split is read once."
    )
    error = figure.standard_error(found.full.search, found.num_images)
    if error is not None:
        caption += (
            f" One {figure.noun} from {found.num_images:,} images has a standard error of about "
            f"{100 * error:.1f} points."
        )
    headings = ("network", "MACs", "search", "test", "kept")
    parts: list[Table | Text] = [Table(headings=headings, rows=cells, caption=caption)]
    line = training_line(found)
    if line is not None:
        parts.append(Text(text=f"{capital(line)}.", alarming=True))
    return Section(title="The networks", parts=parts)
